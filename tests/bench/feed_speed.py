"""The feed: what it can decode, and how long a training step waits for it."""

from __future__ import annotations

import time
from pathlib import Path

from tests.bench.corpora import draw, write_shards
from tests.bench.figures import Figure, figure
from tests.bench.timed_training import timed_run

from visage.data.emotion_rows import EmotionDecoder
from visage.data.feed import ShardFeed
from visage.data.sampler import Sampler
from visage.data.shards import ShardRows, load_manifest
from visage.specs.train import EmotionTrainSpec
from visage_jobs.presets import find_preset

__all__ = ["measure"]

PRESET = "emotion-small"


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """The feed alone with one and two threads in turns, then beside the small preset's steps."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    spec = EmotionTrainSpec.load(find_preset(PRESET))
    data_uri = write_shards(folder / "data", draw(21 if quick else 70), spec.model.input, train=280)
    opened, alone = _alone(spec, data_uri, turns=1 if quick else 5, batches=4 if quick else 20)
    run = timed_run(folder / "run", _endless(spec), data_uri, limit_s=2.0 if quick else 25.0)
    how = f"visage.training.session with {PRESET}, one torch thread, batch {spec.global_batch}, "
    how += f"{spec.feed_threads} feed threads, validation and timed saves off"
    return [
        figure("shards opened", opened, "s", how="manifest, checksum and map of 280 rows, cached"),
        *(
            figure(
                f"feed alone, {threads} thread{'s' if threads > 1 else ''}",
                rates,
                "samples/s",
                how=f"decode, {spec.augment} augmentation and stacking of batches; no model; "
                "first batch included",
            )
            for threads, rates in alone.items()
        ),
        figure("training start", [run.start_s], "s", how=f"{how}; to the end of the third step"),
        figure("training step", run.step_s, "s", how=how),
        figure("training rate", [run.samples_per_s], "samples/s", how=how),
        figure(
            "data wait",
            [100.0 * share for share in run.wait_share],
            "% of a step",
            how=f"{how}; by report of the session, about one in 2 s, the first left out",
            goal="< 10 %",
        ),
    ]


def _endless(spec: EmotionTrainSpec) -> EmotionTrainSpec:
    """The same steps, ended by the clock."""
    return spec.model_copy(
        update={"epochs": 10_000.0, "checkpoint_every_s": 900.0, "precision": "fp32"}
    )


def _alone(
    spec: EmotionTrainSpec, data_uri: str, *, turns: int, batches: int
) -> tuple[list[float], dict[int, list[float]]]:
    """Seconds to open the shards, and samples per second by number of threads."""
    opened: list[float] = []
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(turns):
        for threads, found in rates.items():
            start = time.perf_counter()
            manifest, store = load_manifest(data_uri)
            rows = ShardRows(manifest, store, "train")
            rows.check()
            rows.row(0)
            opened.append(time.perf_counter() - start)
            found.append(_rate(spec, rows, threads=threads, batches=batches))
    return opened, rates


def _rate(spec: EmotionTrainSpec, rows: ShardRows, *, threads: int, batches: int) -> float:
    sampler = Sampler(samples=len(rows), global_batch=spec.global_batch, seed=spec.seed)
    decode = EmotionDecoder(model=spec.model, augment=spec.augment, training=True)
    # nothing is decoded ahead, so that exactly these batches are paid for
    feed = ShardFeed(rows, sampler, decode, threads=threads, ahead=0)
    start = time.perf_counter()
    samples = sum(len(feed.batch(step)) for step in range(batches))
    spent_s = time.perf_counter() - start
    feed.close()
    return samples / spent_s
