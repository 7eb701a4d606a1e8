"""Promises of L_mg: zero at the truth, its parts add up, each has its published scale."""

from __future__ import annotations

import math

import pytest
import torch

from visage.landmarks import SEGMENTS
from visage.models.motion.head_pose import Gaussian, with_velocity
from visage.models.motion.losses import (
    MotionPrediction,
    MotionWeights,
    landmark_loss,
    laplacian,
    laplacian_loss,
    motion_loss,
    velocity_loss,
)


def _case(seed: int = 0) -> tuple[MotionPrediction, torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    displacement = torch.randn(2, 12, 68, 3, generator=draws) * 0.1
    sway = torch.randn(2, 12, 6, generator=draws)
    pose = Gaussian(torch.randn(2, 9, 12, generator=draws), torch.zeros(2, 9, 12))
    return MotionPrediction(torch.randn(2, 7, 68, 3, generator=draws), pose), displacement, sway


def test_an_error_of_a_tenth_everywhere_costs_ten():
    true = torch.randn(2, 5, 68, 3)
    assert landmark_loss(true + 0.1, true).item() == pytest.approx(10.0, rel=1e-4)


def test_at_the_truth_only_the_entropy_of_the_pose_is_left():
    _, displacement, sway = _case()
    exact = MotionPrediction(
        displacement[:, :7], Gaussian(with_velocity(sway)[:, :9], torch.zeros(2, 9, 12))
    )
    loss = motion_loss(exact, displacement=displacement, sway=sway,
                       weights=MotionWeights(1.0, 1.0, 1.0))  # fmt: skip
    assert loss.landmarks.item() == loss.velocity.item() == loss.laplacian.item() == 0
    assert loss.pose.item() == pytest.approx(6 * math.log(2 * math.pi), rel=1e-5)


def test_the_total_is_the_weighted_sum_of_its_parts_and_faithful_without_lambdas():
    prediction, displacement, sway = _case()
    plain = motion_loss(prediction, displacement=displacement, sway=sway)
    assert plain.total.item() == pytest.approx((plain.landmarks + plain.pose).item())
    weights = MotionWeights(0.5, 2.0, 3.0)
    loss = motion_loss(prediction, displacement=displacement, sway=sway, weights=weights)
    expected = loss.landmarks + 0.5 * loss.pose + 2 * loss.velocity + 3 * loss.laplacian
    assert loss.total.item() == pytest.approx(expected.item())


def test_row_t_is_compared_with_frame_t_and_the_rest_of_the_truth_is_left_out():
    prediction, displacement, sway = _case()
    changed, swayed = displacement.clone(), sway.clone()
    changed[:, 7:] += 9
    swayed[:, 9:] += 9
    before = motion_loss(prediction, displacement=displacement, sway=sway)
    after = motion_loss(prediction, displacement=changed, sway=swayed)
    assert before.total.item() == after.total.item()


def test_a_constant_error_has_no_velocity_error_and_a_single_frame_none_at_all():
    true = torch.randn(1, 6, 68, 3)
    assert velocity_loss(true + 0.3, true).item() == pytest.approx(0.0, abs=1e-6)
    assert velocity_loss(true[:, :1] + 0.3, true[:, :1]).item() == 0


def test_the_laplacian_is_blind_to_a_shift_and_sees_a_single_point_among_its_neighbours():
    points = torch.randn(2, 68, 3)
    torch.testing.assert_close(laplacian(points + 7.0), laplacian(points), atol=1e-4, rtol=0)
    moved = points.clone()
    moved[:, 62] += 1.0
    touched = (laplacian(moved) - laplacian(points)).abs().sum(dim=(0, 2)) > 1e-6
    neighbours = {62}
    for one, other in SEGMENTS.tolist():
        neighbours |= {one, other} if 62 in (one, other) else set()
    assert set(torch.nonzero(touched)[:, 0].tolist()) == neighbours == {61, 62, 63}
    assert laplacian_loss(moved, points).item() > 0


def test_half_precision_predictions_are_judged_in_full_precision():
    prediction, displacement, sway = _case()
    half = MotionPrediction(
        prediction.displacement.half() * 100,  # their squares overflow fp16
        Gaussian(*(one.half() for one in prediction.pose)),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = motion_loss(half, displacement=displacement, sway=sway)
    assert loss.total.dtype == torch.float32
    assert torch.isfinite(loss.total)
