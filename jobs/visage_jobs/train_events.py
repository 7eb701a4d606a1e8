"""What a training run tells while it goes on, brought to its MLflow run by the driver."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from visage.errors import VisageError
from visage.store.base import Store
from visage.tracking.names import METRICS
from visage.tracking.runs import TrackedRun
from visage.training.samples import read_samples, samples_prefix

__all__ = ["EventTracker", "following"]

log = logging.getLogger(__name__)
FOLLOW_EVERY_S = 0.2


class EventTracker:
    """Turns events into metrics and artefacts; metrics that the closed list lacks stay away."""

    def __init__(self, tracked: TrackedRun, store: Store, folder: Path) -> None:
        """`store` is the run's, `folder` keeps files until they are sent."""
        self._tracked, self._store, self._folder = tracked, store, folder

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take one event."""
        match event.get("type"):
            case "train":
                self._log("train", event, int(event["step"]))
            case "validation":
                named = {
                    event["score_name"]: event["score"],
                    "score": event["score"],
                    "loss": event["loss"],
                    **event["means"],
                }
                self._log("val", named, int(event["step"]))
            case "samples":
                self._log_samples(int(event["step"]))

    def _log(self, stage: str, values: Mapping[str, Any], step: int) -> None:
        named = {f"{stage}/{key}": value for key, value in values.items()}
        known = {name: float(value) for name, value in named.items() if name in METRICS}
        if known:
            self._tracked.log_metrics(known, step=step)

    def _log_samples(self, step: int) -> None:
        try:
            found = read_samples(self._store, step)
        except VisageError as err:  # they stay in the store, and the run goes on
            log.warning("samples of step %d are not logged: %s", step, err)
            return
        waiting = self._folder / samples_prefix(step)
        waiting.mkdir(parents=True, exist_ok=True)
        for name, body in found.items():
            (waiting / name).write_bytes(body)
            self._tracked.log_artifact(waiting / name, samples_prefix(step))


@contextmanager
def following(path: Path, take: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Pass on every line that is appended to a JSONL file while the body runs."""
    stop = threading.Event()

    def follow() -> None:
        with path.open() as file:
            pending = ""
            while True:
                was_stopped = stop.is_set()
                pending += file.read()
                *lines, pending = pending.split("\n")
                for line in lines:
                    take(json.loads(line))
                if was_stopped:
                    return
                stop.wait(FOLLOW_EVERY_S)

    thread = threading.Thread(target=follow, name="train-events", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=30.0)
