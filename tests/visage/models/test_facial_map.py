"""Promises of the batched facial map: OpenCV's lines to the pixel, or smooth ones to learn by."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from moving_faces import face
from numpy.typing import NDArray
from torch import Tensor

from visage.errors import SpecError
from visage.faces.facial_map import facial_map
from visage.landmarks import INNER_LIP, POINTS, TORSO_POINTS
from visage.models.facial_map import draw_facial_map
from visage.seeds import rng_of
from visage.specs.generator import FacialMapSpec

Points = NDArray[np.float32]


def _faces(count: int, size: int, *, spread: float = 0.7, seed: int = 0) -> Points:
    """Scattered points: harder to draw than a face, for strokes go everywhere."""
    rng = rng_of("faces", seed, size)
    low, high = size * (1 - spread) / 2, size * (1 + spread) / 2
    return rng.uniform(low, high, (count, POINTS, 2)).astype(np.float32)


def _reference(points: Points, size: int, **options: object) -> NDArray[np.float64]:
    return np.stack([facial_map(one, size=size, **options) for one in points]) / 255  # type: ignore[arg-type]


def _drawn(points: Points, size: int, **options: object) -> NDArray[np.float32]:
    drawn: Tensor = draw_facial_map(torch.from_numpy(points), size=size, **options)  # type: ignore[arg-type]
    assert drawn.shape == (len(points), 1, size, size)
    assert drawn.dtype == torch.float32
    return drawn[:, 0].numpy()


def _grown(on: NDArray[np.bool_]) -> NDArray[np.bool_]:
    kernel = np.ones((3, 3), np.uint8)
    return np.stack([cv2.dilate(one.astype(np.uint8), kernel) > 0 for one in on])


@pytest.mark.parametrize("size", [32, 64, 96, 200])
@pytest.mark.parametrize("seed", range(3))
def test_hard_lines_equal_those_of_opencv_pixel_for_pixel(size: int, seed: int) -> None:
    points = _faces(6, size, seed=seed)
    assert (_drawn(points, size) == _reference(points, size)).all()


def test_every_direction_of_a_stroke_is_equal() -> None:
    """All strokes from one middle to every whole place around it."""
    size, middle = 64, (31, 33)
    places = [(x, y) for x in range(3, 61, 3) for y in range(3, 61, 4)]
    for start in range(0, len(places), 34):
        points = np.full((1, POINTS, 2), middle, np.float32)
        for number, place in enumerate(places[start : start + 34]):
            points[0, 2 * number] = place
        assert (_drawn(points, size) == _reference(points, size)).all()


def test_lines_that_leave_the_picture_are_equal_too() -> None:
    points = _faces(8, 64, spread=1.4)
    assert (_drawn(points, 64) == _reference(points, 64)).all()


def test_lines_from_far_outside_agree_within_a_pixel() -> None:
    size, inner = 64, (slice(None), slice(1, -1), slice(1, -1))
    points = _faces(8, size, spread=2.5)
    ours, theirs = _drawn(points, size) > 0, _reference(points, size) > 0
    assert not (ours & ~_grown(theirs))[inner].any()
    assert not (theirs & ~_grown(ours))[inner].any()
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.95


@pytest.mark.parametrize("size", [64, 160])
def test_smooth_lines_agree_with_those_of_opencv(size: int) -> None:
    """The same support within a pixel, IoU of what is brighter than half, and little difference."""
    points = _faces(4, size)
    ours, theirs = _drawn(points, size, antialias=True), _reference(points, size, antialias=True)
    assert not ((ours > 0) & ~_grown(theirs > 0)).any()
    assert not ((theirs > 0.1) & ~_grown(ours > 0)).any()
    bright, reference = ours > 0.5, theirs > 0.5
    assert (bright & reference).sum() / (bright | reference).sum() > 0.9
    assert np.abs(ours - theirs).sum() / theirs.sum() < 0.1


def test_a_batch_is_its_faces_one_by_one() -> None:
    points = torch.from_numpy(_faces(3, 48))
    for antialias in (False, True):
        whole = draw_facial_map(points, size=48, antialias=antialias)
        for index in range(3):
            one = draw_facial_map(points[index : index + 1], size=48, antialias=antialias)
            assert torch.equal(whole[index : index + 1], one)


@pytest.mark.parametrize("size", [24, 64, 96])
@pytest.mark.parametrize("thickness_px", [1.0, 2.5])
def test_smooth_lines_are_the_same_where_only_their_surroundings_are_looked_at(
    size: int, thickness_px: float
) -> None:
    rng = rng_of("near", size)
    spread = np.array([0.1, 1.0, 3.0, 40.0], np.float32)[:, None, None]
    offset = rng.normal(0, 1, (4, POINTS, 2)).astype(np.float32)
    points = torch.from_numpy(size * (0.5 + spread * offset))
    near = draw_facial_map(points, size=size, thickness_px=thickness_px, antialias=True)
    wanted = points.clone().requires_grad_()
    everywhere = draw_facial_map(wanted, size=size, thickness_px=thickness_px, antialias=True)
    assert torch.equal(near, everywhere.detach())


def test_gradients_of_smooth_lines_move_a_point_towards_its_target() -> None:
    size = 32
    target_at = torch.from_numpy(_faces(1, size))
    points = (target_at + torch.tensor([0.6, -0.4])).requires_grad_()
    target = draw_facial_map(target_at, size=size, antialias=True)
    (draw_facial_map(points, size=size, antialias=True) - target).square().sum().backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()
    moved = (points - 0.01 * points.grad).detach()
    assert (moved - target_at).norm() < (points - target_at).norm()


@pytest.mark.parametrize("antialias", [False, True])
def test_unknown_torso_points_are_left_out(antialias: bool) -> None:
    size = 64
    points, torso = _faces(2, size), _faces(2, size, seed=7)[:, :TORSO_POINTS]
    torso[0] = np.nan
    torso[1, 4] = np.nan
    drawn = draw_facial_map(
        torch.from_numpy(points), size=size, torso=torch.from_numpy(torso), antialias=antialias
    )[:, 0].numpy()
    assert np.isfinite(drawn).all()
    assert (drawn[0] == _drawn(points, size, antialias=antialias)[0]).all()
    assert drawn[1].sum() > _drawn(points, size, antialias=antialias)[1].sum()
    if not antialias:
        expected = [facial_map(a, size=size, torso=b) for a, b in zip(points, torso, strict=True)]
        assert (drawn == np.stack(expected) / 255).all()


@pytest.mark.parametrize("antialias", [False, True])
def test_points_that_are_no_numbers_or_far_away_do_no_harm(antialias: bool) -> None:
    points = torch.from_numpy(_faces(1, 32))
    points[0, 0], points[0, 5], points[0, 60] = torch.nan, torch.inf, -1e30
    drawn = draw_facial_map(points, size=32, antialias=antialias)
    assert drawn.isfinite().all()
    assert 0 <= drawn.min() < drawn.max() <= 1


def test_shapes_that_are_no_faces_and_hard_thin_lines_are_refused() -> None:
    with pytest.raises(SpecError, match="68"):
        draw_facial_map(torch.zeros(1, 67, 2), size=32)
    with pytest.raises(SpecError, match="18"):
        draw_facial_map(torch.zeros(2, 68, 2), size=32, torso=torch.zeros(1, 18, 2))
    with pytest.raises(SpecError, match="antialias"):
        draw_facial_map(torch.zeros(1, 68, 2), size=32, thickness_px=1)


def _polygon_share(corners: np.ndarray, size: int, finer: int = 16) -> np.ndarray:
    """How much of each pixel a polygon covers, by counting many small ones."""
    canvas = np.zeros((size * finer, size * finer), np.uint8)
    there = (corners + 0.5) * finer - 0.5
    cv2.fillPoly(canvas, [np.round(there * 16).astype(np.int32)], 1, shift=4)
    return canvas.reshape(size, finer, size, finer).mean(axis=(1, 3))


@pytest.mark.parametrize("opening", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("shift", [0.0, 0.37])
def test_an_opening_is_as_bright_as_it_is_filled(opening: float, shift: float) -> None:
    points = (face(opening=opening) * 40 + 48 + shift).astype(np.float32)
    batch = torch.from_numpy(points)[None]
    plain = draw_facial_map(batch, size=96, antialias=True, thickness_px=1)[0, 0].numpy()
    filled = draw_facial_map(
        batch, size=96, antialias=True, thickness_px=1, mouth_fill=0.5
    )[0, 0].numpy()  # fmt: skip
    share = _polygon_share(points[INNER_LIP], 96)
    wanted = np.maximum(plain, 0.5 * share)
    assert np.abs(filled - wanted).max() < 0.26  # at the edge, half of which the line covers
    assert np.abs(filled - wanted).mean() < 0.002
    assert (filled >= plain).all()
    assert (filled == plain)[share == 0].mean() > 0.99


def test_what_is_filled_grows_with_the_mouth_and_gradients_reach_its_points() -> None:
    sums = []
    for opening in (0.0, 0.05, 0.1, 0.2, 0.4):
        points = torch.from_numpy(face(opening=opening) * 40 + 48).float()[None]
        maps = [
            draw_facial_map(points, size=96, antialias=True, thickness_px=1, mouth_fill=fill)
            for fill in (0.6, 0.0)
        ]
        sums.append(float((maps[0] - maps[1]).sum()))
    assert sums == sorted(sums)
    assert sums[0] < 0.05 * sums[-1]
    points = torch.from_numpy(face(opening=0.2) * 40 + 48).float()[None].requires_grad_()
    drawn = draw_facial_map(points, size=96, antialias=True, thickness_px=1, mouth_fill=0.6)
    drawn.sum().backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()
    assert (points.grad[0, INNER_LIP].abs().sum(1) > 0).all()


def test_hard_lines_are_not_filled() -> None:
    with pytest.raises(SpecError, match="mouth_fill needs antialias"):
        FacialMapSpec.parse({"mouth_fill": 0.5})
