"""R6 and R7: what a save costs the steps beside it, and what it costs the run.

Two runs take turns over the same number of steps, about 30 s of them: one saves once, after a fifth
of them; the other does not. Both save once before the clock runs, since the first save of a run has
to ask for memory as well; what that costs is a figure of its own. The state is 200 MiB (weights,
their average, two momenta), the store takes 20 MB/s, so the write goes on for a third of the run.
Steps count as `during` from the one that copies the state to the one in which the write ends.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from tests.bench.corpora import draw, write_shards
from tests.bench.figures import Figure, figure, paired
from tests.bench.stub_recipe import HeavyRecipe, train_stub

from visage.specs.train import EmotionTrainSpec, OptimizerSpec
from visage.store.local import LocalStore
from visage.training.checkpoint import CheckpointWriter
from visage.training.host import SingleHost
from visage_jobs.presets import find_preset

__all__ = ["Run", "measure", "measure_on", "percentile"]

PRESET = "emotion-small"
STATE_MIB = 200
STORE_BYTES_PER_S = 20e6
BLOCK_BYTES = 1 << 20
WARM_STEPS = 8
FIRST_SAVE = 3
"""The step that asks for the save before the clock runs."""
BATCH = 4


@dataclass(slots=True)
class Run:
    """When every step began, and when the writer wrote."""

    began_s: list[float] = field(default_factory=list)
    writes: list[tuple[float, float]] = field(default_factory=list)

    @property
    def steps_ms(self) -> list[float]:
        """Every step after the warm-up, the last left out."""
        at = self.began_s[WARM_STEPS:]
        return [1e3 * (later - one) for one, later in pairwise(at)]

    @property
    def wall_s(self) -> float:
        """Of the same steps."""
        return self.began_s[-1] - self.began_s[WARM_STEPS]

    def step_ms(self, step: int) -> float:
        """One step by its number."""
        return 1e3 * (self.began_s[step + 1] - self.began_s[step])

    def during_ms(self) -> list[float]:
        """Steps in which a write was begun, under way or ended."""
        at = self.began_s[WARM_STEPS:]
        return [
            1e3 * (later - one)
            for one, later in pairwise(at)
            if any(one < end and start < later for start, end in self.writes)
        ]


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """On the processor."""
    return measure_on("cpu", folder, quick=quick, window_s=30.0)


def measure_on(device: str, folder: Path, *, quick: bool, window_s: float) -> list[Figure]:
    """On a device; `window_s` is the time between two saves."""
    torch.set_num_threads(1)
    window_s = 4.0 if quick else window_s
    state_mib = STATE_MIB // 8 if quick else STATE_MIB
    spec = _spec()
    data_uri = write_shards(folder / "data", draw(21), spec.model.input, train=280)

    def run(name: str, steps: int, save_at: int | None) -> Run:
        return _run(folder / name, spec, data_uri, device, state_mib, steps, save_at)

    trial = run("trial", 30, None)
    steps = max(60, round(1e3 * window_s / median(trial.steps_ms)))
    saving, plain = [], []
    for turn in range(1 if quick else 3):
        saving.append(run(f"saving{turn}", steps, steps // 5))
        plain.append(run(f"plain{turn}", steps, None))
        assert [len(one.writes) for one in (saving[-1], plain[-1])] == [1, 0]
    how = (
        f"{steps} steps, about {window_s:.0f} s, in turns with and without one save of {state_mib} "
        f"MiB after a fifth of them, to a folder that takes {STORE_BYTES_PER_S / 1e6:.0f} MB/s, "
        f"on {device}"
    )
    return _figures(saving, plain, how, window_s)


def _figures(
    saving: Sequence[Run], plain: Sequence[Run], how: str, window_s: float
) -> list[Figure]:
    usual = [median(run.steps_ms) for run in plain]
    during = [run.during_ms() for run in saving]
    slow = [percentile(steps, 0.99) for steps in during]
    bare = [percentile(run.steps_ms, 0.99) for run in plain]
    longest = [max(steps) for steps in during]
    first = [one.step_ms(FIRST_SAVE) for one in (*saving, *plain)]
    said = f"{how}; by turn"
    return [
        figure("step without a save, p50", usual, "ms", how=said),
        figure("step without a save, p99", bare, "ms", how=said),
        figure("step during a save, p50", [median(one) for one in during], "ms", how=said),
        figure("step during a save, p99", slow, "ms", how=said),
        figure("step that copies the state", longest, "ms", how=f"{said}; the longest of all"),
        figure("first save of a run, the same step", first, "ms", how=f"{said}; memory is new"),
        figure("steps during a save", [len(one) for one in during], "steps", how=said),
        figure("write", [end - start for run in saving for start, end in run.writes], "s", how=how),
        paired("p99 during a save by p50 without", slow, usual, how=said, goal="<= 1.1",
               ratio="R6"),
        paired("p99 without a save by p50 without", bare, usual, how=f"{said}; what is no save's "
               "doing"),
        paired(f"wall time with a save in {window_s:.0f} s by none", [run.wall_s for run in saving],
               [run.wall_s for run in plain], how=how, goal="<= 1.02", ratio="R7"),
    ]  # fmt: skip


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _spec() -> EmotionTrainSpec:
    changes: dict[str, Any] = {
        "global_batch": BATCH, "micro_batch": BATCH, "epochs": 100_000.0, "precision": "fp32",
        "checkpoint_every_s": 900.0, "ema_decay": 0.99, "clip_norm": None,
        "optimizer": OptimizerSpec(name="adamw", lr=1e-6),
    }  # fmt: skip
    return EmotionTrainSpec.load(find_preset(PRESET)).model_copy(update=changes)


def _run(
    folder: Path, preset: EmotionTrainSpec, data_uri: str, device: str, state_mib: int, steps: int,
    save_at: int | None,
) -> Run:  # fmt: skip
    """One session; its last save, after the last step that counts, is not held back."""
    spec = preset.model_copy(update={"max_steps": steps})
    found = Run()

    def ask() -> bool:
        found.began_s.append(time.perf_counter())
        return False

    def wants_save() -> bool:
        return len(found.began_s) in (FIRST_SAVE, save_at)

    host = SingleHost(device=device, stop_requested=ask, save_requested=wants_save)
    recipe = HeavyRecipe(spec, host.device, state_mib=state_mib)
    with _slow_store(found, steps), _noted_writes(found, steps):
        train_stub(recipe, folder, spec, data_uri, host)
    return found


@contextmanager
def _slow_store(run: Run, steps: int) -> Iterator[None]:
    """Files reach the disk at a bounded speed, but for the first save and the last one."""
    former = LocalStore._write

    def write(self: LocalStore, key: str, body: bytes) -> Path:
        for start in range(0, len(body), BLOCK_BYTES):
            if WARM_STEPS < len(run.began_s) < steps:
                time.sleep(min(BLOCK_BYTES, len(body) - start) / STORE_BYTES_PER_S)
        return former(self, key, body)

    with patch.object(LocalStore, "_write", write):
        yield


@contextmanager
def _noted_writes(run: Run, steps: int) -> Iterator[None]:
    """When the writer's thread was busy; the first save and the last one do not count."""
    former = CheckpointWriter._write

    def write(self: CheckpointWriter, *given: Any) -> Any:
        start, counts = time.perf_counter(), WARM_STEPS < len(run.began_s) < steps
        try:
            return former(self, *given)
        finally:
            if counts:
                run.writes.append((start, time.perf_counter()))

    with patch.object(CheckpointWriter, "_write", write):
        yield
