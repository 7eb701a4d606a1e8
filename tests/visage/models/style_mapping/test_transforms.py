"""C_k = c_k · R + τ + ε_k: what turns, what shifts, what a reference imposes."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visage.models.style_mapping.transforms import (
    HeadMotion,
    expected_angle,
    expected_position,
    imposed,
    place,
    relative,
    spread,
)

ANGLES = st.tuples(*(st.floats(-90, 90, width=32) for _ in range(3)))


def _motion(
    angles: tuple[float, ...] = (0.0, 0.0, 0.0),
    shift: tuple[float, ...] = (0.0, 0.0, 0.0),
    expression: torch.Tensor | None = None,
    points: int = 6,
) -> HeadMotion:
    return HeadMotion(
        angles_deg=torch.tensor([angles]),
        translation=torch.tensor([shift]),
        expression=torch.zeros(1, points, 3) if expression is None else expression,
    )


def _points(seed: int = 0, count: int = 6) -> torch.Tensor:
    return torch.rand(1, count, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_without_pose_and_expression_keypoints_are_the_canonical_ones() -> None:
    points = _points()
    assert torch.equal(place(points, _motion()), points)


@settings(max_examples=25)
@given(ANGLES)
def test_turning_a_head_keeps_all_distances_between_its_points(angles: tuple[float, ...]) -> None:
    points = _points()
    turned = place(points, _motion(angles, shift=(0.3, -0.2, 0.1)))
    assert torch.allclose(torch.cdist(turned, turned), torch.cdist(points, points), atol=1e-3)


@pytest.mark.parametrize(
    ("angles", "axis", "sign"),
    [((0.0, 20.0, 0.0), 0, 1), ((20.0, 0.0, 0.0), 1, -1), ((0.0, -20.0, 0.0), 0, -1)],
)
def test_the_tip_of_the_nose_goes_where_the_angles_say(
    angles: tuple[float, ...], axis: int, sign: int
) -> None:
    nose = torch.tensor([[[0.0, 0.0, -0.5]]])  # towards the camera
    moved = place(nose, _motion(angles, points=1))[0, 0, axis].item()
    assert moved * sign == pytest.approx(0.5 * np.sin(np.radians(20)), rel=1e-5)


def test_roll_turns_the_picture_clockwise() -> None:
    up = torch.tensor([[[0.0, -1.0, 0.0]]])
    turned = place(up, _motion((0.0, 0.0, 90.0), points=1))[0, 0]
    assert torch.allclose(turned, torch.tensor([1.0, 0.0, 0.0]), atol=1e-6)


def test_translation_moves_all_points_alike_and_expression_each_on_its_own() -> None:
    points, shift = _points(), (0.1, -0.2, 0.3)
    expression = torch.zeros(1, 6, 3)
    expression[0, 2, 1] = 0.5
    moved = place(points, _motion(shift=shift, expression=expression)) - points
    assert torch.allclose(moved - expression, torch.tensor(shift).expand(1, 6, 3), atol=1e-6)


@pytest.mark.parametrize("bin_index", [0, 17, 33, 65])
def test_an_angle_with_all_its_weight_in_one_bin_is_that_bins_angle(bin_index: int) -> None:
    logits = torch.full((66,), -1e4)
    logits[bin_index] = 0.0
    assert expected_angle(logits).item() == pytest.approx(3 * bin_index - 99, abs=1e-4)


def test_an_undecided_angle_lies_in_the_middle_of_all_bins() -> None:
    assert expected_angle(torch.zeros(2, 3, 66)).numpy() == pytest.approx(-1.5, abs=1e-4)


def test_the_mean_of_a_peak_is_its_voxel_and_of_an_even_map_the_middle() -> None:
    logits = torch.zeros(1, 2, 3, 5, 9)
    logits[0, 1, 2, 1, 6] = 100.0
    even, peak = expected_position(logits, temperature=0.1)[0]
    assert torch.allclose(even, torch.zeros(3), atol=1e-6)
    assert torch.allclose(peak, torch.tensor([0.5, -0.5, 1.0]), atol=1e-5)


def test_half_precision_around_them_does_not_coarsen_positions_and_angles() -> None:
    logits = torch.randn(2, 4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    angles = logits.flatten(2)[..., :66]
    points, motion = _points(), _motion((10.0, -20.0, 5.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(
            expected_position(logits, temperature=0.1),
            expected_position(logits.clone(), temperature=0.1),
        )
        inside = (expected_angle(angles), place(points, motion))
    assert torch.equal(inside[0], expected_angle(angles))
    assert torch.equal(inside[1], place(points, motion))


PARTS = ("rotation", "translation", "expression")


@pytest.mark.parametrize(
    "parts", [c for n in (1, 2, 3) for c in itertools.combinations(PARTS, n)], ids="+".join
)
def test_a_reference_imposes_the_chosen_parts_and_no_other(parts: tuple[str, ...]) -> None:
    ours, theirs = _motion(), _motion((1.0, 2.0, 3.0), (1.0, 1.0, 1.0), torch.ones(1, 6, 3))
    mixed = imposed(ours, theirs, parts)  # type: ignore[arg-type]
    for name, mine, own, other in zip(PARTS, mixed, ours, theirs, strict=True):
        assert mine is (other if name in parts else own)


def test_a_driver_at_rest_leaves_the_source_where_it_is() -> None:
    source, driver = _points(0), _points(1)
    assert torch.equal(relative(source, driver, driver), source)


def test_relative_motion_does_not_depend_on_the_drivers_size_or_place() -> None:
    source, first, later = _points(0), _points(1), _points(2)
    moved = relative(source, later, first)
    shift = torch.tensor([0.4, -0.1, 0.2])
    assert torch.allclose(relative(source, 3 * later + shift, 3 * first + shift), moved, atol=1e-5)


@settings(max_examples=25)
@given(st.integers(0, 50))
def test_ratios_of_spread_are_ratios_of_convex_hulls_under_affine_maps(seed: int) -> None:
    points = _points(seed, count=15)
    matrix = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed))
    matrix[:2, 2] = matrix[2, :2] = 0
    mapped = points @ matrix.T

    def hull(of: torch.Tensor) -> float:
        flat = np.ascontiguousarray(of[0, :, :2].numpy())
        return float(cv2.contourArea(cv2.convexHull(flat)))

    ratio = (spread(mapped) / spread(points)).item()
    assert ratio == pytest.approx(hull(mapped) / hull(points), rel=1e-3, abs=1e-5)
