"""R5: how soon a run that stopped at 90 % of an epoch has its next batch.

Ours computes where it is. The first anchor is an iterator that reads on from the start and drops
what was seen, as streaming loaders do; it checks no checksums and decodes nothing that it drops.
The second is the best that a shuffled list can do: permute all numbers, skip, then open the shards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.bench.corpora import draw, write_shards
from tests.bench.figures import Figure, figure, paired
from tests.bench.turns import seconds, take_turns
from torch.utils.data import BatchSampler

from visage.data.emotion_rows import EmotionDecoder
from visage.data.feed import ShardFeed
from visage.data.manifest import Manifest, Shard
from visage.data.sampler import Sampler
from visage.data.shards import MANIFEST_NAME, ShardRows, load_manifest, read_shard
from visage.seeds import rng_of
from visage.specs.emotion import EmotionModelSpec
from visage.specs.train import EmotionTrainSpec
from visage.store.open import open_store
from visage_jobs.presets import find_preset

__all__ = ["measure"]

PRESET = "emotion-small"
ROWS = 256
SAMPLES = 1_000_000
AT = 0.9
COLUMNS = ["label", "face", "context", "context_box"]


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """A corpus of links to one shard: as many files to open and bytes to read as a real one."""
    torch.set_num_threads(1)
    spec = EmotionTrainSpec.load(find_preset(PRESET))
    samples = (50_000 if quick else SAMPLES) // ROWS * ROWS
    uri = _linked(folder, spec.model, shards=samples // ROWS)
    step = int(AT * samples) // spec.global_batch
    position = Sampler(samples=samples, global_batch=spec.global_batch, seed=spec.seed)

    def skipped_list() -> float:
        return seconds(lambda: _skipped(samples, spec, step))

    turns = 1 if quick else 5
    taken = take_turns(
        {
            "ours": lambda: seconds(lambda: _ours(uri, spec, step)),
            "reading": lambda: seconds(lambda: _reading_on(uri, spec, step)),
            "list": lambda: seconds(lambda: _listed(uri, spec, step)),
        },
        turns,
    )
    where = take_turns(
        {
            "ours": lambda: seconds(lambda: position.step_ids(step)),
            "list": skipped_list,
        },
        turns,
    )
    how = (
        f"{samples:,} samples in {samples // ROWS:,} shards, step {step:,}; from opening the "
        f"manifest to the first batch of {spec.global_batch}, decoded; page cache warm"
    )
    alone = f"{samples:,} samples; only which samples step {step:,} reads"
    return [
        figure("resume, ours", taken["ours"], "s", how=f"{how}; every shard checked and opened"),
        figure("resume, reading on", taken["reading"], "s", how=f"{how}; rows dropped undecoded"),
        figure("resume, shuffled list", taken["list"], "s", how=f"{how}; list permuted, skipped"),
        paired("reading on by resume", taken["reading"], taken["ours"], how=how,
               goal=">= 100", ratio="R5"),
        paired("shuffled list by resume", taken["list"], taken["ours"], how=how, ratio="R5"),
        paired("shuffled list by sampler, position alone", where["list"], where["ours"],
               how=alone, ratio="R5"),
    ]  # fmt: skip


def _linked(folder: Path, model: EmotionModelSpec, *, shards: int) -> str:
    one = write_shards(folder / "one", draw(21), model.input, train=ROWS)
    manifest, _ = load_manifest(one)
    (shard,) = manifest.shards
    store = open_store(str(folder / "all"))
    many = tuple(
        Shard(
            path=f"shards/{number:06d}/rows.arrow", sha256=shard.sha256, rows=ROWS,
            size_bytes=shard.size_bytes, split="train",
        )
        for number in range(shards)
    )  # fmt: skip
    for made in many:
        target = folder / "all" / made.path
        target.parent.mkdir(parents=True)
        os.link(folder / "one" / shard.path, target)
    whole = Manifest(
        kind=manifest.kind, classes=manifest.classes, shards=many, settings=manifest.settings,
        source=manifest.source, counts=manifest.counts, rejected={},
    )  # fmt: skip
    store.put(MANIFEST_NAME, whole.to_json())
    return store.uri


def _decoder(spec: EmotionTrainSpec) -> EmotionDecoder:
    return EmotionDecoder(model=spec.model, augment=spec.augment, training=True)


def _ours(uri: str, spec: EmotionTrainSpec, step: int) -> None:
    """As the session does it."""
    manifest, store = load_manifest(uri)
    rows = ShardRows(manifest, store, "train")
    rows.check()
    sampler = Sampler(samples=len(rows), global_batch=spec.global_batch, seed=spec.seed)
    feed = ShardFeed(rows, sampler, _decoder(spec), threads=spec.feed_threads, ahead=0)
    assert len(feed.batch(step)) == spec.global_batch
    feed.close()


def _reading_on(uri: str, spec: EmotionTrainSpec, step: int) -> None:
    """Rows one after the other, the first `step` batches dropped."""
    manifest, _ = load_manifest(uri)
    start = step * spec.global_batch
    batch = list(islice(_stream(uri, manifest), start, start + spec.global_batch))
    _stack(batch, spec)


def _stream(uri: str, manifest: Manifest) -> Iterator[dict[str, Any]]:
    for shard in manifest.of_split("train"):
        yield from read_shard(Path(uri) / shard.path).select(COLUMNS).to_pylist()


def _listed(uri: str, spec: EmotionTrainSpec, step: int) -> None:
    """A permuted list, its first batches skipped, then our own rows."""
    manifest, store = load_manifest(uri)
    rows = ShardRows(manifest, store, "train")
    rows.check()
    ids = _skipped(len(rows), spec, step)
    _stack([rows.row(one, COLUMNS) for one in ids], spec)


def _skipped(samples: int, spec: EmotionTrainSpec, step: int) -> list[int]:
    generator = torch.Generator().manual_seed(spec.seed)
    order = torch.randperm(samples, generator=generator).tolist()
    found: list[int] = next(
        islice(BatchSampler(order, spec.global_batch, drop_last=True), step, None)
    )
    return found


def _stack(batch: list[dict[str, Any]], spec: EmotionTrainSpec) -> None:
    assert len(batch) == spec.global_batch
    decode = _decoder(spec)
    ones = [decode(row, rng_of(0, "augment", 0, at)) for at, row in enumerate(batch)]
    for name in ones[0]:
        np.stack([one[name] for one in ones])
