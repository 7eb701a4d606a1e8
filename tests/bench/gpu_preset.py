"""One preset on one device: every precision in turns, its step alone and its whole session."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

import cv2
import torch
from tests.bench.corpora import Drawing, write_shards
from tests.bench.figures import Figure, figure
from tests.bench.timed_training import WARM_STEPS, TimedRun, timed_run

from visage.data.feed import Batch, ShardFeed
from visage.data.sampler import Sampler
from visage.data.shards import ShardRows, load_manifest
from visage.errors import VisageError
from visage.specs.emotion import EmotionInputSpec
from visage.specs.train import EmotionTrainSpec
from visage.training.host import SingleHost
from visage.training.recipes import build_recipe
from visage.training.stepper import Stepper
from visage_jobs.presets import find_preset

__all__ = ["Scale", "Seen", "measure_preset"]

TINY_INPUT = EmotionInputSpec(face_size=64, context_height=72, context_width=96, context_crop=64)
MOST_FEED_THREADS = 16
SMOOTHED_STEPS = 10
TF32_CAPABILITY = (8, 0)
Precision = Literal["fp32", "fp16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much to measure."""

    pictures: int
    rows: int
    turns: int
    session_s: float
    alone_s: float
    is_tiny: bool = False
    """Tiny networks and batches: to test the way on a CPU."""

    @classmethod
    def full(cls, *, quick: bool) -> Scale:
        """About six minutes for three presets, or one with `quick`."""
        if quick:
            return cls(pictures=70, rows=1024, turns=1, session_s=3.0, alone_s=1.0)
        return cls(pictures=140, rows=2048, turns=3, session_s=7.0, alone_s=3.0)

    @classmethod
    def tiny(cls) -> Scale:
        """Seconds on a CPU."""
        return cls(pictures=21, rows=64, turns=1, session_s=1.0, alone_s=0.3, is_tiny=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    name: str
    precision: Precision
    tf32: bool


@dataclass(slots=True, kw_only=True)
class Seen:
    """What one preset gave."""

    figures: list[Figure] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)
    """Loss by step of each side's first session."""
    failures: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class _Taken:
    """All turns of one side."""

    runs: list[TimedRun] = field(default_factory=list)
    alone_per_s: list[float] = field(default_factory=list)
    peak_mib: list[float] = field(default_factory=list)


def measure_preset(
    name: str, drawings: Sequence[Drawing], folder: Path, *, device: str, scale: Scale
) -> Seen:
    """Figures and loss curves of a shipped preset; what fails is a sentence, the rest goes on."""
    cv2.setNumThreads(1)
    spec = _spec(name, scale)
    data_uri = write_shards(folder / "data", drawings, spec.model.input, train=scale.rows)
    threads = max(spec.feed_threads, min(MOST_FEED_THREADS, len(os.sched_getaffinity(0)) - 1))
    fed = spec.model_copy(update={"feed_threads": threads})
    taken = {side: _Taken() for side in _sides(device)}
    seen, numbers = Seen(), count()
    for _ in range(scale.turns):
        for side, found in taken.items():
            wanted = fed.model_copy(update={"precision": side.precision})
            try:
                with _precision(side):
                    found.alone_per_s.append(_alone(wanted, data_uri, device, scale.alone_s))
                    run, peak = _session(
                        folder / f"run{next(numbers)}", wanted, data_uri, device, scale
                    )
            except (VisageError, torch.OutOfMemoryError) as err:
                seen.failures.append(f"{side.name}: {err}")
                continue
            found.runs.append(run)
            found.peak_mib.append(peak)
    whole = {side.name: one for side, one in taken.items() if len(one.runs) == scale.turns}
    seen.figures = [*_figures(whole, fed), *_losses(whole)]
    if "fp16" in whole:
        shipped = spec.model_copy(update={"precision": "fp16"})
        run, _ = _session(folder / f"run{next(numbers)}", shipped, data_uri, device, scale)
        seen.figures += _shipped(run, shipped)
    seen.curves = {key: [round(x, 5) for x in one.runs[0].losses] for key, one in whole.items()}
    return seen


def _spec(name: str, scale: Scale) -> EmotionTrainSpec:
    """The preset as shipped, ended by the clock; a tiny one for the CPU."""
    spec = EmotionTrainSpec.load(find_preset(name))
    ends = {"epochs": 10_000.0, "checkpoint_every_s": 900.0}
    if not scale.is_tiny:
        return spec.model_copy(update=ends)
    changes: dict[str, Any] = {"input": TINY_INPUT}
    if spec.model.backbone == "cnn5":
        changes["widths"] = (4, 8, 8, 16, 16)
    model = spec.model.model_copy(update=changes)
    return spec.model_copy(update={**ends, "model": model, "global_batch": 8, "micro_batch": 4})


def _sides(device: str) -> list[_Side]:
    """fp32 without any shortcut, torch's default where the GPU has TF32, and fp16."""
    sides = [_Side(name="fp32", precision="fp32", tf32=False)]
    if (
        torch.device(device).type == "cuda"
        and torch.cuda.get_device_capability(device) >= TF32_CAPABILITY
    ):
        sides.append(_Side(name="tf32", precision="fp32", tf32=True))
    return [*sides, _Side(name="fp16", precision="fp16", tf32=True)]


