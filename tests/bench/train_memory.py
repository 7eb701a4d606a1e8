"""Whether a training worker's memory stays flat over epochs: feed, loop, saves and validation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.corpora import draw, write_shards
from tests.bench.figures import Figure, figure
from tests.bench.processes import rss_mib
from tests.bench.timed_training import timed_run

from visage.specs.train import EmotionTrainSpec
from visage_jobs.presets import find_preset

__all__ = ["measure"]

PRESET = "emotion-small"


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """Train many short epochs in this process and look at its memory after each."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    epochs = 6 if quick else 45
    preset = EmotionTrainSpec.load(find_preset(PRESET))
    spec = preset.model_copy(update={"epochs": float(epochs), "checkpoint_every_steps": 5})
    rows = spec.global_batch  # an epoch a step, so that there are many
    data_uri = write_shards(folder / "data", draw(21), spec.model.input, train=rows, val=7)
    before_mib = rss_mib()
    after_epoch: list[float] = []

    def look(event: Mapping[str, Any]) -> None:
        if event["type"] == "validation":
            after_epoch.append(rss_mib())

    timed_run(folder / "run", spec, data_uri, watch=look)
    third = epochs // 3
    middle, last = after_epoch[third : 2 * third], after_epoch[2 * third :]
    how = (
        f"resident memory of one process that trains {PRESET} for {epochs} epochs of {rows} "
        "samples, validates after each and saves every 5 steps; looked at after each epoch"
    )
    thirds = f"{how}; median of the last third of the epochs against the middle third"
    return [
        figure("before training", [before_mib], "MiB", how="libraries loaded, corpus drawn"),
        figure("first third of epochs", after_epoch[:third], "MiB", how=how),
        figure("middle third", middle, "MiB", how=how),
        figure("last third", last, "MiB", how=how),
        figure(
            "growth per epoch",
            [(median(last) - median(middle)) / third],
            "MiB",
            how=f"{thirds}, by the epochs between",
            goal="0: flat over epochs",
        ),
        figure(
            "last by middle third",
            [median(last) / median(middle)],
            "x",
            how=thirds,
            goal="1: flat over epochs",
        ),
    ]
