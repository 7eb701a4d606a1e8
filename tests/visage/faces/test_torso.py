"""Promises of the shoulders: found on the edge, followed to a fraction of a pixel, not guessed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from moving_faces import face

from visage.errors import SpecError
from visage.faces.torso import (
    SHOULDER_POINTS,
    find_shoulders,
    shoulder_template,
    track_shoulders,
)

SIZE = 320


def _landmarks(scale: float = 60.0) -> np.ndarray:
    """A face in the upper half of the picture."""
    return (face() * scale + [SIZE / 2, 90]).astype(np.float32)


def _person(lift_px: float) -> tuple[np.ndarray, np.ndarray]:
    """A picture of shoulders that lie `lift_px` above the template, and their line."""
    line = shoulder_template(_landmarks()) - np.array([0, lift_px], np.float32)
    left, right = line[:9][::-1], line[9:]
    outline = np.concatenate([[[0, left[0, 1]]], left, right, [[SIZE, right[-1, 1]]]])
    body = np.concatenate([outline, [[SIZE, SIZE], [0, SIZE]]])
    image = np.full((SIZE, SIZE, 3), 200, np.uint8)
    cv2.fillPoly(image, [np.round(body).astype(np.int32)], (40, 50, 90))
    return image, line


def _texture(shift: tuple[float, float]) -> np.ndarray:
    draws = np.random.default_rng(0)
    noise = cv2.GaussianBlur(draws.uniform(0, 255, (SIZE, SIZE)).astype(np.float32), (0, 0), 3)
    noise = cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX)
    move = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    moved = cv2.warpAffine(noise, move, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT)
    return np.repeat(moved.astype(np.uint8)[..., None], 3, axis=2)


def test_the_template_is_a_pair_of_lines_below_the_chin_symmetric_under_a_frontal_face():
    landmarks = _landmarks()
    template = shoulder_template(landmarks)
    assert template.shape == (SHOULDER_POINTS, 2)
    assert (template[:, 1] > landmarks[8, 1]).all()
    centre = landmarks[:17, 0].mean()
    np.testing.assert_allclose(template[:9, 0] - centre, centre - template[9:, 0], atol=1e-3)
    np.testing.assert_allclose(template[:9, 1], template[9:, 1], atol=1e-3)
    assert (np.diff(template[9:, 0]) > 0).all()
    np.testing.assert_allclose(shoulder_template(landmarks + 7), template + 7, atol=1e-3)


@pytest.mark.parametrize("lift_px", [-20.0, 0.0, 12.0])
def test_points_are_drawn_to_the_edge_of_the_shoulders(lift_px):
    image, line = _person(lift_px)
    found = find_shoulders(image, _landmarks())
    np.testing.assert_allclose(found[:, 0], line[:, 0])
    assert np.abs(found[:, 1] - line[:, 1]).max() <= 3


def test_points_outside_of_the_picture_are_unknown():
    image, _ = _person(0.0)
    found = find_shoulders(image, _landmarks() + np.array([120, 0], np.float32))
    assert np.isnan(found[-1]).all()
    assert np.isfinite(found[0]).all()


def test_points_follow_a_moving_body_to_a_fraction_of_a_pixel():
    shifts = [(0.0, 0.0), (1.5, -0.5), (4.0, -1.0), (7.5, 1.25)]
    first = np.stack([np.linspace(60, 250, 18), np.linspace(100, 220, 18)], axis=1)
    track = track_shoulders((_texture(one) for one in shifts), first.astype(np.float32))
    expected = first + np.array(shifts)[:, None]
    assert track.shape == (4, 18, 2)
    assert np.abs(track - expected).max() < 0.3


def test_a_point_that_leaves_or_cannot_be_followed_is_unknown_from_then_on():
    first = np.array([[310.0, 150.0], [150.0, 150.0], [np.nan, np.nan]], np.float32)
    frames = [_texture((shift, 0.0)) for shift in (0.0, 8.0, 16.0, 8.0)]
    track = track_shoulders(frames, first)
    assert np.isfinite(track[:, 1]).all()
    assert np.isnan(track[2:, 0]).all()
    assert np.isnan(track[:, 2]).all()
    cut = track_shoulders([frames[0], _texture((150.0, 90.0))[::-1]], first)
    assert not np.isfinite(cut[1]).any()


def test_no_frames_give_no_track_and_frames_of_two_sizes_are_refused():
    first = np.zeros((18, 2), np.float32)
    assert track_shoulders([], first).shape == (0, 18, 2)
    with pytest.raises(SpecError, match="one size"):
        track_shoulders([_texture((0, 0)), _texture((0, 0))[:100]], first)
