"""Frames of a clip that are kept while its face is followed, so that they are decoded once.

Which square the pictures will show is known only after the last frame. So of each frame as much is
kept as the square can need: the face with plenty of room. If there were too many frames, or the
face went too far, nothing is kept, and the clip is decoded again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from visage.faces.crop import SquareCrop
from visage.faces.provider import Box, Landmarks
from visage.media.image import Image

__all__ = ["KEPT_BYTES", "FrameKeeper", "KeptFrames"]

KEPT_BYTES = 384 * 2**20
"""Of one clip."""
_ROOM = 0.4
"""For the way of the face, beyond the margin of the pictures, in heights of the face."""
_NEARLY_ALL = 0.6
"""Share of the picture from which on all of it is kept, which costs no copy."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeptFrames:
    """The same part of frames that follow each other."""

    parts: tuple[Image, ...]
    left: int
    top: int

    def __len__(self) -> int:
        """Frames."""
        return len(self.parts)

    def cut(self, crop: SquareCrop) -> Iterator[Image]:
        """The square of every frame, exactly as from whole frames."""
        moved = replace(crop, left=crop.left - self.left, top=crop.top - self.top)
        return (moved.cut(part) for part in self.parts)


class FrameKeeper:
    """Takes the frames of one clip in their order."""

    def __init__(self, *, margin: float, most_bytes: int = KEPT_BYTES) -> None:
        """`margin` is that of the pictures, in heights of the face."""
        self._around = margin + _ROOM
        self._room_bytes = most_bytes
        self._parts: list[Image] | None = []
        self._part: Box | None = None
        self._size = (0, 0)

    def take(self, frame: Image, points: Landmarks | None) -> None:
        """The next frame, and the face in it if it is known."""
        if self._parts is None:
            return
        height, width = frame.shape[:2]
        self._size = (height, width)
        if self._part is None and points is not None:
            self._part = self._needed(points)
            x1, y1, x2, y2 = self._part
            self._parts = [one[y1:y2, x1:x2].copy() for one in self._parts]
        part = frame
        if self._part is not None:
            x1, y1, x2, y2 = self._part
            is_all = (x2 - x1, y2 - y1) == (width, height)
            part = frame if is_all else frame[y1:y2, x1:x2].copy()
        self._room_bytes -= part.nbytes
        self._parts.append(part)
        if self._room_bytes < 0:
            self._parts = None

    def kept(self, crop: SquareCrop, start: int, stop: int) -> KeptFrames | None:
        """Frames `start` to `stop` (exclusive), or None if they are not there as `crop` needs."""
        if not self._parts:
            return None
        height, width = self._size
        x1, y1, x2, y2 = self._part or (0, 0, width, height)
        right, bottom = crop.left + crop.side, crop.top + crop.side
        is_held = (
            x1 <= max(0, crop.left)
            and y1 <= max(0, crop.top)
            and x2 >= min(width, right)
            and y2 >= min(height, bottom)
        )
        if not is_held:
            return None
        return KeptFrames(parts=tuple(self._parts[start:stop]), left=x1, top=y1)

    def _needed(self, points: Landmarks) -> Box:
        height, width = self._size
        low, high = points.min(axis=0), points.max(axis=0)
        room = self._around * float(high[1] - low[1])
        x1, y1 = np.floor(np.clip(low - room, 0, [width, height])).astype(int).tolist()
        x2, y2 = np.ceil(np.clip(high + room, 0, [width, height])).astype(int).tolist()
        if (x2 - x1) * (y2 - y1) >= _NEARLY_ALL * width * height:
            return 0, 0, width, height
        return x1, y1, x2, y2
