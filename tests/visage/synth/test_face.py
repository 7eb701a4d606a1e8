"""The drawn face and its truth: exact, turnable, and a face to a detector as well."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visage.errors import SpecError
from visage.specs.emotion import EMOTIONS
from visage.synth.expression import Expression, emotion_expression
from visage.synth.face import Person, draw_person, person_landmarks, render_portrait, tight_box
from visage.synth.geometry import features_of
from visage.synth.identity import draw_identity
from visage.synth.paint import Canvas
from visage.synth.relief import Pose, heights, project, unproject

_ANGLES = st.floats(-22, 22)


def _points(**changes: object) -> np.ndarray:
    person = Person(identity=draw_identity(1), x=100.0, y=90.0, face_width=100.0, **changes)  # type: ignore[arg-type]
    return person_landmarks(person)


@settings(max_examples=25, deadline=None)
@given(_ANGLES, st.floats(-12, 12), st.floats(-15, 15))
def test_the_picture_is_turned_by_the_same_map_as_the_truth(
    yaw: float, pitch: float, roll: float
) -> None:
    features = features_of(draw_identity(2), Expression())
    pose = Pose(yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll)
    grid = Canvas(left=-1.9, top=-2.2, right=1.9, bottom=2.7, scale=60)
    whole = (slice(0, grid.height), slice(0, grid.width))
    field = heights(*grid.grid(whole), features)
    column, row = np.meshgrid(np.linspace(-0.75, 0.75, 16), np.linspace(-0.6, 1.2, 16))
    flat = np.stack([column.ravel(), row.ravel()], 1).astype(np.float32)
    turned = project(flat, heights(flat[:, 0], flat[:, 1], features), pose)
    x, y = unproject(
        turned[:, 0].reshape(16, 16), turned[:, 1].reshape(16, 16), field, grid=grid, pose=pose
    )
    error = np.hypot(x.ravel() - flat[:, 0], y.ravel() - flat[:, 1])
    # Half a pixel of a face 100 wide; the rest is the flank of the nose that the nose itself hides.
    assert np.quantile(error, 0.95) < 0.01


def test_the_same_person_looks_the_same_twice_and_another_does_not() -> None:
    first = render_portrait(draw_identity(3), emotion_expression("Happy"), size=96)
    again = render_portrait(draw_identity(3), emotion_expression("Happy"), size=96)
    other = render_portrait(draw_identity(4), emotion_expression("Happy"), size=96)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.landmarks, again.landmarks)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_the_68_points_are_in_the_order_of_300w(emotion: str) -> None:
    points = _points(expression=emotion_expression(emotion))
    assert points.shape == (68, 2)
    assert points.dtype == np.float32
    x, y = points[:, 0], points[:, 1]
    assert np.all(np.diff(x[:17]) > 0)
    assert y[:17].argmax() == 8
    assert np.all(np.diff(x[17:27]) > 0)
    assert np.all(np.diff(y[27:31]) > 0)
    assert x[36] < x[39] < x[42] < x[45]
    assert y[37] < y[41]
    assert y[43] < y[47]
    assert x[48] < x[54]
    assert y[51] < y[57]
    assert x[60] > x[48]
    assert y[8] > y[57] > y[33] > y[27] > y[19]


def test_pupils_are_painted_where_the_truth_says_the_eyes_are() -> None:
    portrait = render_portrait(draw_identity(9), Expression(), size=320)
    grey = portrait.image.mean(axis=2)
    for first in (36, 42):
        middle = portrait.landmarks[first : first + 6].mean(axis=0)
        x, y = (round(float(value)) for value in middle)
        pupil, cheek = grey[y - 2 : y + 3, x - 2 : x + 3].min(), grey[y + 25, x]
        assert pupil < 60 < cheek


def test_an_open_mouth_shows_in_the_truth_in_proportion() -> None:
    gaps = [
        _points(expression=Expression(mouth_open=opening))[66, 1]
        - _points(expression=Expression(mouth_open=opening))[62, 1]
        for opening in (0.0, 0.3, 0.6, 1.0)
    ]
    assert np.all(np.diff(gaps) > 5)
    assert gaps[0] == pytest.approx(0, abs=0.5)


def test_poses_move_the_points_as_their_signs_say() -> None:
    rest = _points()
    right = _points(pose=Pose(yaw_deg=15))
    down = _points(pose=Pose(pitch_deg=10))
    leaning = _points(pose=Pose(roll_deg=10))
    eyes = leaning[45] - leaning[36]
    assert right[30, 0] - right[[0, 16], 0].mean() > rest[30, 0] - rest[[0, 16], 0].mean() + 5
    assert down[30, 1] - down[27, 1] > 0
    assert down[30, 1] > rest[30, 1] + 3
    assert np.degrees(np.arctan2(eyes[1], eyes[0])) == pytest.approx(10, abs=1)


def test_the_box_holds_every_point() -> None:
    points = _points(expression=emotion_expression("Surprise"), pose=Pose(yaw_deg=12))
    x1, y1, x2, y2 = tight_box(points)
    assert points[:, 0].min() >= x1
    assert points[:, 1].min() >= y1
    assert points[:, 0].max() < x2
    assert points[:, 1].max() < y2


@pytest.mark.parametrize(("x", "y"), [(-30.0, 20.0), (5.0, 95.0), (119.0, -10.0), (400.0, 400.0)])
def test_a_person_may_stand_half_or_wholly_outside(x: float, y: float) -> None:
    image = np.full((100, 120, 3), 90, np.uint8)
    points = draw_person(
        image, Person(identity=draw_identity(5), x=x, y=y, face_width=60.0, lean=0.2)
    )
    assert np.isfinite(points).all()


def test_sizes_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(SpecError, match="64 to 2048"):
        render_portrait(draw_identity(0), Expression(), size=10)
    with pytest.raises(SpecError, match="16 to 1024"):
        draw_person(
            np.zeros((9, 9, 3), np.uint8),
            Person(identity=draw_identity(0), x=4.0, y=4.0, face_width=3.0),
        )


def test_a_common_face_detector_finds_the_faces() -> None:
    dlib = pytest.importorskip("dlib")
    detector = dlib.get_frontal_face_detector()
    found = 0
    for index, emotion in enumerate(EMOTIONS):
        portrait = render_portrait(
            draw_identity(20 + index),
            emotion_expression(emotion),
            size=200,
            pose=Pose(yaw_deg=3.0 * index - 9.0, roll_deg=index - 3.0),
        )
        x, y = portrait.landmarks[30]
        hits = detector(portrait.image, 1)
        found += any(h.left() < x < h.right() and h.top() < y < h.bottom() for h in hits)
    assert found >= 6
