"""A wish to stop, on a clock that the test moves, and by real signals to this process."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from visage.errors import ClusterError, PreemptedError
from visage_jobs.pulse import Pulse
from visage_jobs.train_stop import Grace


def test_half_of_the_grace_is_for_saving_from_when_the_stop_was_first_seen() -> None:
    now_s, asked = [100.0], threading.Event()
    grace = Grace(30.0, asked, clock=lambda: now_s[0])
    assert grace.save_within_s() is None
    asked.set()
    assert grace.save_within_s() == 15.0
    now_s[0] = 110.0
    assert grace.save_within_s() == 5.0
    now_s[0] = 200.0
    assert grace.save_within_s() == 0.0


def test_every_rank_hears_of_a_stop_with_its_next_beat_and_how_long_there_is() -> None:
    now_s = [0.0]
    pulse = Pulse(10.0, clock=lambda: now_s[0])
    assert pulse.exchange(0, "a", 1, "step", 1) == (False, None)
    pulse.stop(15.0)
    now_s[0] = 4.0
    pulse.stop(15.0)
    assert pulse.exchange(1, "b", 1, "step", 1) == (False, 11.0)
    now_s[0] = 99.0
    assert pulse.exchange(0, "a", 1, "step", 2)[1] == 0.0


def _terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_before_workers_train_ends_at_once_with_75() -> None:
    grace = Grace(30.0)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(PreemptedError, match="before training began") as caught, grace.listening():
        _terminate()
    assert caught.value.exit_code == 75
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_to_ray_while_it_starts_counts_as_ours() -> None:
    with pytest.raises(PreemptedError, match="before training began"), Grace(30.0).listening():
        raise SystemExit(signal.SIGTERM)


def test_a_second_sigterm_changes_nothing_and_workers_that_never_save_are_left_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resorts: list[float] = []

    def end_after(grace_s: float) -> threading.Timer:
        resorts.append(grace_s)
        return threading.Timer(0.0, lambda: None)

    monkeypatch.setattr("visage_jobs.train_stop._end_after", end_after)
    grace = Grace(0.3)

    def wait_for_workers() -> None:
        with grace.listening(), grace.fitting():
            _terminate()
            _terminate()
            assert grace.asked.is_set()
            threading.Event().wait(20.0)

    with pytest.raises(PreemptedError, match=r"had not saved .* longer --grace"):
        wait_for_workers()
    assert resorts == [0.3]


def test_ctrl_c_while_workers_train_stays_ctrl_c() -> None:
    grace = Grace(30.0)
    with pytest.raises(KeyboardInterrupt), grace.listening(), grace.fitting():
        raise KeyboardInterrupt


def test_ray_that_does_not_start_is_a_sentence_and_75(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    from visage_jobs.cluster import ray_session

    def fail(**_: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(ClusterError, match="run the same command again") as caught, ray_session():
        pytest.fail("it went on without Ray")
    assert caught.value.exit_code == 75
