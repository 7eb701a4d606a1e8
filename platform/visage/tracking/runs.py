"""One tracked run, written by one process: what was recorded reaches MLflow, however late.

Recording appends to a spool on the local disk and returns; a thread of the run sends it. A server
that is down delays nothing: the thread tries again ever more rarely, and what is left at the end is
replayed when the same run is opened again. A resumed job continues its run and logs no step twice.

    with open_run("sqlite:///w/mlflow.db", experiment="emotion", name="try-1") as run:
        run.log_metrics({"train/loss": 1.2}, step=1)
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from visage.errors import PreemptedError, TrackingError
from visage.tracking.backend import RefusedError, UnavailableError, local_folder
from visage.tracking.environment import environment_tags
from visage.tracking.heartbeat import BEAT_EVERY_S, HEARTBEAT_TAG, Heartbeat, reap_dead_runs
from visage.tracking.names import check_names
from visage.tracking.operations import (
    Artifact,
    Finish,
    Input,
    Metrics,
    Operation,
    Params,
    RunStatus,
    Tags,
    Text,
)
from visage.tracking.params import flatten_params
from visage.tracking.server import MlflowServer, OpenedRun, RunServer
from visage.tracking.spool import Spool
from visage.tracking.system import SystemSampler

__all__ = ["RunTiming", "TrackedRun", "open_run"]

log = logging.getLogger(__name__)

OPERATIONS_PER_SEND = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTiming:
    """How often the run's thread works, and the clocks it reads."""

    send_every_s: float = 2.0
    """Longest time a metric waits before it is sent."""
    sample_every_s: float = 10.0
    """Time between two samples of the host's load; 0 takes none."""
    first_retry_s: float = 5.0
    """Wait after the first failure; it doubles with each further one."""
    last_retry_s: float = 300.0
    """The longest wait between two tries."""
    join_s: float = 30.0
    """How long `finish` waits for a call in flight."""
    beat_every_s: float = BEAT_EVERY_S
    """Time between two signs of life."""
    clock: Callable[[], float] = field(default=time.monotonic)
    wall_clock: Callable[[], float] = field(default=time.time)