@contextmanager
def _precision(side: _Side) -> Iterator[None]:
    """Whether convolutions may round to TF32, as torch allows by default."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = side.tf32
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _session(
    folder: Path, spec: EmotionTrainSpec, data_uri: str, device: str, scale: Scale
) -> tuple[TimedRun, float]:
    """A whole session, and the most memory it held on the device, MiB."""
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    run = timed_run(folder, spec, data_uri, device=device, limit_s=scale.session_s)
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else 0.0
    return run, peak


def _alone(spec: EmotionTrainSpec, data_uri: str, device: str, limit_s: float) -> float:
    """Samples per second of steps that read one batch again and again: no feed, no saves."""
    manifest, store = load_manifest(data_uri)
    host = SingleHost(device=device)
    recipe = build_recipe(spec, manifest, host.device)
    rows = ShardRows(manifest, store, "train")
    sampler = Sampler(samples=len(rows), global_batch=spec.global_batch, seed=spec.seed)
    feed = ShardFeed(rows, sampler, recipe.decoder(training=True), ahead=0)
    batch = feed.batch(0)
    feed.close()
    stepper = Stepper(recipe, host, steps=100_000, epochs=1000.0)
    for step in range(WARM_STEPS):
        _step(stepper, batch, step)
    start, step = time.perf_counter(), WARM_STEPS
    while time.perf_counter() - start < limit_s:
        _step(stepper, batch, step)
        step += 1
    return (step - WARM_STEPS) * spec.global_batch / (time.perf_counter() - start)


def _step(stepper: Stepper, batch: Batch, number: int) -> None:
    """One step; reading its loss waits for the device."""
    stepper.step(replace(batch, step=number), number, {})


def _figures(taken: dict[str, _Taken], spec: EmotionTrainSpec) -> Iterator[Figure]:
    about = (
        f"batch {spec.global_batch} as micro-batches of {spec.micro_batch}, channels last on a "
        "GPU, every step synchronised"
    )
    again = f"one batch again and again, copied to the device each time, {about}"
    for name, one in taken.items():
        yield figure(f"{name}: step alone", one.alone_per_s, "samples/s", how=again)
    for base in ("fp32", "tf32"):
        if base in taken and "fp16" in taken:
            pairs = zip(taken["fp16"].alone_per_s, taken[base].alone_per_s, strict=True)
            ratios = [fast / slow for fast, slow in pairs]
            goal = ">= 1.8 on a V100" if base == "fp32" else ""
            name = f"fp16 by {base}: step alone"
            yield figure(name, ratios, "x", how="paired, in turns", goal=goal)
    session = f"visage.training.session, {spec.feed_threads} feed threads, {about}"
    for name, one in taken.items():
        yield from _session_figures(name, one, session)


def _session_figures(name: str, one: _Taken, how: str) -> Iterator[Figure]:
    runs = one.runs
    after = f"{how}; mean after {WARM_STEPS} steps"
    yield figure(f"{name}: session", [run.samples_per_s for run in runs], "samples/s", how=after)
    waits = [100 * run.mean_wait_share for run in runs]
    yield figure(f"{name}: data wait", waits, "% of a step", how=how, goal="< 10 %")
    start = f"open, build, decode and {WARM_STEPS} steps; in turn 1 nothing is warm"
    yield figure(f"{name}: start", [run.start_s for run in runs], "s", how=start)
    if any(one.peak_mib):
        peak = "peak of torch's allocator in the session"
        yield figure(f"{name}: GPU memory", one.peak_mib, "MiB", how=peak)


def _shipped(run: TimedRun, spec: EmotionTrainSpec) -> list[Figure]:
    name = "fp16, shipped feed"
    how = f"session as shipped: {spec.feed_threads} feed threads, fp16"
    waits = [100 * share for share in run.wait_share]
    return [
        figure(f"{name}: session", [run.samples_per_s], "samples/s", how=how),
        figure(f"{name}: data wait", waits, "% of a step", how=f"{how}, by report", goal="< 10 %"),
    ]


def _losses(taken: dict[str, _Taken]) -> Iterator[Figure]:
    """The same batches in the same order: how far the curves lie apart."""
    if "fp32" not in taken or "fp16" not in taken:
        return
    full, half = taken["fp32"].runs[0].losses, taken["fp16"].runs[0].losses
    steps = min(len(full), len(half))
    tail = max(1, steps // 4)
    how = f"mean over the last quarter of the {steps} steps that both sides made"
    for name, curve in (("fp32", full), ("fp16", half)):
        yield figure(f"{name}: loss", [sum(curve[steps - tail : steps]) / tail], "nats", how=how)
    smooth = zip(_smooth(full[:steps]), _smooth(half[:steps]), strict=True)
    gaps = [abs(one - other) for one, other in smooth]
    how = f"largest difference of means over {SMOOTHED_STEPS} steps, same batches"
    yield figure("fp16 to fp32: loss gap", [max(gaps)], "nats", how=how)


def _smooth(curve: Sequence[float]) -> list[float]:
    width = min(SMOOTHED_STEPS, len(curve))
    return [sum(curve[at : at + width]) / width for at in range(len(curve) - width + 1)]
