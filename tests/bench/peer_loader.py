"""One loader of R3 in a process of its own, which waits for its turns.

    python -m tests.bench.peer_loader ours|mosaic|litdata SHARDS FOLDER WORKERS

Runs in the environment of `make bench-extras`, on all three sides, so that Pillow, OpenCV, numpy
and torch are the same. Every line on stdin asks for one epoch; every answer is a line of JSON.
`digest` is the same for all loaders that give the same samples, whatever their order.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from visage.data.emotion_rows import EmotionDecoder
from visage.data.feed import ShardFeed
from visage.data.sampler import Sampler
from visage.data.shards import ShardRows, load_manifest
from visage.seeds import rng_of
from visage.specs.train import EmotionTrainSpec

PRESET = Path(__file__).parents[2] / "jobs/visage_jobs/configs/emotion-small.yaml"
COLUMNS = ("label", "face", "context", "context_box")
Epoch = Callable[[], Iterator[Mapping[str, Any]]]
"""Batches of `sample`, `face`, `context` and `label`."""


def main(kind: str, shards: str, folder: str, workers: int) -> None:
    """Prepare the loader's own format, say that it is ready, then one epoch for every line."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    spec = EmotionTrainSpec.load(PRESET)
    manifest, store = load_manifest(shards)
    rows = ShardRows(manifest, store, "train")
    made = {"ours": _ours, "mosaic": _mosaic, "litdata": _litdata}[kind]
    epoch = made(rows, spec, Path(folder), workers)
    _tell({"ready": kind})
    for asked in sys.stdin:
        _tell(_timed(epoch, is_checked=asked.strip() == "check"))


def _timed(epoch: Epoch, *, is_checked: bool) -> dict[str, object]:
    """Seconds and samples of one epoch; with a digest of everything if it is to be compared."""
    seen: list[str] = []
    samples, start = 0, time.perf_counter()
    for batch in epoch():
        samples += len(batch["label"])
        if is_checked:
            seen += _digests(batch)
    spent_s = time.perf_counter() - start
    digest = hashlib.sha256("".join(sorted(seen)).encode()).hexdigest()
    return {"seconds": spent_s, "samples": samples, "digest": digest}


def _digests(batch: Mapping[str, Any]) -> Iterator[str]:
    arrays = [np.asarray(batch[name]) for name in ("sample", "face", "context", "label")]
    for one in zip(*arrays, strict=True):
        yield hashlib.sha256(
            b"".join(np.ascontiguousarray(part).tobytes() for part in one)
        ).hexdigest()


def _tell(values: dict[str, object]) -> None:
    print(json.dumps(values), flush=True)


class _Collate:
    """Stored rows to a batch, in the worker; random as in epoch 0, so that all give the same."""

    def __init__(self, spec: EmotionTrainSpec) -> None:
        self._decode = EmotionDecoder(model=spec.model, augment=spec.augment, training=True)
        self._seed = spec.seed

    def __call__(self, stored: list[Mapping[str, Any]]) -> dict[str, Any]:
        """Decoded, augmented and stacked."""
        import torch

        samples = [self._one(row) for row in stored]
        return {
            name: torch.from_numpy(np.stack([one[name] for one in samples])) for name in samples[0]
        }

    def _one(self, stored: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
        sample = int(stored["sample"])
        row = {**stored, "context_box": [int(one) for one in stored["box"]]}
        arrays = self._decode(row, rng_of(self._seed, "augment", 0, sample))
        return {"sample": np.asarray(sample, np.int64), **arrays}


def _ours(rows: ShardRows, spec: EmotionTrainSpec, folder: Path, workers: int) -> Epoch:
    sampler = Sampler(samples=len(rows), global_batch=spec.global_batch, seed=spec.seed)
    decode = EmotionDecoder(model=spec.model, augment=spec.augment, training=True)

    def epoch() -> Iterator[Mapping[str, Any]]:
        feed = ShardFeed(rows, sampler, decode, threads=workers, ahead=spec.feed_ahead)
        for step in range(len(rows) // spec.global_batch):
            batch = feed.batch(step)
            yield {"sample": batch.ids, **batch.arrays}
        feed.close()

    return epoch


def _mosaic(rows: ShardRows, spec: EmotionTrainSpec, folder: Path, workers: int) -> Epoch:
    _without_torchvision()
    from streaming import MDSWriter, StreamingDataset
    from torch.utils.data import DataLoader

    kinds = {"sample": "int", "label": "int", "box": "json", "face": "bytes", "context": "bytes"}
    with MDSWriter(out=str(folder), columns=kinds) as writer:
        for row in _stored(rows):
            writer.write(row)

    loader = DataLoader(
        StreamingDataset(local=str(folder), shuffle=True, batch_size=spec.global_batch),
        batch_size=spec.global_batch,
        num_workers=workers,
        collate_fn=_Collate(spec),
        persistent_workers=True,
    )
    return lambda: iter(loader)


def _litdata(rows: ShardRows, spec: EmotionTrainSpec, folder: Path, workers: int) -> Epoch:
    import litdata

    litdata.optimize(
        fn=partial(_litdata_row, list(_stored(rows))),
        inputs=list(range(len(rows))),
        output_dir=str(folder),
        chunk_bytes="16MB",
        num_workers=1,
    )

    loader = litdata.StreamingDataLoader(
        litdata.StreamingDataset(str(folder), shuffle=True),
        batch_size=spec.global_batch,
        num_workers=workers,
        collate_fn=_Collate(spec),
        persistent_workers=True,
    )
    return lambda: iter(loader)


def _litdata_row(stored: list[dict[str, Any]], at: int) -> dict[str, Any]:
    return stored[at]


def _stored(rows: ShardRows) -> Iterator[dict[str, Any]]:
    """The same encoded bytes for every format; whole batches of them, as all loaders give those."""
    for sample in range(len(rows)):
        row = rows.row(sample, COLUMNS)
        yield {
            "sample": sample, "label": row["label"], "box": list(row["context_box"]),
            "face": row["face"], "context": row["context"],
        }  # fmt: skip


def _without_torchvision() -> None:
    """Streaming's examples import torchvision, which beside a CPU build of torch may fail.

    Nothing that is measured uses them, so stand-ins take their place then.
    """
    try:
        import torchvision  # noqa: F401  # only whether it can be imported
    except (ImportError, RuntimeError, OSError):
        for name in ("vision", "text", "multimodal"):
            sys.modules[f"streaming.{name}"] = _StandIn(f"streaming.{name}")


class _StandIn(types.ModuleType):
    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
