"""Following with dlib: the points go where the face goes, and fits disagree where there is none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from drawn_people import SIZE, talking, talking_points
from numpy.typing import NDArray

from visage.faces.dlib68 import Dlib68
from visage.faces.provider import FaceFollower, Image, Landmarks, face_size
from visage.faces.track import MOST_SPREAD


def _moved(
    turn_deg: float, zoom: float, shift: tuple[float, float]
) -> tuple[Image, NDArray[np.float64]]:
    """A drawn person, turned in the picture, and where the true points went."""
    matrix = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), turn_deg, zoom)
    matrix[:, 2] += shift
    picture = cv2.warpAffine(
        talking(2, 1)[0], matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(picture, np.uint8), talking_points(2, 1)[0] @ matrix[:, :2].T + matrix[:, 2]


def _off(points: Landmarks, truth: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(points - truth, axis=1).mean()) / face_size(points)


def test_it_follows(dlib68: Dlib68) -> None:
    assert isinstance(dlib68, FaceFollower)


@pytest.mark.parametrize("turn_deg", [-40, 0, 25])
@pytest.mark.parametrize(("zoom", "shift"), [(1.0, (0, 0)), (0.7, (20, -10)), (1.3, (-12, 5))])
def test_points_go_where_the_face_goes(
    turn_deg: float, zoom: float, shift: tuple[float, float], dlib68: Dlib68
) -> None:
    picture, truth = _moved(turn_deg, zoom, shift)
    before = truth.astype(np.float32)
    before[:, 0] += 0.06 * face_size(before)
    found = dlib68.follow(picture, before)
    assert _off(found.points, truth) < 0.06
    assert found.spread < MOST_SPREAD / 2


def test_what_is_followed_again_and_again_does_not_run_away(dlib68: Dlib68) -> None:
    picture, truth = _moved(10, 1.0, (0, 0))
    points = truth.astype(np.float32)
    for _ in range(12):
        points = dlib68.follow(picture, points).points
    assert _off(points, truth) < 0.06


@pytest.mark.parametrize("where", [(-50, -50), (60, -60), (-60, 60)])
def test_beside_a_face_fits_disagree(where: tuple[int, int], dlib68: Dlib68) -> None:
    picture, truth = _moved(0, 0.6, (0, 0))
    spreads = []
    points = (truth + where).astype(np.float32)
    for _ in range(3):
        found = dlib68.follow(picture, points)
        points = found.points
        spreads.append(found.spread)
    assert max(spreads) > MOST_SPREAD


@pytest.mark.parametrize("where", [(1000, 0), (0, -1000), (1e9, 1e9)])
def test_outside_of_the_picture_there_is_no_face(
    where: tuple[float, float], dlib68: Dlib68
) -> None:
    found = dlib68.follow(talking(2, 1)[0], talking_points(2, 1)[0] + np.float32(where))
    assert found.spread == np.inf
