"""Where the mouth of a generated frame really is: LMD of landmarks that are found in pictures.

A loss that weighs regions cannot judge its own weights. This can: landmarks are looked for in the
generated frame and, in the same way, in the true one, and the mouths are compared as LMD does
(models.md A-M): centred on their mean, in pixels of a 512 x 512 picture.

Whether landmarks are to be believed is asked of the predictor itself: on a face, two fits that
start apart come together; on anything else they do not. A frame without believable landmarks never
counts for less than the source shown unchanged, nor for less than where they were put: else noise
would be better than a face that is a little blurred.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.faces.provider import Box, FaceProvider, Image, Landmarks
from visage.faces.seen_mouth import LEAST_SIDE_PX, MOST_SPREAD
from visage.metrics.landmark_distances import mouths

__all__ = ["MouthCheck", "MouthError", "is_chosen"]

REFERENCE_PX = 512
"""LMD's unit is a pixel of a picture of this side."""
_APART = (0.03, 0.015)
_SIDE, _RISE = 1.04, 0.05  # of the box in which the predictor knows faces, by the points' extents


@dataclass(frozen=True, slots=True, kw_only=True)
class MouthError:
    """What one frame is off by."""

    lmd_px: float
    """Pixels of 512; not below `copy_lmd_px` if no face was seen."""
    copy_lmd_px: float
    """The same of the source frame, by the landmarks that it was stored with."""
    was_seen: bool
    """Whether the landmarks are to be believed."""


class MouthCheck:
    """Compares mouths; true frames are looked at once and remembered by their key."""

    def __init__(self, open_provider: Callable[[], FaceProvider] | None = None) -> None:
        """open_provider: called at the first frame; by default dlib's 68 points."""
        self._open = open_provider or _dlib68
        self._provider: FaceProvider | None = None
        self._true: dict[int, Landmarks] = {}

    def __call__(
        self, made: Image, target: Image, *, points: Landmarks, source: Landmarks, key: int
    ) -> MouthError:
        """The error of one frame.

        Args:
            made: the generated frame, uint8 (S, S, 3).
            target: the true one.
            points: its landmarks as stored, pixels of S, (68, 2).
            source: those of the frame that the generator started from.
            key: names the target; the same key is always the same frame.
        """
        unit = REFERENCE_PX / made.shape[0]
        copied = _lmd(points, source) * unit
        if key not in self._true:
            found, was_seen = self._found(target, points)
            self._true[key] = found if was_seen else points
        found, was_seen = self._found(made, points)
        off = _lmd(self._true[key], found) * unit
        return MouthError(
            lmd_px=off if was_seen else max(off, copied), copy_lmd_px=copied, was_seen=was_seen
        )

    def _found(self, picture: Image, near: Landmarks) -> tuple[Landmarks, bool]:
        """Landmarks about where they should be, in pixels of the picture; and if to be believed."""
        if self._provider is None:
            self._provider = self._open()
        zoom = max(1.0, LEAST_SIDE_PX / picture.shape[0])
        searched = picture
        if zoom > 1.0:
            side = round(zoom * picture.shape[0])
            larger = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)
            searched, zoom = np.asarray(larger, np.uint8), side / picture.shape[0]
        expected = (near + 0.5) * zoom - 0.5
        size = _size(expected)
        one, other = (
            self._provider.landmarks(searched, _box(expected, size, sign * size))
            for sign in (-1, 1)
        )
        apart = float(np.median(np.linalg.norm(one - other, axis=1))) / size
        found = np.asarray(((one + other) / 2 + 0.5) / zoom - 0.5, np.float32)
        return found, apart <= MOST_SPREAD


def is_chosen(row: int, *, rows: int, frames: int) -> bool:
    """Whether a row of a split is one of those that are looked at: evenly spread, in any order."""
    return row * frames // rows != (row - 1) * frames // rows if frames < rows else True


def _dlib68() -> FaceProvider:
    from visage.faces.dlib68 import Dlib68

    return Dlib68()


def _lmd(true: Landmarks, made: Landmarks) -> float:
    pair = (np.asarray(one, np.float64)[None] for one in (true, made))
    return float(mouths(*pair).paired()[0])


def _size(points: Landmarks) -> float:
    """Geometric mean of the extents, pixels; a face of one pixel at least."""
    extents: NDArray[np.float32] = np.ptp(points, axis=0)
    return float(max(1.0, np.sqrt(extents[0] * extents[1])))


def _box(points: Landmarks, size: float, shift: float) -> Box:
    x, y = points.mean(axis=0) + shift * np.array(_APART) - [0, _RISE * size]
    half = _SIDE * size / 2
    return round(x - half), round(y - half), round(x + half), round(y + half)
