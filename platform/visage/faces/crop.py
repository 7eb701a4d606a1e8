"""One steady square around a face for a whole clip, and the way there and back in pixels.

The square does not follow the head: what moves in it is the head's own motion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.errors import MediaError
from visage.faces.provider import Image

__all__ = ["SquareCrop", "crop_around"]

Floats = NDArray[np.float32]
SMALLEST_PX = 24
"""Of a square that is worth enlarging."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SquareCrop:
    """A square of the source that becomes a picture of `size` pixels."""

    left: int
    top: int
    side: int
    """Pixels of the source; the square may reach beyond it, where the edge is repeated."""
    size: int

    def cut(self, image: Image) -> Image:
        """The square of one frame, uint8 (size, size, 3)."""
        height, width = image.shape[:2]
        right, bottom = self.left + self.side, self.top + self.side
        part = image[max(0, self.top) : min(height, bottom), max(0, self.left) : min(width, right)]
        beyond = (
            max(0, -self.top), max(0, bottom - height), max(0, -self.left), max(0, right - width)
        )  # fmt: skip
        if any(beyond):
            part = cv2.copyMakeBorder(part, *beyond, cv2.BORDER_REPLICATE)
        how = cv2.INTER_AREA if self.side > self.size else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(part, (self.size, self.size), interpolation=how), np.uint8)

    def points(self, points: Floats) -> Floats:
        """Points of the source in pixels of the crop; pixel centres are whole numbers in both."""
        scale = self.size / self.side
        moved = (points - np.array([self.left, self.top]) + 0.5) * scale - 0.5
        return np.asarray(moved, np.float32)


def crop_around(points: Floats, *, width: int, height: int, margin: float, size: int) -> SquareCrop:
    """The square that holds all points of a clip with room around them.

    It is moved, and made smaller as far as the points allow, to stay inside the picture.

    Args:
        points: Pixels of the source, shape (n, 68, 2).
        margin: Room on every side as a share of the height that the points span.

    Raises:
        MediaError: `face_too_small`.
    """
    low, high = points.min(axis=(0, 1)), points.max(axis=(0, 1))
    extent = high - low
    needed = float(extent.max())
    if needed < SMALLEST_PX:
        raise MediaError("face_too_small", f"the face spans {needed:.0f} pixels")
    wanted = needed + 2 * margin * float(extent[1])
    side = round(max(needed * 1.02, min(wanted, min(width, height))))
    left = _placed(float(low[0]), float(high[0]), side, width)
    top = _placed(float(low[1]), float(high[1]), side, height)
    return SquareCrop(left=left, top=top, side=side, size=size)


def _placed(low: float, high: float, side: int, extent: int) -> int:
    """Where the square begins along one axis: around the points, inside the picture if it fits,
    and in any case over the points, which may lie outside."""
    start = round((low + high) / 2 - side / 2)
    if side <= extent:
        start = min(max(start, 0), extent - side)
    return min(max(start, math.ceil(high) + 1 - side), math.floor(low))
