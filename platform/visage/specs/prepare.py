"""Spec of `visage prepare`: from a corpus on disk to shards."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from visage.specs.base import Spec
from visage.specs.emotion import EmotionInputSpec

__all__ = ["PrepareSpec"]


class PrepareSpec(Spec):
    """Everything that decides what a prepared row holds.

    Its digest is part of every shard's key.
    """

    recipe: Literal["emotion"] = "emotion"
    """For which family of recipes the rows are made."""
    input: EmotionInputSpec = EmotionInputSpec()
    faces: Literal["auto", "dlib68", "fan"] = "auto"
    """Face provider; auto takes the best one that works offline."""
    face_policy: Literal["surest", "largest", "only"] = "surest"
    """Which face counts where the corpus states none."""
    jpeg_quality: int = Field(95, ge=50, le=100)
    rows_per_shard: int = Field(256, ge=1, le=100_000)
    val_fraction: float = Field(0.1, ge=0.0, lt=0.5)
    """Taken from train, whole groups at a time, where the corpus has no validation split."""
    seed: int = 0
    """Of the validation draw."""
    max_rejected_share: float = Field(0.5, ge=0.0, le=1.0)
    """Give up, with counts, if more of the records than this cannot be used."""
