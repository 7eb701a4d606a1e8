"""Rows of emotion shards: their schema, and how a stored row becomes the arrays of one sample.

A row keeps the face crop and the *unmasked* whole picture, both resized and still encoded as JPEG,
with the face box in the resized picture: which mask hides the face is a training-time choice, and
both mC and fC come from the same bytes. See docs/decisions/shard-format.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from visage.data.emotion_inputs import (
    Augmentation,
    EmotionInputs,
    evaluation_views,
    training_views,
)
from visage.media.stored import decode_stored
from visage.specs.emotion import EmotionModelSpec

__all__ = ["EMOTION_ROWS", "EMOTION_SCHEMA", "EmotionDecoder", "stored_inputs"]

EMOTION_ROWS = "emotion/1"
EMOTION_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int32()),
        ("group", pa.string()),
        ("source_sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("box", pa.list_(pa.int32(), 4)),
        ("score", pa.float32()),
        ("landmarks", pa.list_(pa.float32(), 136)),
        ("pose_deg", pa.list_(pa.float32(), 3)),
        ("face", pa.binary()),
        ("context", pa.binary()),
        ("context_box", pa.list_(pa.int32(), 4)),
        ("regions", pa.binary()),
    ],
    metadata={"schema": EMOTION_ROWS},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionDecoder:
    """Stored rows to the arrays of one sample; random only for training."""

    model: EmotionModelSpec
    augment: Augmentation = "none"
    training: bool = False

    columns = ("label", "face", "context", "context_box")

    def __call__(self, row: Mapping[str, Any], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """face (S, S, 3) uint8, context (C, C, 3) uint8, label int64."""
        inputs = stored_inputs(row)
        if self.training:
            face, context = training_views(inputs, self.model, augmentation=self.augment, rng=rng)
        else:
            face, context = evaluation_views(inputs, self.model)
        return {
            "face": face,
            "context": context,
            "label": np.asarray(row["label"], dtype=np.int64),
        }


def stored_inputs(row: Mapping[str, Any]) -> EmotionInputs:
    """The two pictures and the box that a row holds, decoded."""
    x1, y1, x2, y2 = row["context_box"]
    return EmotionInputs(
        face=decode_stored(row["face"]), context=decode_stored(row["context"]), box=(x1, y1, x2, y2)
    )
