"""Shoulders in a clip: found under the face in the first frame, followed by optical flow.

Eighteen points in two lines, from the neck to the tips of the shoulders, first those on the left of
the picture. They are placed by the proportions of a body and drawn to the edge that a shoulder
makes against what is behind it; from frame to frame Lucas-Kanade follows them (models.md A.4.4). A
point that leaves the picture, or cannot be followed there and back, is NaN from then on.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.errors import SpecError
from visage.faces.provider import Landmarks
from visage.landmarks import JAW
from visage.media.image import Image

__all__ = ["SHOULDER_POINTS", "find_shoulders", "shoulder_template", "track_shoulders"]

Points = NDArray[np.float32]
Grey = NDArray[np.uint8]

SHOULDER_POINTS = 18
_LINE = SHOULDER_POINTS // 2
_CHIN = 8
# In widths of the jaw, from the chin: the head is some 15 cm wide, the neck 12, the shoulders 40.
_NECK = (0.42, 0.35)
_TIP = (1.3, 0.8)
_REACH = 0.3
"""How far above and below its place an edge is looked for, in widths of the jaw."""
_BEND = 0.5
"""Price of a step of one pixel off the template's slope, in the mean strength of an edge."""
_THERE_AND_BACK_PX = 1.0


def shoulder_template(landmarks: Landmarks) -> Points:
    """Where shoulders are under a face by the proportions of a body, (18, 2) in pixels."""
    jaw = np.asarray(landmarks, np.float64)[JAW]
    width = float(np.linalg.norm(jaw[-1] - jaw[0]))
    centre_x, chin_y = float(jaw[:, 0].mean()), float(jaw[_CHIN, 1])
    along = np.linspace(0.0, 1.0, _LINE)
    out = _NECK[0] + along * (_TIP[0] - _NECK[0])
    down = _NECK[1] + along**1.3 * (_TIP[1] - _NECK[1])
    sides = [
        np.stack([centre_x + side * out * width, chin_y + down * width], axis=1) for side in (-1, 1)
    ]
    return np.concatenate(sides).astype(np.float32)


def find_shoulders(image: Image, landmarks: Landmarks) -> Points:
    """The template drawn to the edges of the picture, (18, 2); NaN for points outside of it.

    Of all ways to move the points of a line up and down, the one is taken that has the strongest
    edges for the least bending.
    """
    template = shoulder_template(landmarks)
    width = float(np.linalg.norm(landmarks[JAW[-1]] - landmarks[JAW[0]]))
    edges = _horizontal_edges(_grey(image), blur_px=width / 40)
    reach_px = max(1, round(_REACH * width))
    lines = [_drawn(line, edges, reach_px) for line in np.split(template, 2)]
    return _inside(np.concatenate(lines), image.shape[:2])


def track_shoulders(frames: Iterable[Image], first: Points) -> Points:
    """Follow points through a clip.

    Args:
        frames: RGB pictures of one size; `first` belongs to the first of them.
        first: (P, 2) in pixels, NaN for points that are not there.

    Returns:
        (T, P, 2); frame 0 is `first`.

    Raises:
        SpecError: frames of several sizes.
    """
    track: list[Points] = []
    for before, after in pairwise(_with_none(frames)):
        if before is None:
            track.append(np.asarray(first, np.float32))
        elif after is not None:
            if before.shape != after.shape:
                raise SpecError(
                    f"frame {len(track)} is {after.shape}, the one before {before.shape}; "
                    "shoulders are tracked through frames of one size"
                )
            track.append(_followed(before, after, track[-1]))
    return np.stack(track) if track else np.zeros((0, *first.shape), np.float32)


def _with_none(frames: Iterable[Image]) -> Iterable[Grey | None]:
    """Grey frames with a None in front, so that each has something before it."""
    yield None
    for frame in frames:
        yield _grey(frame)


def _followed(before: Grey, after: Grey, points: Points) -> Points:
    """Where points of one frame are in the next."""
    found = np.full_like(points, np.nan)
    known = np.isfinite(points).all(axis=1)
    if not known.any():
        return found
    start = np.ascontiguousarray(points[known][:, None])  # (K, 1, 2)
    window = max(7, round(min(before.shape) / 24))
    there, seen = _flow(before, after, start, window)
    back, seen_back = _flow(after, before, there, window)
    error = np.linalg.norm((back - start)[:, 0], axis=1)
    is_sure = seen & seen_back & (error <= _THERE_AND_BACK_PX)
    found[known] = np.where(is_sure[:, None], there[:, 0], np.nan)
    return _inside(found, after.shape)


def _flow(
    before: Grey, after: Grey, points: Points, window: int
) -> tuple[Points, NDArray[np.bool]]:
    """Lucas-Kanade over an image pyramid: new places (K, 1, 2) and whether they were found (K,)."""
    moved, status, _ = cv2.calcOpticalFlowPyrLK(
        before, after, points, None, winSize=(window, window), maxLevel=3
    )
    return np.asarray(moved, np.float32), np.asarray(status[:, 0] > 0)


def _drawn(line: Points, edges: NDArray[np.float32], reach_px: int) -> Points:
    """One line of points, each moved up or down by at most `reach_px`, as a whole optimally."""
    shifts = np.arange(-reach_px, reach_px + 1)
    height, width = edges.shape
    columns = np.clip(np.round(line[:, 0]).astype(int), 0, width - 1)
    rows = np.round(line[:, 1]).astype(int)[:, None] + shifts  # (9, S)
    strength = np.where(
        (rows >= 0) & (rows < height), edges[np.clip(rows, 0, height - 1), columns[:, None]], 0.0
    )
    price = _BEND * float(edges.mean()) * np.abs(shifts[:, None] - shifts)  # (S before, S after)
    best, came_from = strength[0], []
    for gain in strength[1:]:
        options = best[:, None] - price
        came_from.append(options.argmax(axis=0))
        best = options.max(axis=0) + gain
    at = int(best.argmax())
    chosen = [at]
    for step in reversed(came_from):
        at = int(step[at])
        chosen.append(at)
    moved = line.copy()
    moved[:, 1] += shifts[chosen[::-1]]
    return moved


def _horizontal_edges(grey: Grey, *, blur_px: float) -> NDArray[np.float32]:
    """How strongly the picture changes from above to below, at the scale of a shoulder."""
    smooth = cv2.GaussianBlur(grey, (0, 0), max(0.8, blur_px))
    return np.asarray(np.abs(cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3)), np.float32)


def _inside(points: Points, shape: tuple[int, ...]) -> Points:
    """Points outside of a picture (height, width) become NaN."""
    limits = np.array([shape[1] - 1, shape[0] - 1], np.float32)
    is_out = ~((points >= 0) & (points <= limits)).all(axis=1)
    kept = points.copy()
    kept[is_out] = np.nan
    return kept


def _grey(image: Image) -> Grey:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), np.uint8)
