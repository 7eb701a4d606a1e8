"""The steady square around the face of a clip."""

from __future__ import annotations

import numpy as np
import pytest
from made_clips import mean_face
from numpy.typing import NDArray

from visage.errors import MediaError
from visage.faces.crop import crop_around


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
