"""Promises of the drawn facial map: published lines, smooth ones on request, typed refusals."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from visage.errors import MediaError
from visage.faces.facial_map import facial_map
from visage.landmarks import MOUTH, STROKES

Points = NDArray[np.float32]


def test_lines_are_those_published(face_points: Points) -> None:
    """White, two pixels thick, ends cut to whole pixels."""
    expected = np.zeros((220, 220), np.uint8)
    for start, stop, is_closed in STROKES:
        stroke = face_points[start:stop].astype(int)
        cv2.polylines(expected, [stroke.reshape(-1, 1, 2)], is_closed, 255, 2)
    assert (facial_map(face_points, size=220) == expected).all()


def test_a_fraction_of_a_pixel_shows_in_smooth_lines_alone(face_points: Points) -> None:
    base = np.floor(face_points)
    moved = base + 0.4
    assert (facial_map(base, size=200) == facial_map(moved, size=200)).all()
    still, shifted = (facial_map(one, size=200, antialias=True) for one in (base, moved))
    assert (still != shifted).any()
    assert len(np.unique(still)) > 10


def test_a_mouth_that_opens_changes_the_map_at_the_mouth_alone(face_points: Points) -> None:
    opened = face_points.copy()
    opened[MOUTH] += (opened[MOUTH] - opened[MOUTH].mean(0)) * 0.3
    differs = facial_map(face_points, size=220) != facial_map(opened, size=220)
    rows, columns = np.nonzero(differs)
    low, high = opened[MOUTH].min(0) - 2, opened[MOUTH].max(0) + 2
    assert len(rows) > 0
    assert (columns >= low[0]).all()
    assert (columns <= high[0]).all()
    assert (rows >= low[1]).all()
    assert (rows <= high[1]).all()


def test_unknown_torso_points_leave_the_face_as_it_is(face_points: Points) -> None:
    torso = np.stack([np.linspace(10, 190, 18), np.full(18, 190.0)], 1).astype(np.float32)
    face = facial_map(face_points, size=200)
    assert facial_map(face_points, size=200, torso=torso)[190, 20] == 255
    assert (facial_map(face_points, size=200, torso=np.full_like(torso, np.nan)) == face).all()


def test_points_outside_are_clipped_and_no_numbers_refused(face_points: Points) -> None:
    assert facial_map(face_points + 1e7, size=64).sum() == 0
    assert facial_map(face_points - 100, size=64).any()
    face_points[3, 1] = np.nan
    with pytest.raises(MediaError) as caught:
        facial_map(face_points, size=64)
    assert caught.value.code == "no_face"
