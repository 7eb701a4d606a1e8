"""The promises of a run against a server that may be silent, slow to refuse, or back again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visage.errors import PreemptedError, TrackingError
from visage.tracking.backend import RefusedError, UnavailableError
from visage.tracking.operations import Finish, Metrics, Operation, Tags
from visage.tracking.params import flatten_params
from visage.tracking.runs import RunTiming, TrackedRun
from visage.tracking.server import OpenedRun
from visage.tracking.spool import Spool


@dataclass
class FakeServer:
    """A server that keeps what it is sent while it is up; it outlives the processes of a run."""

    is_up: bool = True
    dies_after: int | None = None
    """Take so many operations of the next send, then fail without an answer."""
    refuses: type[Operation] | None = None
    points: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Metric → (step, time), as MLflow keeps them: the same step and time is one point."""
    statuses: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    asked: int = 0

    def open(self) -> OpenedRun:
        self.asked += 1
        if not self.is_up:
            raise UnavailableError("down")
        last = {name: max(step for step, _ in points) for name, points in self.points.items()}
        return OpenedRun(run_id="run", last_steps=last, params={})

    def send(self, run: OpenedRun, operations: Sequence[Operation]) -> None:
        self.asked += 1
        if not self.is_up:
            raise UnavailableError("down")
        if any(isinstance(o, self.refuses) for o in operations if self.refuses):
            raise RefusedError("no", "INVALID_PARAMETER_VALUE")
        for count, operation in enumerate(operations):
            if self.dies_after is not None and count >= self.dies_after:
                self.dies_after = None
                raise UnavailableError("died on the way")
            self._apply(run, operation)

    def _apply(self, run: OpenedRun, operation: Operation) -> None:
        match operation:
            case Metrics(values, step, time_ms):
                for name in values:
                    points = self.points.setdefault(name, [])
                    if step > run.last_steps.get(name, -1) and (step, time_ms) not in points:
                        points.append((step, time_ms))
            case Tags(values):
                self.tags |= values
            case Finish(status, _):
                self.statuses.append(status)

    def steps(self, name: str = "train/loss") -> list[int]:
        return [step for step, _ in self.points.get(name, [])]


