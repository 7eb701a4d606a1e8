"""Frames kept for the pictures: whatever is given back is what whole frames would have given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_clips import mean_face

from visage.data.kept_frames import FrameKeeper, KeptFrames
from visage.faces.crop import SquareCrop
from visage.faces.provider import Image, Landmarks

WIDTH, HEIGHT = 200, 120


def _frames(count: int) -> list[Image]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(count)]


def _face(x: float, y: float, scale: float) -> Landmarks:
    return (mean_face()[:, :2] * scale + [x, y]).astype(np.float32)


def _kept(crop: SquareCrop, face: Landmarks, *, known_from: int = 0) -> KeptFrames | None:
    keeper = FrameKeeper(margin=0.35)
    for index, frame in enumerate(_frames(4)):
        keeper.take(frame, face if index >= known_from else None)
    return keeper.kept(crop, 1, 4)


@given(
    st.integers(-60, 180), st.integers(-60, 110), st.integers(10, 150), st.floats(0, 200),
    st.floats(0, 120), st.floats(5, 60), st.integers(0, 2),
)  # fmt: skip
def test_kept_parts_are_cut_as_whole_frames_are_or_not_at_all(
    left: int, top: int, side: int, x: float, y: float, scale: float, known_from: int
) -> None:
    if left + side <= 0 or top + side <= 0:
        return
    crop = SquareCrop(left=left, top=top, side=side, size=32)
    kept = _kept(crop, _face(x, y, scale), known_from=known_from)
    if kept is None:
        return
    assert len(kept) == 3
    for part, frame in zip(kept.cut(crop), _frames(4)[1:], strict=True):
        assert np.array_equal(part, crop.cut(frame))


def test_a_face_that_stays_is_kept_and_one_that_goes_too_far_is_not() -> None:
    face = _face(60, 40, 15)
    near = SquareCrop(left=40, top=30, side=40, size=32)
    assert _kept(near, face) is not None
    assert _kept(SquareCrop(left=130, top=30, side=40, size=32), face) is None


def test_little_is_kept_of_a_large_picture() -> None:
    kept = _kept(SquareCrop(left=40, top=30, side=40, size=32), _face(60, 40, 15))
    assert kept is not None
    assert kept.parts[0].size < WIDTH * HEIGHT * 3 / 2
    assert kept.parts[0].base is None, "a copy, so that the frame can go"


@pytest.mark.parametrize(("frames", "is_kept"), [(3, True), (4, False)])
def test_no_more_is_kept_than_is_allowed(frames: int, is_kept: bool) -> None:
    keeper = FrameKeeper(margin=0.35, most_bytes=3 * WIDTH * HEIGHT * 3)
    for frame in _frames(frames):
        keeper.take(frame, None)
    whole = SquareCrop(left=0, top=0, side=120, size=32)
    assert (keeper.kept(whole, 0, frames) is not None) == is_kept
