"""One training session by its real code, with a stopwatch at its edges.

The loop asks its host once a step whether to stop; that question marks the time. What the session
reports every two seconds gives the data wait, and the ledger of its last checkpoint the losses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from visage.errors import PreemptedError
from visage.specs.train import EmotionTrainSpec
from visage.store.open import open_store
from visage.training.checkpoint import restore
from visage.training.host import SingleHost
from visage.training.run_dir import ledger_chain
from visage.training.session import run_training

__all__ = ["TimedRun", "timed_run"]

LEAST_REPORTS = 2
WARM_STEPS = 3
"""Steps that belong to the start: allocators and convolution algorithms settle in them."""
Event = Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class TimedRun:
    """What one session took."""

    batch: int
    start_s: float = 0.0
    """From the call to the end of the warm-up steps: open, build, decode, first steps."""
    step_s: list[float] = field(default_factory=list)
    """Every later step, its wait for data included."""
    wait_share: list[float] = field(default_factory=list)
    """Share of the time spent waiting for data, by report of the session, the first left out."""
    losses: list[float] = field(default_factory=list)
    """By step, from step 0."""

    @property
    def samples_per_s(self) -> float:
        """Mean rate after the start."""
        return self.batch * len(self.step_s) / sum(self.step_s)

    @property
    def mean_wait_share(self) -> float:
        """Over all reports; they cover about equal times."""
        return sum(self.wait_share) / len(self.wait_share)

    @property
    def computed_per_s(self) -> float:
        """The rate if data had never been waited for."""
        return self.samples_per_s / (1.0 - self.mean_wait_share)


class _Stopwatch:
    """Answers the question whether to stop, and notes when it was asked."""

    def __init__(self, limit_s: float | None) -> None:
        self._limit_s = limit_s
        self.asked_s: list[float] = []
        self.reports: list[Event] = []

    def __call__(self) -> bool:
        self.asked_s.append(time.perf_counter())
        if self._limit_s is None or len(self.asked_s) <= WARM_STEPS + 1:
            return False
        has_waited = len(self.reports) >= LEAST_REPORTS  # without them there is no data wait
        return has_waited and self.asked_s[-1] - self.asked_s[WARM_STEPS] > self._limit_s


def timed_run(
    folder: Path,
    spec: EmotionTrainSpec,
    data_uri: str,
    *,
    device: str = "cpu",
    limit_s: float | None = None,
    watch: Callable[[Event], None] | None = None,
) -> TimedRun:
    """Train until the spec's end, or for `limit_s` after the start, whichever comes first."""
    stopwatch = _Stopwatch(limit_s)

    def take(event: Event) -> None:
        if event["type"] == "train":
            stopwatch.reports.append(event)
        if watch:
            watch(event)

    host = SingleHost(device=device, report=take, stop_requested=stopwatch)
    called_s = time.perf_counter()
    with suppress(PreemptedError):  # how a run of limited time ends; its state is saved
        run_training(
            run_uri=str(folder), spec=spec, recipe_name="emotion", data_uri=data_uri, host=host
        )
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    asked_s = stopwatch.asked_s
    warm = min(WARM_STEPS, len(asked_s) - 2)
    return TimedRun(
        batch=spec.global_batch,
        start_s=asked_s[warm] - called_s,
        step_s=[later - at for at, later in zip(asked_s[warm:], asked_s[warm + 1 :], strict=False)],
        wait_share=_wait_shares(stopwatch.reports),
        losses=_losses(folder),
    )


def _wait_shares(reports: list[Event]) -> list[float]:
    steady = reports[1:] or reports  # the first holds the cold start
    return [float(one["data_wait_s"]) / max(float(one["step_s"]), 1e-9) for one in steady]


def _losses(folder: Path) -> list[float]:
    store = open_store(str(folder))
    restored = restore(store)
    if restored is None:
        return []
    return [row.loss for row in ledger_chain(store, restored.state.ledger)]
