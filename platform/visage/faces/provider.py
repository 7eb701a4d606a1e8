"""The one protocol behind which every face detector and landmark model stands.

Boxes are x1, y1, x2, y2 in pixels, x2 and y2 exclusive, possibly outside the picture as detectors
give them. Landmarks are the 68 points of iBUG 300-W in pixels of the given picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from visage.media.image import Image

__all__ = [
    "Box",
    "Face",
    "FaceFollower",
    "FaceProvider",
    "Followed",
    "Image",
    "Landmarks",
    "clip_box",
    "face_size",
]

Landmarks = NDArray[np.float32]
"""Shape (68, 2), x then y, pixels."""
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """One detected face."""

    box: Box
    score: float
    """Higher is surer; comparable within one provider only."""


class FaceProvider(Protocol):
    """Finds faces and their landmarks; not thread-safe unless it says so."""

    @property
    def name(self) -> str:
        """Short identity, for example `dlib68`; part of the prepare settings' digest."""
        ...

    @property
    def licence(self) -> str:
        """Licence of code and weights, in a line."""
        ...

    def detect(self, image: Image) -> list[Face]:
        """All faces, surest first; an empty list if there are none."""
        ...

    def landmarks(self, image: Image, box: Box) -> Landmarks:
        """The 68 points of the face in `box`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Followed:
    """The points of a face that was seen just before."""

    points: Landmarks
    spread: float
    """How far fits that started apart still lie apart, in sizes of the face: small on a face, large
    on anything else."""


@runtime_checkable
class FaceFollower(Protocol):
    """A provider that does better where it is told the points of the frame before."""

    def follow(self, image: Image, before: Landmarks) -> Followed:
        """The points of the face that had the points `before` in the last frame."""
        ...


def clip_box(box: Box, *, width: int, height: int) -> Box | None:
    """The part of the box inside the picture, or None if there is none."""
    x1, y1 = max(0, box[0]), max(0, box[1])
    x2, y2 = min(width, box[2]), min(height, box[3])
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None


def face_size(points: Landmarks) -> float:
    """Geometric mean of the extents of the 68 points, pixels; at least 1."""
    return max(1.0, float(np.sqrt(np.prod(np.ptp(points, axis=0)))))
