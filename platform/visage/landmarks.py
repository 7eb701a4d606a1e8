"""The 68 points of iBUG 300-W: which index is what, and which points a drawing joins.

Right and left are the person's own. Everything that needs an index takes it from here, so that
drawing, metrics, losses and references agree about what a mouth is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ANCHORS",
    "BRIDGE",
    "BROWS",
    "EYES",
    "INNER_LIP",
    "INNER_LIP_PAIRS",
    "JAW",
    "LEFT_BROW",
    "LEFT_EYE",
    "MOUTH",
    "NOSE",
    "NOSTRILS",
    "ORIGIN",
    "OUTER_EYE_CORNERS",
    "OUTER_LIP",
    "POINTS",
    "RIGHT_BROW",
    "RIGHT_EYE",
    "SEGMENTS",
    "STROKES",
    "TORSO_POINTS",
    "TORSO_SEGMENTS",
]

Indices = NDArray[np.int64]


def _range(start: int, stop: int) -> Indices:
    return np.arange(start, stop, dtype=np.int64)


POINTS = 68
JAW = _range(0, 17)
"""From the right ear over the chin (8) to the left ear."""
RIGHT_BROW = _range(17, 22)
LEFT_BROW = _range(22, 27)
BROWS = _range(17, 27)
BRIDGE = _range(27, 31)
NOSTRILS = _range(31, 36)
NOSE = _range(27, 36)
RIGHT_EYE = _range(36, 42)
LEFT_EYE = _range(42, 48)
EYES = _range(36, 48)
OUTER_LIP = _range(48, 60)
INNER_LIP = _range(60, 68)
MOUTH = _range(48, 68)

INNER_LIP_PAIRS: tuple[tuple[int, int], ...] = ((61, 67), (62, 66), (63, 65))
"""Upper and lower points of the inner lip that face each other."""
OUTER_EYE_CORNERS: tuple[int, int] = (36, 45)
"""Their distance in a mean shape is the unit of object coordinates."""
ORIGIN = 27
"""The bridge of the nose in the mean shape: the origin of object coordinates."""
ANCHORS = np.array([27, 28, 29, 30, 33, 36, 39, 42, 45], dtype=np.int64)
"""Nine points that speech hardly moves; shapes are registered on them (models.md A.4.6)."""

STROKES: tuple[tuple[int, int, bool], ...] = (
    (0, 17, False),
    (17, 22, False),
    (22, 27, False),
    (27, 31, False),
    (31, 36, False),
    (36, 42, True),
    (42, 48, True),
    (48, 60, True),
    (60, 68, True),
)
"""Polylines of a drawn face: first point, end (exclusive), whether the last joins the first."""


def _segments() -> Indices:
    pairs: list[tuple[int, int]] = []
    for start, stop, is_closed in STROKES:
        pairs += [(one, one + 1) for one in range(start, stop - 1)]
        if is_closed:
            pairs.append((stop - 1, start))
    return np.array(pairs, dtype=np.int64)


SEGMENTS = _segments()
"""The straight pieces of all strokes, shape (S, 2) of point indices."""

TORSO_POINTS = 18
TORSO_SEGMENTS = np.array(
    [(one, one + 1) for start in (0, 9) for one in range(start, start + 8)], dtype=np.int64
)
"""The pieces of two polylines of nine points across the shoulders (models.md A.4.4), (16, 2)."""
