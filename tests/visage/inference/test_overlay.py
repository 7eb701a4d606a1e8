"""Promises of the overlay: readable on any picture, and honest about even attention."""

from __future__ import annotations

import numpy as np
import pytest

from visage.inference.emotion import FaceEmotion
from visage.inference.overlay import draw_overlay

EVEN = [[1 / 9] * 3] * 3
PEAK = [[0.0] * 3, [0.0, 0.0, 1.0], [0.0] * 3]


def _face(box=(100, 100, 180, 200), attention=EVEN, area=(40, 20, 360, 280)) -> FaceEmotion:
    return FaceEmotion(
        box=box,
        score=1.0,
        label="Happy",
        probabilities={"Happy": 0.8, "Sad": 0.2},
        branch_weights={"face": 0.6, "context": 0.4},
        attention=attention,
        attention_box=area,
    )


def _grey(height: int = 300, width: int = 400, level: int = 128) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


@pytest.mark.parametrize(
    ("size", "factor"),
    [((300, 400), 1), ((1080, 1920), 1), ((48, 48), 6), ((1, 300), 6), ((255, 900), 2)],
)
def test_only_pictures_too_small_to_read_are_enlarged_and_by_a_whole_factor(size, factor):
    made = draw_overlay(_grey(*size), [_face()])
    assert made.shape == (size[0] * factor, size[1] * factor, 3)
    assert made.dtype == np.uint8


def test_the_given_picture_is_not_drawn_upon():
    image = _grey()
    draw_overlay(image, [_face()])
    assert (image == 128).all()


def test_without_faces_the_picture_stays_as_it_is():
    assert np.array_equal(draw_overlay(_grey(), []), _grey())


@pytest.mark.parametrize("level", [0, 128, 255])
def test_the_box_is_seen_on_black_grey_and_white(level):
    made = draw_overlay(_grey(level=level), [_face()], show_attention=False).astype(int)
    edge, ground = made[150, 95:110], np.full(3, level)
    assert np.abs(edge - ground).max(axis=1).max() >= 100  # against the ground
    assert np.ptp(edge.sum(axis=1)) >= 200  # the two strokes against each other


def _warmth(pixel: np.ndarray) -> int:
    """How much warmer than grey: the colour map runs from black over purple to yellow."""
    return int(pixel[0]) - int(pixel[2])


def test_heat_is_drawn_where_the_attention_is_and_only_inside_what_it_covers():
    plain = draw_overlay(_grey(), [_face(attention=PEAK)], show_attention=False)
    made = draw_overlay(_grey(), [_face(attention=PEAK)])
    outside = np.ones((300, 400), bool)
    outside[20:280, 40:360] = False
    assert np.array_equal(made[outside], plain[outside])
    assert _warmth(made[150, 320]) > 50  # the peak is the middle row's right cell
    assert abs(_warmth(made[260, 60])) < 5
    assert made[260, 60].max() < 100  # no weight: darkened


def test_even_attention_is_an_even_tint_and_the_same_on_every_grid():
    fine = [[1 / 49] * 7] * 7
    made, other = (draw_overlay(_grey(), [_face(attention=grid)]) for grid in (EVEN, fine))
    inside = made[220:270, 50:350].reshape(-1, 3)
    assert (inside == inside[0]).all()
    assert np.array_equal(made, other)
    peak = draw_overlay(_grey(), [_face(attention=PEAK)])[150, 320]
    assert abs(_warmth(inside[0])) < 0.6 * _warmth(peak)


def test_every_box_is_framed_even_where_it_reaches_beyond_the_picture():
    image = _grey()
    made = draw_overlay(image, [_face(box=(-50, -50, 500, 500))], show_attention=False)
    for edge in (made[3:6, 350], made[-6:-3, 350], made[200, 0:4], made[200, -4:]):
        assert (edge != 128).any()


@pytest.mark.parametrize("attention", [[], [[]], [[0.0, 0.0], [0.0, 0.0]]])
def test_a_model_without_context_draws_no_heat(attention):
    face = _face(attention=attention)
    assert np.array_equal(
        draw_overlay(_grey(), [face]), draw_overlay(_grey(), [face], show_attention=False)
    )


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 400, 300),
        (-50, -50, 30, 30),
        (390, 290, 500, 400),
        (399, 0, 400, 1),
        (0, 299, 9, 300),
    ],
)
def test_boxes_at_and_beyond_the_edges_are_drawn_with_their_label_inside(box):
    made = draw_overlay(_grey(), [_face(box=box)], show_attention=False)
    black = (made == 0).all(axis=2)
    assert black.sum() > 300  # the label's ground lies inside the picture


def test_labels_of_crowded_faces_do_not_cover_each_other():
    boxes = [(100, 120, 200, 220), (105, 125, 205, 225), (110, 118, 208, 219)]
    one = draw_overlay(_grey(), [_face(box=boxes[0])], show_attention=False)
    three = draw_overlay(_grey(), [_face(box=box) for box in boxes], show_attention=False)
    ground = [int((made == 0).all(axis=2).sum()) for made in (one, three)]
    assert ground[1] > 2.2 * ground[0]
