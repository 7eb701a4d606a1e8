"""Following one face through a clip, and the steady square around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from made_clips import mean_face
from numpy.typing import NDArray

from visage.errors import MediaError
from visage.faces.crop import crop_around
from visage.faces.provider import Box, Face, Image
from visage.faces.track import track_face


def _clip(*, x: float, y: float, scale: float, frames: int = 5) -> NDArray[np.float32]:
    face = mean_face()[:, :2] * scale
    drift = np.arange(frames)[:, None, None] * np.array([1.0, 0.0])
    return (face[None] + [x, y] + drift).astype(np.float32)


@pytest.mark.parametrize(("x", "y"), [(160, 110), (60, 60), (290, 150)])
@pytest.mark.parametrize("scale", [30.0, 60.0])
@pytest.mark.parametrize("margin", [0.0, 0.35, 2.0])
def test_the_square_holds_every_point_of_every_frame(
    x: float, y: float, scale: float, margin: float
) -> None:
    points = _clip(x=x, y=y, scale=scale)
    crop = crop_around(points, width=320, height=240, margin=margin, size=128)
    moved = crop.points(points)
    assert moved.min() >= -0.6
    assert moved.max() <= 127.6


def test_a_square_that_fits_stays_inside_the_picture() -> None:
    crop = crop_around(_clip(x=40, y=60, scale=40), width=320, height=240, margin=0.5, size=64)
    assert crop.left >= 0
    assert crop.top >= 0
    assert crop.left + crop.side <= 320
    assert crop.top + crop.side <= 240


@pytest.mark.parametrize("corner", [(-9, -7), (100, 50), (300, 200)])
@pytest.mark.parametrize("size", [40, 80, 200])
def test_points_and_pixels_move_together(corner: tuple[int, int], size: int) -> None:
    from visage.faces.crop import SquareCrop

    crop = SquareCrop(left=corner[0], top=corner[1], side=80, size=size)
    image = np.zeros((240, 320, 3), np.uint8)
    at = np.array([corner[0] + 30, corner[1] + 33])
    if not (0 < at[0] < 316 and 0 < at[1] < 236):
        at = np.array([310, 230])
    image[at[1] - 3 : at[1] + 4, at[0] - 3 : at[0] + 4] = 255
    cut = crop.cut(image)[..., 0].astype(float)
    assert cut.shape == (size, size)
    rows, columns = np.mgrid[:size, :size]
    seen = np.array([(cut * columns).sum(), (cut * rows).sum()]) / cut.sum()
    expected = crop.points(at[None].astype(np.float32))[0]
    np.testing.assert_allclose(seen, expected, atol=0.35)


def test_a_tiny_face_is_refused_with_its_size() -> None:
    with pytest.raises(MediaError, match="spans") as found:
        crop_around(_clip(x=50, y=50, scale=8), width=320, height=240, margin=0.3, size=64)
    assert found.value.code == "face_too_small"


class _Scripted:
    """A provider that sees the faces it is told to, by the number in the picture's first pixel."""

    name = licence = "scripted"

    def __init__(self, seen: Sequence[list[Face]]) -> None:
        self.seen, self.searches = seen, 0

    def detect(self, image: Image) -> list[Face]:
        self.searches += 1
        return self.seen[int(image[0, 0, 0])]

    def landmarks(self, image: Image, box: Box) -> NDArray[np.float32]:
        x1, y1, x2, y2 = box
        spread = np.linspace(0, 1, 68)
        return np.stack([x1 + (x2 - 1 - x1) * spread, y1 + (y2 - 1 - y1) * spread], 1).astype(
            np.float32
        )


def _frames(count: int) -> list[Image]:
    frames = []
    for index in range(count):
        frame = np.zeros((100, 200, 3), np.uint8)
        frame[0, 0, 0] = index
        frames.append(frame)
    return frames


def _face(x: int, size: int = 40) -> Face:
    return Face(box=(x, 20, x + size, 20 + size), score=1.0)


def test_one_face_is_followed_although_another_becomes_surer() -> None:
    seen = [[_face(100), _face(20, 50)]] + [[_face(100, 60), _face(20 + i, 50)] for i in range(7)]
    points = track_face(_frames(8), _Scripted(seen), find_every=1)
    assert points.shape == (8, 68, 2)
    assert (points[..., 0] < 100).all()


def test_searches_are_rare_and_losing_the_face_once_is_no_reason_to_give_up() -> None:
    seen = [[_face(50)]] * 40
    seen[12] = []
    provider = _Scripted(seen)
    assert len(track_face(_frames(40), provider, find_every=3)) == 40
    assert provider.searches == 14


@pytest.mark.parametrize(
    "seen", [[[]] * 6, [[_face(50)], *[[]] * 5], [[_face(50)], *[[_face(150)]] * 5]]
)
def test_a_clip_whose_face_is_not_there_or_lost_is_rejected(seen: list[list[Face]]) -> None:
    with pytest.raises(MediaError) as found:
        track_face(_frames(6), _Scripted(seen), find_every=1)
    assert found.value.code == "no_face"
