"""Time by stage: every moment counts once, and none gets lost."""

from __future__ import annotations

import pytest

from visage.data.stage_clock import StageClock


class _Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_of_an_inner_stage_is_not_that_of_the_outer_one() -> None:
    seconds, time = {"decode": 5.0}, _Time()
    clock = StageClock(seconds, now=time)
    with clock("landmarks"):
        time.now += 1
        with clock("detect"):
            time.now += 2
        time.now += 4
    time.now += 8  # of nobody
    with clock("decode"):
        time.now += 16
    assert seconds == {"decode": 21.0, "landmarks": 5.0, "detect": 2.0}


def test_time_until_an_error_counts_and_the_outer_stage_goes_on() -> None:
    seconds: dict[str, float] = {}
    time = _Time()
    clock = StageClock(seconds, now=time)

    def fail() -> None:
        with clock("inner"):
            time.now += 1
            raise ValueError("broken")

    with clock("outer"):
        with pytest.raises(ValueError, match="broken"):
            fail()
        time.now += 2
    assert seconds == {"outer": 2.0, "inner": 1.0}


def test_decoders_of_the_sandbox_count_where_they_work() -> None:
    class Sandbox:
        cpu_s = 7.0

    seconds: dict[str, float] = {}
    sandbox = Sandbox()
    clock = StageClock(seconds, sandbox, now=lambda: 0.0)  # type: ignore[arg-type]  # no more is asked of it
    with clock("decode"):
        sandbox.cpu_s += 3
    assert seconds == {"decode": 3.0}
