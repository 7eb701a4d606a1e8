"""Promises of region maps: labels in their places, crops that match, parses that translate."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visage.errors import MediaError, SpecError
from visage.faces.draw import draw_faces, draw_landmarks, draw_regions
from visage.faces.provider import Face
from visage.faces.regions import (
    EYES,
    MOUTH,
    PARSE_CLASSES,
    REST,
    SKIN,
    region_crop,
    region_map,
    regions_from_parse,
)


def test_each_region_lies_where_its_points_are(face_points: np.ndarray) -> None:
    regions = region_map(face_points, width=200, height=240)
    assert regions.shape == (240, 200)
    assert regions.dtype == np.uint8
    assert regions[90, 72] == regions[90, 128] == EYES
    assert regions[158, 100] == MOUTH
    assert regions[120, 80] == regions[190, 100] == SKIN
    assert regions[20, 100] == regions[235, 100] == regions[100, 10] == REST


def test_areas_are_those_of_the_ellipses_they_were_drawn_from(face_points: np.ndarray) -> None:
    counts = np.bincount(region_map(face_points, width=200, height=240).ravel(), minlength=4)
    twelve, six = 12 / 2 * np.sin(2 * np.pi / 12), 6 / 2 * np.sin(2 * np.pi / 6)
    # OpenCV fills the rim as well: half a pixel more on every side.
    assert counts[MOUTH] == pytest.approx(twelve * 26.5 * 11.5, rel=0.05)
    assert counts[EYES] == pytest.approx(2 * six * 12.5 * 5.5, rel=0.08)


def test_a_symmetric_face_has_a_symmetric_map(face_points: np.ndarray) -> None:
    regions = region_map(face_points, width=201, height=240)
    assert (regions != regions[:, ::-1]).mean() < 0.005


def test_moving_the_face_moves_the_map(face_points: np.ndarray) -> None:
    still = region_map(face_points, width=300, height=300)
    moved = region_map(face_points + np.float32((31, 17)), width=300, height=300)
    assert np.array_equal(moved[17:, 31:], still[:-17, :-31])


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e7, 1e7), st.floats(-1e7, 1e7), st.floats(0, 1e4))
def test_points_anywhere_give_a_map_of_the_asked_size(dx: float, dy: float, scale: float) -> None:
    points = np.random.default_rng(0).normal(0, 1, (68, 2)) * scale + (dx, dy)
    regions = region_map(points.astype(np.float32), width=31, height=17)
    assert regions.shape == (17, 31)
    assert set(np.unique(regions)) <= {REST, SKIN, EYES, MOUTH}


def test_landmarks_that_are_no_numbers_are_refused(face_points: np.ndarray) -> None:
    face_points[3] = np.nan
    with pytest.raises(MediaError):
        region_map(face_points, width=10, height=10)


@pytest.mark.parametrize("box", [(20, 40, 180, 220), (-30, -10, 160, 210), (90, 100, 260, 300)])
@pytest.mark.parametrize("size", [48, 96, 224])
def test_the_crop_shows_what_the_cropped_and_resized_map_shows(
    box: tuple[int, int, int, int], size: int, face_points: np.ndarray
) -> None:
    whole = region_map(face_points, width=200, height=240)
    x1, y1, x2, y2 = max(0, box[0]), max(0, box[1]), min(200, box[2]), min(240, box[3])
    resized = cv2.resize(whole[y1:y2, x1:x2], (size, size), interpolation=cv2.INTER_NEAREST)
    crop = region_crop(face_points, box, width=200, height=240, size=size)
    assert crop.shape == (size, size)
    assert (crop == resized).mean() > 0.95


@pytest.mark.parametrize("box", [None, (300, 0, 400, 100), (50, 50, 50, 90)])
def test_without_a_box_in_the_picture_the_crop_is_all_rest(
    box: tuple[int, int, int, int] | None, face_points: np.ndarray
) -> None:
    crop = region_crop(face_points, box, width=200, height=240, size=32)
    assert crop.shape == (32, 32)
    assert not crop.any()


def test_parse_classes_become_regions() -> None:
    wanted = {
        SKIN: {"skin", "left brow", "right brow", "nose"},
        EYES: {"left eye", "right eye", "glasses"},
        MOUTH: {"inner mouth", "upper lip", "lower lip"},
    }
    regions = regions_from_parse(np.arange(19, dtype=np.uint8).reshape(1, 19))[0]
    for label, names in wanted.items():
        assert {PARSE_CLASSES[i] for i in np.flatnonzero(regions == label)} == names
    assert len(PARSE_CLASSES) == 19


def test_a_parse_with_unknown_classes_is_refused() -> None:
    with pytest.raises(SpecError):
        regions_from_parse(np.array([[19]], np.uint8))


def test_drawing_leaves_the_picture_itself_alone(face_points: np.ndarray) -> None:
    picture = np.full((240, 200, 3), 90, np.uint8)
    regions = region_map(face_points, width=200, height=240)
    face = Face(box=(-10, 30, 170, 300), score=1.5)
    drawn = [
        draw_faces(picture, [face]),
        draw_faces(picture, [face, face], captions=["Happy 0.93"]),
        draw_landmarks(picture, face_points),
        draw_regions(picture, regions),
    ]
    assert (picture == 90).all()
    for result in drawn:
        assert result.shape == picture.shape
        assert result.dtype == np.uint8
        assert 0.002 < (result != 90).any(axis=2).mean() < 0.6
    assert (draw_regions(picture, regions)[regions == REST] == 90).all()


def test_a_region_map_of_another_size_is_refused() -> None:
    with pytest.raises(SpecError):
        draw_regions(np.zeros((10, 10, 3), np.uint8), np.zeros((9, 10), np.uint8))
