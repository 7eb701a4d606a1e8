"""A record: where one picture, clip or sound lies, before anything is decoded.

Readers yield records; `prepare` turns them into rows of shards. A record carries references, never
pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["SPLITS", "Corpus", "Record", "Split"]

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One picture, one clip or one frame of it, or one sound."""

    key: str
    """Unique in the corpus and stable between machines.

    Path relative to the root, `#frame` for a frame.
    """
    path: str
    """Path relative to the corpus root, with forward slashes."""
    kind: Literal["image", "video", "audio"]
    label: str | None
    """One of the taxonomy's names, or None where the corpus states none."""
    split: Split
    frame: int | None = None
    """Index of the frame for `video`; None for pictures and for whole clips."""
    box: tuple[int, int, int, int] | None = None
    """Face box x1, y1, x2, y2 in pixels (x2, y2 exclusive) where the corpus states one."""
    is_face_crop: bool = False
    """The whole picture is a face (FER2013): there is no context, and no detection is needed."""
    group: str = ""
    """What must not straddle splits: the source video, or the actor; empty if unknown."""
    style: str = ""
    """How the person speaks (ballad, rap, …) where the corpus states it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """What a reader found under a root."""

    root: str
    layout: str
    classes: tuple[str, ...]
    """Taxonomy, in the order of the label indices; empty where the corpus states no emotions."""
    records: tuple[Record, ...]
    """Sorted by key."""
    notes: tuple[str, ...] = field(default=())
    """Sentences for people: aliases applied, files skipped and why."""
