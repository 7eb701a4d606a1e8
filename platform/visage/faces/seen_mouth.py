"""How far a mouth is open in pictures, found by looking at them.

Landmarks that drove a generator say what it was told, not what it painted. Here the points are
looked for in the finished frame, near where they should be; a frame in which they cannot be
believed has no opening.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.faces.provider import FaceFollower
from visage.landmarks import INNER_LIP_PAIRS
from visage.media.image import Image

__all__ = ["LEAST_SIDE_PX", "MOST_SPREAD", "openings_of", "seen_openings"]

LEAST_SIDE_PX = 256
"""Smaller pictures are enlarged: the predictor answers in whole pixels."""
MOST_SPREAD = 0.05
"""In sizes of the face. Drawn and photographed faces of 64 pixels, blurred or noisy, stay below
0.045; noise, a grey square or a face blurred away lie above 0.065."""


def openings_of(points: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    """Gap between the inner lips of landmarks, in shares of the picture's side.

    (T, 68, 2) in pixels of a picture of that side to (T,).
    """
    upper, lower = (list(one) for one in zip(*INNER_LIP_PAIRS, strict=True))
    gaps = np.linalg.norm(points[:, lower].astype(np.float64) - points[:, upper], axis=2)
    return np.asarray(gaps.mean(axis=1) / side)


def seen_openings(
    follower: FaceFollower, pictures: Sequence[Image], points: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Gap between the inner lips in each picture, in shares of the picture's side, (T,).

    Args:
        follower: finds a face near where it was.
        pictures: T square RGB frames, uint8.
        points: where the face should be, pixels of each picture, (T, 68, 2).

    Returns:
        NaN where no face is to be believed.
    """
    found = [_opening(follower, one, at) for one, at in zip(pictures, points, strict=True)]
    return np.array(found, np.float64)


def _opening(follower: FaceFollower, picture: Image, points: NDArray[np.float32]) -> float:
    zoom = max(1.0, LEAST_SIDE_PX / picture.shape[0])
    if zoom > 1:
        side = round(zoom * picture.shape[0])
        zoom = side / picture.shape[0]
        larger = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)
        picture = np.asarray(larger, np.uint8)
    near = np.asarray((points + 0.5) * zoom - 0.5, np.float32)
    seen = follower.follow(picture, near)
    if not seen.spread <= MOST_SPREAD:
        return float("nan")
    return float(openings_of(seen.points[None], picture.shape[0])[0])
