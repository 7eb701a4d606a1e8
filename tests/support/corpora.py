"""Tiny prepared corpora, written straight as shards: pictures whose colour tells the class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from visage.data.emotion_inputs import EmotionInputs
from visage.data.emotion_rows import EMOTION_ROWS, EMOTION_SCHEMA
from visage.data.manifest import Manifest, Shard
from visage.data.records import Split
from visage.data.shards import MANIFEST_NAME, ROWS_PART, shard_bytes
from visage.media.image import encode_jpeg, encode_png
from visage.seeds import rng_of
from visage.specs.emotion import EMOTIONS, EmotionInputSpec, EmotionModelSpec
from visage.specs.train import EmotionTrainSpec, OptimizerSpec
from visage.store.commit import commit
from visage.store.open import open_store

__all__ = ["SMALL_INPUT", "SMALL_MODEL", "small_train_spec", "write_corpus"]

SMALL_INPUT = EmotionInputSpec(face_size=32, context_height=40, context_width=48, context_crop=32)
SMALL_MODEL = EmotionModelSpec(widths=(4, 8, 8, 16, 16), input=SMALL_INPUT)


def small_train_spec(**changes: object) -> EmotionTrainSpec:
    """A spec that trains in a second."""
    values: dict[str, object] = {
        "model": SMALL_MODEL,
        "optimizer": OptimizerSpec(lr=0.05),
        "epochs": 2.0,
        "global_batch": 8,
        "micro_batch": 4,
        "feed_threads": 1,
        "ema_decay": 0.9,
        "checkpoint_every_steps": 3,
    }
    return EmotionTrainSpec.parse({**values, **changes})


def write_corpus(
    folder: Path | str, *, train: int = 42, val: int = 14, test: int = 14, rows_per_shard: int = 16
) -> str:
    """Shards and manifest under a folder or URI; returns the URI."""
    store = open_store(str(folder))
    shards: list[Shard] = []
    sizes: dict[Split, int] = {"train": train, "val": val, "test": test}
    counts: dict[str, dict[str, int]] = {}
    for split, size in sizes.items():
        rows = [_row(split, index) for index in range(size)]
        counts[split] = {name: sum(row["label"] == i for row in rows)
                         for i, name in enumerate(EMOTIONS)}  # fmt: skip
        for start in range(0, size, rows_per_shard):
            part = rows[start : start + rows_per_shard]
            body = shard_bytes(pa.Table.from_pylist(part, schema=EMOTION_SCHEMA))
            key = f"{split}{start:05d}"
            made = commit(store, f"shards/{key}", {ROWS_PART: body}).parts[ROWS_PART]
            shards.append(
                Shard(
                    path=f"shards/{key}/{made.path}", sha256=made.sha256, rows=len(part),
                    size_bytes=made.size_bytes, split=split,
                )
            )  # fmt: skip
    manifest = Manifest(
        kind=EMOTION_ROWS, classes=EMOTIONS, shards=tuple(shards),
        settings={"input": SMALL_INPUT.model_dump()}, source={"root": "made", "layout": "made"},
        counts=counts, rejected={},
    )  # fmt: skip
    store.put(MANIFEST_NAME, manifest.to_json())
    return store.uri


def _row(split: str, index: int) -> dict[str, object]:
    label = index % len(EMOTIONS)
    rng = rng_of("corpus", split, index)
    colour = np.array([label * 36, 255 - label * 36, (label * 97) % 256])
    noise = rng.integers(-20, 20, (60, 80, 3))
    image = np.clip(colour + noise, 0, 255).astype(np.uint8)
    small = EmotionInputs.of(image, (20, 10, 50, 45), SMALL_INPUT)
    return {
        "key": f"{split}/{index:05d}", "label": label, "group": f"{split}{index}",
        "source_sha256": "0" * 64, "width": 80, "height": 60, "box": [20, 10, 50, 45],
        "score": 1.0, "landmarks": [0.0] * 136, "pose_deg": [0.0] * 3,
        "face": encode_jpeg(small.face, 95), "context": encode_jpeg(small.context, 95),
        "context_box": list(small.box), "regions": encode_png(np.zeros((32, 32), np.uint8)),
    }  # fmt: skip
