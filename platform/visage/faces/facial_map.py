"""The facial map of one face, drawn with OpenCV: what the generator sees of the landmarks.

A single channel with white lines between the 68 points. As published (models.md A.5): lines two
pixels thick, not smoothed, ends cut to whole pixels. That makes lines jump by a pixel from frame to
frame; `antialias` draws them at a sixteenth of a pixel instead. It changes what the network sees,
so training and rendering must agree. `visage.models.facial_map` draws batches on any device: hard
lines equal these pixel for pixel, unless a point lies far outside.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.errors import MediaError
from visage.faces.provider import Landmarks
from visage.landmarks import SEGMENTS, TORSO_SEGMENTS
from visage.models.facial_map import FAR_PX

__all__ = ["MARGIN_SHARE", "facial_map"]

MARGIN_SHARE = 4
"""Points up to a fourth of the side outside the picture are drawn as if they were inside."""
_SUBPIXEL_BITS = 4


def facial_map(
    landmarks: Landmarks,
    *,
    size: int,
    torso: NDArray[np.float32] | None = None,
    thickness_px: int = 2,
    antialias: bool = False,
) -> NDArray[np.uint8]:
    """Lines of 255 on 0, shape (size, size).

    Args:
        landmarks: The 68 points in pixels of the map; lines are clipped where points lie outside.
        size: Side of the map.
        torso: Points of two shoulder lines, shape (18, 2); pieces with a NaN are left out.
        thickness_px: Of the lines.
        antialias: Draw smooth lines at sub-pixel positions.

    Raises:
        MediaError: `no_face`, a landmark is not finite.
    """
    if not np.isfinite(landmarks).all():
        raise MediaError("no_face", "landmarks are no numbers; they show no face")
    # OpenCV moves lines by up to a pixel where it clips them; let that happen out of sight
    margin = size // MARGIN_SHARE
    canvas = np.zeros((size + 2 * margin,) * 2, np.uint8)
    pieces = [np.asarray(landmarks, np.float64)[SEGMENTS]]
    if torso is not None:
        shoulders = np.asarray(torso, np.float64)[TORSO_SEGMENTS]
        pieces.append(shoulders[np.isfinite(shoulders).all((1, 2))])
    bits = _SUBPIXEL_BITS if antialias else 0
    kind = cv2.LINE_AA if antialias else cv2.LINE_8
    ends = np.clip(np.concatenate(pieces), -FAR_PX, FAR_PX)
    # one call for all lines: (S, 2, 2)
    placed = _fixed(ends, bits).astype(np.int32) + (margin << bits)
    cv2.polylines(canvas, list(placed), False, 255, thickness_px, kind, bits)
    return canvas[margin : margin + size, margin : margin + size].copy()


def _fixed(points: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """Cut to whole pixels, or rounded to a fraction of one."""
    return np.round(points * (1 << bits)) if bits else np.trunc(points)