class TrackedRun:
    """A handle on one run; safe for several threads of the one process that writes it."""

    def __init__(self, server: RunServer, spool: Spool, *, key: str, timing: RunTiming) -> None:
        """Prefer `open_run`; nothing is sent before `flush` or `start`."""
        self._server = server
        self._spool = spool
        self._timing = timing
        self._run_id = key
        self._opened: OpenedRun | None = None
        self._last_steps: dict[str, int] = {}
        self._note_pending()
        self._failures = 0
        self._retry_at = float("-inf")
        self._beat_at = timing.clock() + timing.beat_every_s
        self._sending = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_finished = False

    @property
    def run_id(self) -> str:
        """MLflow's id of the run; until the server first answered, a key that opens it too."""
        return self._run_id

    @property
    def is_connected(self) -> bool:
        """Whether the server has answered and its last answer was not a failure."""
        return self._opened is not None and not self._failures

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Record values of one step; steps of a name only grow, and one it has is skipped.

        Raises:
            TrackingError: a name is not in the closed list of `visage.tracking.names`.
        """
        check_names(values)
        fresh = {
            name: float(value)
            for name, value in values.items()
            if step > self._last_steps.get(name, -1)
        }
        if fresh:
            self._last_steps.update(dict.fromkeys(fresh, step))
            self._record(Metrics(fresh, step, self._now_ms()))

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Record spec values, flattened; a param the run already has keeps its value."""
        self._record(Params(flatten_params(values)))

    def log_dataset(self, name: str, digest: str, source: str, split: str, rows: int) -> None:
        """Record a dataset as an input of the run; MLflow keeps 36 characters of the digest."""
        self._record(Input(name, digest, source, split, rows))

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Keep a local file with the run; it must stay on disk until it was sent."""
        self._record(Artifact(str(Path(path).resolve()), folder))

    def log_text(self, body: str, file: str) -> None:
        """Keep a short text with the run as a file."""
        self._record(Text(file, body))

    def set_tags(self, values: Mapping[str, object]) -> None:
        """Label the run; the last value of a tag wins."""
        self._record(Tags({key: str(value) for key, value in values.items()}))

    def start(self) -> None:
        """Begin to send, and to sample the host's load, in the background."""
        self._thread = threading.Thread(target=self._work, name="visage-tracking", daemon=True)
        self._thread.start()

    def open(self) -> None:
        """Take up the run on the server; a silent server is asked again later.

        Raises:
            RefusedError: the server will never take this run.
        """
        with self._sending:
            try:
                self._take_up(self._server.open())
            except UnavailableError as err:
                self._note_failure(err)

    def flush(self, *, force: bool = False) -> bool:
        """Send what is pending; False if the server is down or, unless forced, was a moment ago."""
        if not self._sending.acquire(timeout=self._timing.join_s):
            return False
        try:
            if not force and self._timing.clock() < self._retry_at:
                return False
            self._send_all()
        except TrackingError as err:
            self._note_failure(err)
            return False
        finally:
            self._sending.release()
        if self._failures:
            log.warning("the tracking server is back; all that was recorded has been sent")
        self._failures = 0
        return True

    def finish(self, status: RunStatus = "FINISHED") -> None:
        """End the run and its thread; what a silent server did not take stays in the spool."""
        if self._is_finished:
            return
        if self._spool.dropped:
            self.set_tags({"visage.metrics_dropped": self._spool.dropped})
        self._record(Finish(status, self._now_ms()))
        self._is_finished = True
        self._stop.set()
        if self._thread is not None:
            self._thread.join(self._timing.join_s)
        if not self.flush(force=True):
            log.warning(
                "run %s: %d records wait in %s; they are sent when the run is opened again",
                self._run_id,
                len(self._spool),
                self._spool.path,
            )
        self._spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """FINISHED, KILLED when asked to stop, FAILED after any other error."""
        if error is None:
            self.finish("FINISHED")
        elif isinstance(error, PreemptedError) or not isinstance(error, Exception):
            self.finish("KILLED")
        else:
            self.finish("FAILED")

    def _record(self, operation: Operation) -> None:
        if self._is_finished:
            raise TrackingError(f"run {self._run_id} is finished; nothing more can be logged to it")
        self._spool.append(operation)

    def _send_all(self) -> None:
        # After a failure too: somebody may have ended the run that was not heard of.
        if self._opened is None or self._failures:
            self._take_up(self._server.open())
        while operations := self._spool.peek(OPERATIONS_PER_SEND):
            try:
                self._server.send(self._current(), operations)
            except RefusedError as refused:
                self._send_singly(operations, refused)
            self._spool.done(len(operations))
        if self._timing.clock() >= self._beat_at and not self._is_finished:
            # Not through the spool: an old sign of life is none.
            beat = Heartbeat.now(self._timing.wall_clock())
            self._server.send(self._current(), [Tags({HEARTBEAT_TAG: beat.to_text()})])
            self._beat_at = self._timing.clock() + self._timing.beat_every_s

    def _send_singly(self, operations: list[Operation], reason: RefusedError) -> None:
        """One record the server will never take must not keep the others from it."""
        log.warning("%s; sending the records one by one", reason)
        for operation in operations:
            try:
                self._server.send(self._current(), [operation])
            except RefusedError as refused:
                log.warning("a %s record is given up: %s", type(operation).__name__, refused)

    def _current(self) -> OpenedRun:
        if self._opened is None:
            raise UnavailableError("the run was never opened")
        return self._opened

    def _take_up(self, opened: OpenedRun) -> None:
        for name, step in opened.last_steps.items():
            self._last_steps[name] = max(step, self._last_steps.get(name, -1))
        self._spool.move(self._spool.path.with_name(f"{opened.run_id}.jsonl"))
        self._note_pending()
        self._run_id, self._opened = opened.run_id, opened

    def _note_pending(self) -> None:
        """What a killed process left in the spool counts as logged: it will be sent."""
        for operation in self._spool.peek(len(self._spool)):
            if isinstance(operation, Metrics):
                for name in operation.values:
                    self._last_steps[name] = max(operation.step, self._last_steps.get(name, -1))

    def _note_failure(self, err: TrackingError) -> None:
        if not self._failures:
            log.warning(
                "%s; the run goes on, and what it records waits in %s", err, self._spool.path
            )
        wait_s = self._timing.first_retry_s * 2 ** min(self._failures, 16)
        self._failures += 1
        self._retry_at = self._timing.clock() + min(wait_s, self._timing.last_retry_s)

    def _work(self) -> None:
        sampler = SystemSampler() if self._timing.sample_every_s > 0 else None
        sample_at = self._timing.clock() + self._timing.sample_every_s
        while not self._stop.wait(self._timing.send_every_s):
            if sampler is not None and self._timing.clock() >= sample_at:
                sample_at += self._timing.sample_every_s
                self._log_load(sampler.sample())
            self.flush()

    def _log_load(self, values: Mapping[str, float]) -> None:
        if values and not self._is_finished:
            step = 1 + max(self._last_steps.get(name, -1) for name in values)
            self._last_steps.update(dict.fromkeys(values, step))
            self._spool.append(Metrics(dict(values), step, self._now_ms()))

    def _now_ms(self) -> int:
        return int(self._timing.wall_clock() * 1000)


def open_run(
    tracking_uri: str,
    *,
    experiment: str,
    name: str,
    run_id: str | None = None,
    tags: Mapping[str, object] | None = None,
    params: Mapping[str, Any] | None = None,
    spool_dir: Path | None = None,
    timing: RunTiming | None = None,
) -> TrackedRun:
    """Create a run, or continue the one known as `run_id`, and start sending in the background.

    Args:
        run_id: MLflow's id, or any key of the caller's own (letters, digits, `-`, `_`): the first
        call with
            a key creates the run, later calls continue it, also after a crash in between.
        tags: Added to commit, host and versions, which every run gets.
        params: The whole spec as nested plain values; kept flat as params and whole as `spec.yaml`.
        spool_dir: Where records wait for a server; default beside a sqlite database, else in the
            temporary folder.

    Raises:
        TrackingError: the tracking URI is not usable, or the server refused (a silent one does not
        raise).
    """
    key = run_id or uuid.uuid4().hex
    server = MlflowServer(tracking_uri, experiment=experiment, name=name, key=key)
    folder = spool_dir or _spool_folder(tracking_uri)
    spool = Spool(folder / f"{key}.jsonl")
    run = TrackedRun(server, spool, key=key, timing=timing or RunTiming())
    try:
        run.open()
    except TrackingError:
        spool.close()
        raise
    run.set_tags({**environment_tags(), **(tags or {})})
    if params:
        run.log_params(params)
        run.log_text(yaml.safe_dump(dict(params), sort_keys=False), "spec.yaml")
    run.flush()
    run.start()
    if run.is_connected:
        _reap(tracking_uri, experiment)
    return run


def _reap(tracking_uri: str, experiment: str) -> None:
    """Tidying up behind others must not stop this run."""
    try:
        reap_dead_runs(tracking_uri, experiment)
    except TrackingError as err:
        log.warning("runs of dead processes stay as they are: %s", err)


def _spool_folder(tracking_uri: str) -> Path:
    folder = local_folder(tracking_uri)
    return (folder or Path(tempfile.gettempdir()) / f"visage-{os.getuid()}") / "spool"
