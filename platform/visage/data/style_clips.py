"""The clips that show a style: their landmarks, read once from a prepared corpus.

Style transfer needs a few seconds to minutes of one way of speaking. They are small (0.8 KB a
frame), so every rank keeps them whole; sound and pictures are not read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visage.data.clip_rows import CLIP_ROWS
from visage.data.records import Split
from visage.data.shards import ShardRows, load_manifest
from visage.errors import DataError
from visage.landmarks import POINTS

__all__ = ["StyleClip", "load_style_clips"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleClip:
    """One segment."""

    key: str
    landmarks: Floats
    """Object coordinates at 60 Hz, (n, 68, 3)."""
    mean: Floats
    """Mean shape of its clip, (68, 3)."""


def load_style_clips(uri: str, style: str | None, *, split: Split = "train") -> list[StyleClip]:
    """A split's segments of a style, in the order of the corpus; there may be none but in train.

    Args:
        uri: A prepared corpus of clips.
        style: What their `style` column says; None takes all.

    Raises:
        DataError: another kind of corpus, or no such clip in the training split.
    """
    manifest, store = load_manifest(uri)
    if manifest.kind != CLIP_ROWS:
        raise DataError(
            f"{uri}: rows of kind {manifest.kind}; a style is shown by {CLIP_ROWS} (visage prepare)"
        )
    if split != "train" and not manifest.rows(split):
        return []
    rows = ShardRows(manifest, store, split)
    styles = rows.column("style")
    chosen = [index for index, one in enumerate(styles) if style in (None, one)]
    if not chosen and split == "train":
        raise DataError(
            f"{uri}: no training clip of style {style!r}; there are "
            f"{', '.join(sorted(set(styles))) or 'none at all'}"
        )
    clips = []
    for index in chosen:
        row = rows.row(index, ("key", "frames", "landmarks", "mean"))
        frames = int(row["frames"])
        clips.append(
            StyleClip(
                key=str(row["key"]),
                landmarks=np.frombuffer(row["landmarks"], "<f4").reshape(frames, POINTS, 3),
                mean=np.frombuffer(row["mean"], "<f4").reshape(POINTS, 3),
            )
        )
    return clips
