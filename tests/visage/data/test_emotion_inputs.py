"""Promises of the one path from a picture to what the emotion model reads."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visage.data.emotion_inputs import (
    NO_BOX,
    EmotionInputs,
    augment,
    box_in_context,
    centre_crop,
    centre_region,
    context_picture,
    evaluation_views,
    face_crop,
    hide_face,
    random_crop,
    region_in_source,
    training_views,
)
from visage.errors import MediaError
from visage.seeds import rng_of
from visage.specs.emotion import EmotionInputSpec, EmotionModelSpec

SPEC = EmotionModelSpec()
MODES = ("none", "official", "modern")


def _picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), np.uint8)


def _inputs(box=(30, 20, 60, 70)) -> EmotionInputs:
    return EmotionInputs(face=_picture(96, 96, 1), context=_picture(128, 171, 2), box=box)


def test_the_face_crop_is_the_boxs_own_pixels_when_no_stretching_is_needed():
    image = _picture(100, 120)
    assert np.array_equal(face_crop(image, (10, 20, 42, 52), 32), image[20:52, 10:42])


def test_a_box_reaching_beyond_the_picture_is_clipped_before_it_is_stretched():
    image = _picture(100, 120)
    assert np.array_equal(
        face_crop(image, (-30, -5, 40, 50), 48), face_crop(image, (0, 0, 40, 50), 48)
    )


@pytest.mark.parametrize("box", [None, NO_BOX, (200, 0, 250, 50), (5, 5, 5, 9)])
def test_without_a_face_the_face_picture_is_black_and_nothing_is_hidden(box):
    made = EmotionInputs.of(_picture(100, 120), box, SPEC.input)
    assert not made.face.any()
    assert made.box == NO_BOX
    _, view = evaluation_views(made, SPEC)
    assert np.array_equal(view, centre_crop(made.context, 112))


def test_stretching_is_bilinear_at_half_pixel_centres_without_antialiasing():
    ramp = np.repeat(np.arange(0, 240, 10, dtype=np.uint8)[None, :, None], 3, axis=2)
    ramp = np.repeat(ramp, 24, axis=0)  # (24, 24, 3), column x holds 10 x
    small = context_picture(ramp, height=24, width=6)
    # a fourfold shrink reads between columns 1 and 2, 5 and 6, …; antialiasing would widen that
    assert small[0, :, 0].tolist() == [15, 55, 95, 135, 175, 215]
    spike = np.zeros((4, 4, 3), np.uint8)
    spike[:, 0] = 200
    assert not context_picture(spike, height=4, width=1).any()


def test_the_evaluation_crop_of_the_published_size_is_rows_8_to_120_and_columns_29_to_141():
    context = _picture(128, 171)
    assert centre_region(128, 171, 112) == (29, 8, 141, 120)
    assert np.array_equal(centre_crop(context, 112), context[8:120, 29:141])


boxes = st.tuples(
    st.integers(-50, 400), st.integers(-50, 400), st.integers(1, 300), st.integers(1, 300)
).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


@given(
    boxes, st.integers(20, 500), st.integers(20, 500), st.integers(16, 200), st.integers(16, 200)
)
def test_the_box_in_the_context_covers_every_pixel_of_the_face(box, width, height, w, h):
    size = {"source_width": width, "source_height": height, "height": h, "width": w}
    x1, y1, x2, y2 = found = box_in_context(box, **size)
    if found == NO_BOX:
        assert box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0
        return
    assert 0 <= x1 < x2 <= w
    assert 0 <= y1 < y2 <= h
    assert x1 <= max(0, box[0]) * w / width
    assert min(width, box[2]) * w / width <= x2
    assert x2 - x1 < (min(width, box[2]) - max(0, box[0])) * w / width + 2 + w / width
    back = region_in_source(found, **size)
    assert back[0] <= max(0, box[0]) + 0.5
    assert back[2] >= min(width, box[2]) - 0.5


@given(
    boxes,
    st.integers(20, 400),
    st.integers(20, 400),
    st.sampled_from([(128, 171), (64, 64), (256, 342)]),
)
def test_no_pixel_of_the_face_bleeds_into_the_hidden_context(box, width, height, size):
    spec = EmotionModelSpec.parse(
        {"input": {"context_height": size[0], "context_width": size[1], "context_crop": 48}}
    )
    image = np.zeros((height, width, 3), np.uint8)
    other = image.copy()
    other[max(0, box[1]) : max(0, box[3]), max(0, box[0]) : max(0, box[2])] = 255
    views = [
        hide_face(made.context, made.box, "black")
        for made in (EmotionInputs.of(picture, box, spec.input) for picture in (image, other))
    ]
    assert np.array_equal(*views)


@pytest.mark.parametrize("mode", ["black", "mean", "noise"])
def test_hiding_leaves_nothing_of_the_face_and_touches_nothing_else(mode):
    context, box = _picture(128, 171), (30, 20, 60, 70)
    other = context.copy()
    other[20:70, 30:60] = 255 - other[20:70, 30:60]
    hidden = hide_face(context, box, mode, rng_of(1))
    assert np.array_equal(hidden, hide_face(other, box, mode, rng_of(1)))
    outside = np.ones((128, 171), bool)
    outside[20:70, 30:60] = False
    assert np.array_equal(hidden[outside], context[outside])


def test_hiding_by_mean_paints_the_mean_colour_of_the_rest():
    context = np.full((40, 50, 3), (10, 20, 30), np.uint8)
    context[5:15, 5:15] = 255
    assert (hide_face(context, (5, 5, 15, 15), "mean") == (10, 20, 30)).all()


def test_hiding_a_face_that_fills_the_picture_leaves_black_and_does_not_divide_by_zero():
    assert not hide_face(_picture(20, 20), (0, 0, 20, 20), "mean").any()


def test_a_full_context_keeps_the_face():
    inputs = _inputs()
    _, view = evaluation_views(inputs, EmotionModelSpec(inputs="F+fC"))
    assert np.array_equal(view, centre_crop(inputs.context, 112))


@pytest.mark.parametrize("mask", ["black", "mean", "noise"])
def test_evaluation_has_no_chance_in_it_and_does_not_change_its_inputs(mask):
    inputs, spec = _inputs(), EmotionModelSpec(mask=mask)
    before = inputs.context.copy()
    first, second = evaluation_views(inputs, spec), evaluation_views(inputs, spec)
    assert np.array_equal(first[1], second[1])
    assert np.array_equal(inputs.context, before)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("mask", ["black", "mean", "noise"])
def test_training_views_are_a_function_of_the_seed_and_leave_the_stored_pixels_alone(mode, mask):
    inputs, spec = _inputs(), EmotionModelSpec(mask=mask)
    stored = inputs.face.copy(), inputs.context.copy()

    def views(seed: int) -> tuple[np.ndarray, np.ndarray]:
        return training_views(inputs, spec, augmentation=mode, rng=rng_of(seed), erasing=0.5)

    for seed in range(8):
        face, context = views(seed)
        again = views(seed)
        assert face.shape == (96, 96, 3)
        assert context.shape == (112, 112, 3)
        assert face.dtype == context.dtype == np.uint8
        assert np.array_equal(face, again[0])
        assert np.array_equal(context, again[1])
    assert not np.array_equal(views(0)[1], views(1)[1])
    assert np.array_equal(inputs.face, stored[0])
    assert np.array_equal(inputs.context, stored[1])


def test_official_augmentation_never_touches_the_context():
    inputs = _inputs()
    for seed in range(10):
        _, context, box = augment(
            inputs.face, inputs.context, inputs.box, mode="official", rng=rng_of(seed)
        )
        assert context is inputs.context
        assert box == inputs.box


@pytest.mark.parametrize("mode", ["official", "modern"])
def test_about_half_of_the_faces_are_mirrored(mode):
    halves = np.zeros((96, 96, 3), np.uint8)
    halves[:, :48] = 200
    mirrored = 0
    for seed in range(200):
        face, _, _ = augment(
            halves, _inputs().context, (30, 20, 60, 70), mode=mode, rng=rng_of(seed)
        )
        mirrored += face[48, 70].mean() > face[48, 20].mean()
    assert 70 <= mirrored <= 130


def test_modern_augmentation_mirrors_face_context_and_box_together():
    context = np.zeros((128, 171, 3), np.uint8)
    context[20:70, 30:60] = 120  # the face is the only bright thing in the picture
    face = np.zeros((96, 96, 3), np.uint8)
    face[:, :40] = 200
    sides = set()
    for seed in range(30):
        made, around, (x1, y1, x2, y2) = augment(
            face, context, (30, 20, 60, 70), mode="modern", rng=rng_of(seed)
        )
        inside, total = around[y1:y2, x1:x2], int(around[0, 0, 0])
        assert (inside > total).all()
        assert (np.delete(around, slice(x1, x2), axis=1) == total).all()
        is_mirrored = made[48, 80].mean() > made[48, 10].mean()
        assert (x1 == 171 - 60) == is_mirrored
        sides.add(bool(is_mirrored))
    assert sides == {True, False}


@given(st.integers(0, 10_000))
def test_the_face_stays_hidden_however_the_sample_is_augmented(seed):
    context = np.zeros((128, 171, 3), np.uint8)
    context[20:70, 30:60] = 255
    inputs = EmotionInputs(face=_picture(96, 96), context=context, box=(30, 20, 60, 70))
    _, view = training_views(inputs, SPEC, augmentation="modern", rng=rng_of(seed))
    assert view.max() < 255  # brightness may lift the dark rest, the white face must be gone
    assert len(np.unique(view)) <= 2


def test_no_face_stays_no_face_under_every_augmentation():
    inputs = EmotionInputs(
        face=np.zeros((96, 96, 3), np.uint8), context=_picture(128, 171), box=NO_BOX
    )
    for mode in MODES:
        for seed in range(5):
            face, _, box = augment(
                inputs.face, inputs.context, NO_BOX, mode=mode, rng=rng_of(seed), erasing=1.0
            )
            assert not face.any()
            assert box == NO_BOX


def test_erasing_overwrites_a_bounded_part_of_the_face():
    grey = np.full((96, 96, 3), 128, np.uint8)
    shares = []
    for seed in range(60):
        face, _, _ = augment(
            grey, _inputs().context, (1, 1, 9, 9), mode="modern", rng=rng_of(seed), erasing=1.0
        )
        plain = np.bincount(face[..., 0].ravel()).argmax()
        shares.append(float((face[..., 0] != plain).mean()))
    assert 0.015 < min(shares) < max(shares) < 0.21


def test_random_crops_reach_every_corner_and_never_leave_the_picture():
    context = np.zeros((20, 22, 3), np.uint8)
    context[..., 0], context[..., 1] = np.indices((20, 22))
    corners = {tuple(random_crop(context, 18, rng_of(seed))[0, 0, :2]) for seed in range(300)}
    assert corners == {(row, column) for row in range(3) for column in range(5)}


def test_prepared_and_served_pixels_are_the_same():
    image = _picture(300, 410)
    stored = EmotionInputs.of(image, (50, 60, 150, 170), SPEC.input)
    served = EmotionInputs.of(image.copy(), (50, 60, 150, 170), SPEC.input)
    for left, right in zip(
        evaluation_views(stored, SPEC), evaluation_views(served, SPEC), strict=True
    ):
        assert left.tobytes() == right.tobytes()


@pytest.mark.parametrize(
    ("picture", "code"),
    [
        (np.zeros((0, 5, 3), np.uint8), "empty"),
        (np.zeros((5, 5), np.uint8), "unsupported_format"),
        (np.zeros((5, 5, 4), np.uint8), "unsupported_format"),
        (np.zeros((5, 5, 3), np.float32), "unsupported_format"),
    ],
)
def test_what_is_no_rgb_picture_of_bytes_is_refused(picture, code):
    with pytest.raises(MediaError) as caught:
        EmotionInputs.of(picture, None, EmotionInputSpec())
    assert caught.value.code == code


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 3)])
def test_pictures_of_odd_sizes_give_inputs_of_the_right_size(size):
    made = EmotionInputs.of(_picture(*size), (0, 0, 1, 1), SPEC.input)
    assert made.face.shape == (96, 96, 3)
    assert made.context.shape == (128, 171, 3)


def test_a_training_sample_costs_less_than_a_millisecond():
    inputs = _inputs()
    best_s = float("inf")
    for seed in range(30):
        start = time.perf_counter()
        training_views(inputs, SPEC, augmentation="modern", rng=rng_of(seed), erasing=0.5)
        best_s = min(best_s, time.perf_counter() - start)
    assert best_s < 1e-3
