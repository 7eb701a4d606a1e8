"""Promises of head pose: signs as stated, angles recovered, mirrored pictures mirrored."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visage.errors import MediaError
from visage.faces.pose import HeadPose, head_pose, project_head, rotation_of

WIDTH, HEIGHT = 640, 480
MIRROR = [
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65),
]


def _seen(
    yaw: float,
    pitch: float,
    roll: float,
    *,
    place: tuple[float, float, float] = (0.0, 0.0, 800.0),
    focal_px: float | None = None,
) -> np.ndarray:
    """What the 68 points would be for a generic head in that pose; points it lacks are zero."""
    pose = HeadPose(yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll, translation_mm=place, error_px=0.0)
    indices, pixels = project_head(pose, width=WIDTH, height=HEIGHT, focal_px=focal_px)
    points = np.zeros((68, 2), np.float32)
    points[list(indices)] = pixels
    return points


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"),
    list(
        itertools.product((-60, -35, -10, 0, 20, 45, 60), (-40, -15, 0, 25, 40), (-50, -20, 0, 30))
    ),
)
def test_a_projected_head_gives_its_angles_back(yaw: float, pitch: float, roll: float) -> None:
    found = head_pose(_seen(yaw, pitch, roll), width=WIDTH, height=HEIGHT)
    assert found.yaw_deg == pytest.approx(yaw, abs=1)
    assert found.pitch_deg == pytest.approx(pitch, abs=1)
    assert found.roll_deg == pytest.approx(roll, abs=1)
    assert found.error_px < 0.01
    assert found.translation_mm == pytest.approx((0, 0, 800), abs=5)


@pytest.mark.parametrize("place", [(-150.0, 80.0, 600.0), (200.0, -100.0, 1500.0)])
@pytest.mark.parametrize("focal_px", [None, 300.0, 1200.0])
def test_place_and_focal_length_do_not_change_the_angles(
    place: tuple[float, float, float], focal_px: float | None
) -> None:
    points = _seen(25, -10, 15, place=place, focal_px=focal_px)
    found = head_pose(points, width=WIDTH, height=HEIGHT, focal_px=focal_px)
    assert (found.yaw_deg, found.pitch_deg, found.roll_deg) == pytest.approx((25, -10, 15), abs=1)
    assert found.translation_mm == pytest.approx(place, rel=0.02, abs=5)


def test_signs_are_those_of_the_picture() -> None:
    nose, bridge, left_eye, right_eye = 30, 27, 36, 45
    right = _seen(30, 0, 0)
    assert right[nose, 0] > right[bridge, 0] + 5  # the tip points to the right edge
    up = _seen(0, 30, 0)
    level = _seen(0, 0, 0)
    assert up[nose, 1] - up[bridge, 1] < level[nose, 1] - level[bridge, 1] - 5  # the tip rises
    clockwise = _seen(0, 0, 30)
    assert clockwise[right_eye, 1] > clockwise[left_eye, 1] + 5  # the right of the picture sinks


@settings(max_examples=60, deadline=None)
@given(st.floats(-55, 55), st.floats(-35, 35), st.floats(-45, 45), st.integers(0, 2**31))
def test_a_mirrored_picture_negates_yaw_and_roll_and_keeps_pitch(
    yaw: float, pitch: float, roll: float, seed: int
) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.5, (68, 2)).astype(np.float32)
    points = _seen(yaw, pitch, roll) + noise
    mirrored = points[MIRROR] * (-1, 1) + (WIDTH - 1, 0)
    found = head_pose(points, width=WIDTH, height=HEIGHT)
    other = head_pose(mirrored.astype(np.float32), width=WIDTH, height=HEIGHT)
    assert other.yaw_deg == pytest.approx(-found.yaw_deg, abs=0.1)
    assert other.roll_deg == pytest.approx(-found.roll_deg, abs=0.1)
    assert other.pitch_deg == pytest.approx(found.pitch_deg, abs=0.1)


def test_half_a_pixel_of_noise_costs_few_degrees() -> None:
    rng = np.random.default_rng(0)
    errors = []
    for yaw, pitch in itertools.product((-40, 0, 40), (-20, 0, 20)):
        points = _seen(yaw, pitch, 5) + rng.normal(0, 0.5, (68, 2)).astype(np.float32)
        found = head_pose(points, width=WIDTH, height=HEIGHT)
        errors.append(
            np.abs((found.yaw_deg - yaw, found.pitch_deg - pitch, found.roll_deg - 5)).max()
        )
    assert np.median(errors) < 3
    assert max(errors) < 10


@given(st.floats(-89, 89), st.floats(-89, 89), st.floats(-179, 179))
def test_rotations_keep_lengths_and_handedness(yaw: float, pitch: float, roll: float) -> None:
    rotation = rotation_of(yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll)
    assert np.allclose(rotation @ rotation.T, np.eye(3))
    assert np.linalg.det(rotation) == pytest.approx(1)


@pytest.mark.parametrize(
    "points",
    [np.zeros((68, 2)), np.full((68, 2), np.nan), np.arange(136.0).reshape(68, 2) * (1, 0)],
    ids=["one spot", "no numbers", "one line"],
)
def test_points_that_are_no_face_are_refused(points: np.ndarray) -> None:
    with pytest.raises(MediaError) as caught:
        head_pose(points.astype(np.float32), width=WIDTH, height=HEIGHT)
    assert caught.value.code == "no_face"
