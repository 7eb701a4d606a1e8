"""Drawn pictures written straight as shards, at the input sizes of a preset.

No face detector is needed: the drawing knows where its face is. Rows repeat the distinct pictures,
which costs the feed nothing less, since it decodes every row anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from visage.data.emotion_inputs import EmotionInputs
from visage.data.emotion_rows import EMOTION_ROWS, EMOTION_SCHEMA
from visage.data.manifest import Manifest, Shard
from visage.data.records import Split
from visage.data.shards import MANIFEST_NAME, ROWS_PART, shard_bytes
from visage.faces.provider import Box, Image
from visage.media.image import encode_jpeg, encode_png
from visage.specs.emotion import EMOTIONS, EmotionInputSpec
from visage.store.base import Store
from visage.store.commit import commit
from visage.store.open import open_store
from visage.synth.caer_s import pictures_of, plan_of
from visage.synth.scene import draw_scene, scene_box
from visage.synth.spec import CaerSSpec

__all__ = ["Drawing", "draw", "write_shards"]

ROWS_PER_SHARD = 256
JPEG_QUALITY = 95  # what prepare stores by default
Drawing = tuple[Image, Box, int]
"""A picture, its face, and the number of its class."""


def draw(count: int) -> list[Drawing]:
    """Pictures of 533 x 400, the classes in turn; at least three of each class are drawn."""
    per_class = max(3, -(-count // len(EMOTIONS)))
    spec = CaerSSpec(per_class=per_class, identities=max(6, per_class // 2))
    pictures = sorted(pictures_of(spec), key=lambda one: (one.split, one.index, one.path))
    drawn = []
    for picture in pictures[:count]:
        plan = plan_of(spec, picture)
        drawn.append((draw_scene(plan), scene_box(plan), EMOTIONS.index(picture.label)))
    return drawn


def write_shards(
    folder: Path, drawings: Sequence[Drawing], inputs: EmotionInputSpec, *, train: int, val: int = 0
) -> str:
    """A prepared corpus of `train` + `val` rows; returns its URI."""
    store = open_store(str(folder))
    encoded = [_columns(drawing, inputs) for drawing in drawings]
    sizes: dict[Split, int] = {"train": train, "val": val}
    shards: list[Shard] = []
    counts: dict[str, dict[str, int]] = {}
    for split, size in sizes.items():
        rows = [_row(split, index, encoded[index % len(encoded)]) for index in range(size)]
        counts[split] = {
            name: sum(row["label"] == number for row in rows)
            for number, name in enumerate(EMOTIONS)
        }
        for start in range(0, size, ROWS_PER_SHARD):
            shards.append(_shard(store, split, start, rows[start : start + ROWS_PER_SHARD]))
    manifest = Manifest(
        kind=EMOTION_ROWS,
        classes=EMOTIONS,
        shards=tuple(shards),
        settings={"input": inputs.model_dump()},
        source={"root": "drawn", "layout": "drawn"},
        counts=counts,
        rejected={},
    )
    store.put(MANIFEST_NAME, manifest.to_json())
    return store.uri


def _columns(drawing: Drawing, inputs: EmotionInputSpec) -> dict[str, Any]:
    image, box, label = drawing
    small = EmotionInputs.of(image, box, inputs)
    blank = np.zeros((inputs.face_size, inputs.face_size), np.uint8)
    return {
        "label": label,
        "width": image.shape[1],
        "height": image.shape[0],
        "box": list(box),
        "face": encode_jpeg(small.face, JPEG_QUALITY),
        "context": encode_jpeg(small.context, JPEG_QUALITY),
        "context_box": list(small.box),
        "regions": encode_png(blank),
    }


def _row(split: Split, index: int, columns: dict[str, Any]) -> dict[str, Any]:
    return {
        "key": f"{split}/{index:05d}",
        "group": f"{split}{index}",
        "source_sha256": "0" * 64,
        "score": 1.0,
        "landmarks": [0.0] * 136,
        "pose_deg": [0.0] * 3,
        **columns,
    }


def _shard(store: Store, split: Split, start: int, rows: list[dict[str, Any]]) -> Shard:
    key = f"{split}{start:06d}"
    body = shard_bytes(pa.Table.from_pylist(rows, schema=EMOTION_SCHEMA))
    made = commit(store, f"shards/{key}", {ROWS_PART: body}).parts[ROWS_PART]
    return Shard(
        path=f"shards/{key}/{made.path}",
        sha256=made.sha256,
        rows=len(rows),
        size_bytes=made.size_bytes,
        split=split,
    )
