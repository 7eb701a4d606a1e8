"""R4: how much of a step is waiting for data, when a step takes 20 ms and decoding runs ahead.

The step is a stub that lets 20 ms pass without using the processor, as a device does; everything
else is the real session. Larger batches ask more of the feed in the same 20 ms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.bench.corpora import draw, write_shards
from tests.bench.figures import Figure, figure
from tests.bench.stub_recipe import SlowRecipe, train_stub

from visage.data.shards import load_manifest
from visage.specs.train import EmotionTrainSpec
from visage.training.host import SingleHost
from visage_jobs.presets import find_preset

__all__ = ["measure", "measure_on"]

PRESET = "emotion-small"
STEP_S = 0.020
BATCHES = (8, 16)


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """On the processor."""
    return measure_on("cpu", folder, quick=quick)


def measure_on(device: str, folder: Path, *, quick: bool) -> list[Figure]:
    """On a device; the step's 20 ms are the same everywhere."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    spec = EmotionTrainSpec.load(find_preset(PRESET))
    data_uri = write_shards(folder / "data", draw(21 if quick else 70), spec.model.input, train=560)
    steps = 250 if quick else 600
    return [
        one
        for batch in BATCHES
        for one in _figures(device, folder / f"run{batch}", spec, data_uri, batch, steps)
    ]


def _figures(
    device: str, folder: Path, preset: EmotionTrainSpec, data_uri: str, batch: int, steps: int
) -> Iterator[Figure]:
    changes: dict[str, Any] = {
        "global_batch": batch, "micro_batch": batch, "epochs": 10_000.0, "max_steps": steps,
        "checkpoint_every_s": 900.0, "precision": "fp32", "ema_decay": None,
    }  # fmt: skip
    spec = preset.model_copy(update=changes)
    reports: list[Mapping[str, Any]] = []

    def take(event: Mapping[str, Any]) -> None:
        if event["type"] == "train":
            reports.append(event)

    host = SingleHost(device=device, report=take)
    manifest, _ = load_manifest(data_uri)
    recipe = SlowRecipe(spec, manifest, host.device, step_s=STEP_S)
    train_stub(recipe, folder, spec, data_uri, host)
    steady = reports[1:] or reports
    how = (
        f"{steps} steps of {1e3 * STEP_S:.0f} ms on {device}, batches of {batch}, "
        f"{spec.feed_threads} feed threads, {spec.feed_ahead} steps ahead; by report of the "
        "session, one in 2 s, the first left out"
    )
    shares = [100.0 * one["data_wait_s"] / one["step_s"] for one in steady]
    yield figure(
        f"data wait, batch {batch}", shares, "% of a step", how=how, goal="<= 2 %", ratio="R4"
    )
    yield figure(
        f"step of 20 ms, batch {batch}", [1e3 * one["step_s"] for one in steady], "ms", how=how
    )
