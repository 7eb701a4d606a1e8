"""The sampler and the manifest at 10^8 samples: what a step, a start and their memory cost."""

from __future__ import annotations

import gc
import hashlib
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

from tests.bench.figures import Figure, figure
from tests.bench.processes import rss_mib

from visage.data.manifest import Manifest, Shard
from visage.data.sampler import Sampler
from visage.data.shards import MANIFEST_NAME, ShardRows, load_manifest
from visage.specs.emotion import EMOTIONS
from visage.store.open import open_store

__all__ = ["measure"]

SAMPLES = 10**8
BATCH = 1024
ROWS_PER_SHARD = (256, 4096)
"""What `visage prepare` makes by default, and what suits a corpus of this size."""


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """Nothing but the index is there: no shard is opened."""
    samples = SAMPLES // 100 if quick else SAMPLES
    return [
        *_sampler(samples, steps=20 if quick else 500),
        *(
            one
            for rows in reversed(ROWS_PER_SHARD)
            for one in _manifest(folder / str(rows), samples, rows, turns=1 if quick else 3)
        ),
    ]


def _sampler(samples: int, *, steps: int) -> Iterator[Figure]:
    sampler = Sampler(samples=samples, global_batch=BATCH, seed=0)
    spread = samples // BATCH // steps
    spent_ms = []
    for step in range(0, spread * steps, spread):
        start = time.perf_counter()
        sampler.step_ids(step)
        spent_ms.append(1e3 * (time.perf_counter() - start))
    tracemalloc.start()
    sampler.step_ids(samples // BATCH)
    peak_kib = tracemalloc.get_traced_memory()[1] / 1024
    tracemalloc.stop()
    how = f"{samples:.0e} samples, global batch {BATCH}, steps spread over an epoch"
    yield figure("sampler, ids of a step", spent_ms, "ms", how=how)
    yield figure("sampler, memory", [peak_kib], "KiB", how=f"{how}; peak of Python's allocator")


def _manifest(folder: Path, samples: int, rows: int, *, turns: int) -> Iterator[Figure]:
    size_bytes = _write(folder, samples, rows)
    opened_s, held_mib = [], []
    for _ in range(turns):
        gc.collect()
        before_mib = rss_mib()
        start = time.perf_counter()
        manifest, store = load_manifest(str(folder))
        known = ShardRows(manifest, store, "train")
        opened_s.append(time.perf_counter() - start)
        assert len(known) == samples // rows * rows
        gc.collect()
        held_mib.append(rss_mib() - before_mib)
        del manifest, store, known
    shards = samples // rows
    name = f"manifest of {shards:,} shards ({rows} rows each)"
    how = (
        f"{samples:.0e} samples, {size_bytes / 2**20:.0f} MiB of JSON; read, digest checked, sorted"
    )
    yield figure(f"{name}, opening", opened_s, "s", how=how)
    first = "resident memory gained; what the process had before is reused in later turns"
    yield figure(f"{name}, memory", [max(held_mib)], "MiB", how=f"{how}; {first}, so the largest")


def _write(folder: Path, samples: int, rows: int) -> int:
    shards = tuple(
        Shard(
            path=f"shards/{number:010d}/rows.{number:012x}.arrow",
            sha256=hashlib.sha256(str(number).encode()).hexdigest(),
            rows=rows,
            size_bytes=rows * 14_000,
            split="train",
        )
        for number in range(samples // rows)
    )
    manifest = Manifest(
        kind="emotion/1", classes=EMOTIONS, shards=shards, settings={},
        source={"root": "none", "layout": "none"}, counts={}, rejected={},
    )  # fmt: skip
    body = manifest.to_json()
    open_store(str(folder)).put(MANIFEST_NAME, body)
    return len(body)