class Clock:
    """Time that only moves when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def start(server: FakeServer, folder: Path, clock: Clock | None = None) -> TrackedRun:
    """A process that opens the run; sends only when flushed."""
    clock = clock or Clock()
    timing = RunTiming(sample_every_s=0, clock=clock, wall_clock=clock, send_every_s=0.001)
    run = TrackedRun(server, Spool(folder / "run.jsonl"), key="run", timing=timing)
    run.open()
    return run


actions = st.lists(
    st.sampled_from(["step", "step", "step", "flush", "down", "up", "kill", "dies"]), max_size=40
)


@settings(max_examples=150, deadline=None)
@given(actions, st.integers(0, 5))
def test_every_step_reaches_the_server_exactly_once_whatever_is_killed(
    tmp_path_factory: pytest.TempPathFactory, moves: list[str], checkpoint_every: int
) -> None:
    """A killed process starts again from a checkpoint and repeats steps; time has moved on."""
    folder, server, clock = tmp_path_factory.mktemp("run"), FakeServer(), Clock()
    run, step, furthest = start(server, folder, clock), 0, 0
    for move in moves:
        clock.now_s += 400
        if move == "step":
            run.log_metrics({"train/loss": 1.0 / (1 + step)}, step=step)
            step += 1
            furthest = max(furthest, step)
        elif move == "flush":
            run.flush()
        elif move in ("down", "up"):
            server.is_up = move == "up"
        elif move == "dies":
            server.dies_after = 1
        else:
            step -= min(step, checkpoint_every)
            run = start(server, folder, clock)
    server.is_up, server.dies_after = True, None
    while step < furthest:
        run.log_metrics({"train/loss": 1.0 / (1 + step)}, step=step)
        step += 1
    run.finish()
    assert server.steps() == list(range(furthest))
    assert server.statuses[-1] == "FINISHED"


def test_recording_never_asks_the_server(tmp_path: Path) -> None:
    server = FakeServer()
    run = start(server, tmp_path)
    asked = server.asked
    for step in range(100):
        run.log_metrics({"train/loss": 1.0}, step=step)
    assert server.asked == asked
    run.finish()


def test_a_step_already_logged_for_a_name_is_skipped_and_for_another_name_is_not(
    tmp_path: Path,
) -> None:
    server = FakeServer()
    run = start(server, tmp_path)
    run.log_metrics({"train/loss": 1.0}, step=5)
    run.log_metrics({"train/loss": 2.0, "val/loss": 3.0}, step=5)
    run.log_metrics({"train/loss": 2.0}, step=4)
    run.finish()
    assert server.steps("train/loss") == [5]
    assert server.steps("val/loss") == [5]


def test_a_silent_server_is_asked_ever_more_rarely_but_once_more_at_the_end(
    tmp_path: Path,
) -> None:
    server, clock = FakeServer(is_up=False), Clock()
    run = start(server, tmp_path, clock)
    waits = []
    for _ in range(4):
        asked, began = server.asked, clock.now_s
        while server.asked == asked:
            clock.now_s += 1
            run.flush()
        waits.append(clock.now_s - began)
    assert waits == sorted(waits)
    assert waits[-1] > waits[0]
    asked = server.asked
    run.finish()
    assert server.asked == asked + 1


def test_what_a_silent_server_missed_is_sent_when_the_run_is_opened_again(tmp_path: Path) -> None:
    server = FakeServer(is_up=False)
    run = start(server, tmp_path)
    run.log_metrics({"train/loss": 1.0}, step=1)
    run.finish("FAILED")
    server.is_up = True
    again = start(server, tmp_path)
    again.finish()
    assert server.steps() == [1]
    assert server.statuses == ["FAILED", "FINISHED"]


def test_a_record_the_server_refuses_does_not_keep_the_others_from_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = FakeServer(refuses=Tags)
    run = start(server, tmp_path)
    run.log_metrics({"train/loss": 1.0}, step=1)
    run.set_tags({"bad": "tag"})
    run.log_metrics({"train/loss": 1.0}, step=2)
    run.finish()
    assert server.steps() == [1, 2]
    assert server.statuses == ["FINISHED"]
    assert "given up" in caplog.text


def test_dropped_metrics_are_stated_on_the_run(tmp_path: Path) -> None:
    server = FakeServer()
    spool = Spool(tmp_path / "run.jsonl", max_bytes=200)
    run = TrackedRun(server, spool, key="run", timing=RunTiming(sample_every_s=0))
    for step in range(50):
        run.log_metrics({"train/loss": 1.0}, step=step)
    run.finish()
    assert int(server.tags["visage.metrics_dropped"]) == 50 - len(server.steps())


def test_a_name_outside_the_closed_list_is_refused_at_once(tmp_path: Path) -> None:
    run = start(FakeServer(), tmp_path)
    with pytest.raises(TrackingError, match=r"train/losss.*names\.py"):
        run.log_metrics({"train/losss": 1.0}, step=1)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "FINISHED"),
        (ValueError("x"), "FAILED"),
        (PreemptedError("x"), "KILLED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(), "KILLED"),
    ],
)
def test_leaving_the_block_says_how_the_run_ended(
    tmp_path: Path, error: BaseException | None, status: str
) -> None:
    server = FakeServer()

    def body() -> None:
        with start(server, tmp_path):
            if error is not None:
                raise error

    if error is None:
        body()
    else:
        with pytest.raises(type(error)):
            body()
    assert server.statuses == [status]


def test_a_finished_run_takes_nothing_more_and_finishes_only_once(tmp_path: Path) -> None:
    server = FakeServer()
    run = start(server, tmp_path)
    run.finish("FAILED")
    run.finish("FINISHED")
    assert server.statuses == ["FAILED"]
    with pytest.raises(TrackingError, match="finished"):
        run.log_metrics({"train/loss": 1.0}, step=1)


def test_the_background_thread_sends_by_itself_and_is_gone_after_the_end(tmp_path: Path) -> None:
    arrived = threading.Event()

    class Telling(FakeServer):
        def _apply(self, run: OpenedRun, operation: Operation) -> None:
            super()._apply(run, operation)
            arrived.set()

    before = set(threading.enumerate())
    run = start(Telling(), tmp_path)
    run.start()
    run.log_metrics({"train/loss": 1.0}, step=1)
    assert arrived.wait(10)
    run.finish()
    assert set(threading.enumerate()) == before


def test_params_are_flat_short_and_lose_no_key() -> None:
    flat = flatten_params({"model": {"dropout": 0.5, "empty": {}}, "w": [1, 2], "long": "x" * 900})
    assert flat == {
        "model.dropout": "0.5",
        "model.empty": "{}",
        "w": "[1, 2]",
        "long": "x" * 500,
    }


def test_the_load_of_the_host_is_sampled_with_steps_that_go_on_after_a_restart(
    tmp_path: Path,
) -> None:
    name, server = "system/memory_gib", FakeServer()
    timing = RunTiming(send_every_s=0.001, sample_every_s=0.001)
    for least in (3, 6):
        run = TrackedRun(server, Spool(tmp_path / "run.jsonl"), key="run", timing=timing)
        run.open()
        run.start()
        deadline = threading.Event()
        for _ in range(1000):
            if len(server.steps(name)) >= least:
                break
            deadline.wait(0.01)
        run.finish()
    steps = server.steps(name)
    assert len(steps) >= 6
    assert steps == list(range(len(steps)))
