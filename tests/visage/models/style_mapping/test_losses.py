"""The seven terms: what makes each of them zero, and whom its gradient reaches."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_style_mapping import pictures
from torch import Tensor

from visage.models.perceptual import PerceptualNet
from visage.models.style_mapping import losses
from visage.models.style_mapping.discriminator import PictureDiscriminator
from visage.models.style_mapping.random_warps import (
    RandomWarp,
    draw_warps,
    warp_pictures,
    warp_points,
)
from visage.specs.style_mapping import DiscriminatorSpec


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _warps(count: int, *, affine: float, bend: float, seed: int = 0):  # type: ignore[no-untyped-def]
    return draw_warps(
        count,
        affine_sigma=affine,
        bend_sigma=bend,
        bend_points=5,
        generator=torch.Generator().manual_seed(seed),
    )


NETWORK = PerceptualNet("vgg16", width=2)


def test_equal_pictures_look_alike_and_others_do_not() -> None:
    one, other = pictures(2), pictures(2, seed=1)
    assert losses.perceptual_pyramid(NETWORK, one, one, scales=(1.0, 0.5)).item() == 0.0
    assert losses.perceptual_pyramid(NETWORK, one, other, scales=(1.0,)).item() > 0.05


def test_the_pyramid_adds_its_scales_up_and_passes_over_those_too_small_to_see() -> None:
    one, other = pictures(1), pictures(1, seed=1)

    def at(*scales: float) -> float:
        return losses.perceptual_pyramid(NETWORK, one, other, scales=scales).item()

    assert at(1.0, 0.5) == pytest.approx(at(1.0) + at(0.5), rel=1e-5)
    assert at(0.25) == 0.0
    assert at(1.0, 0.5, 0.25, 0.125) == at(1.0, 0.5)


def test_likeness_pulls_at_our_picture_and_leaves_target_and_features_alone() -> None:
    ours, theirs = pictures(1).requires_grad_(), pictures(1, seed=1).requires_grad_()
    losses.perceptual_pyramid(NETWORK, ours, theirs, scales=(1.0, 0.5)).backward()
    assert ours.grad is not None
    assert ours.grad.abs().sum() > 0
    assert theirs.grad is None
    assert all(one.grad is None for one in NETWORK.parameters())


@pytest.mark.parametrize(
    ("real", "made", "loss"), [(2.0, -2.0, 0.0), (0.0, 0.0, 2.0), (-1.0, 1.0, 4.0), (1.0, 0.0, 1.0)]
)
def test_a_judge_pays_for_what_lies_within_the_margin(
    real: float, made: float, loss: float
) -> None:
    logits = (torch.full((2, 1, 3, 3), real), torch.full((2, 1, 3, 3), made))
    assert losses.hinge_discriminator(*logits).item() == pytest.approx(loss)
    assert losses.hinge_generator(logits[1]).item() == pytest.approx(-made)


def test_feature_matching_reaches_the_made_features_alone() -> None:
    made = [_draw(1, 2, 4, 4).requires_grad_(), _draw(1, 4, 2, 2).requires_grad_()]
    real = [(_draw(1, 2, 4, 4) + 1).requires_grad_(), (_draw(1, 4, 2, 2) + 2).requires_grad_()]
    loss = losses.feature_matching(made, real)
    assert loss.item() == pytest.approx(3.0, rel=1e-5)  # a mean of each layer, then their sum
    loss.backward()
    assert all(one.grad is not None for one in made)
    assert all(one.grad is None for one in real)


def test_the_judge_hands_out_the_features_of_every_block() -> None:
    judge = PictureDiscriminator(DiscriminatorSpec(width=4, widest=16, blocks=4))
    verdict = judge(pictures(2, size=64))
    assert [tuple(one.shape[1:]) for one in verdict.features] == [
        (8, 32, 32), (16, 16, 16), (16, 8, 8), (16, 4, 4)
    ]  # fmt: skip
    assert verdict.logits.shape == (2, 1, 4, 4)


def test_no_layer_of_the_judge_amplifies() -> None:
    torch.manual_seed(0)
    judge = PictureDiscriminator(DiscriminatorSpec(width=4, widest=16, blocks=2))
    for _ in range(30):
        judge(pictures(1))
    for block in (*judge.blocks, judge.last):
        norm = torch.linalg.matrix_norm(block.weight.flatten(1), 2).item()
        assert norm == pytest.approx(1.0, abs=0.02)


def test_a_warp_is_a_function_of_its_generator_and_without_spread_the_identity() -> None:
    one, again, other = (_warps(2, affine=0.1, bend=0.01, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.affine, again.affine)
    assert torch.equal(one.bend, again.bend)
    assert not torch.equal(one.affine, other.affine)
    none = _warps(2, affine=0.0, bend=0.0)
    picture, points = pictures(2), _draw(2, 7, 2)
    assert torch.allclose(warp_pictures(none, picture), picture, atol=1e-5)
    assert torch.equal(warp_points(none, points), points)


def test_a_map_is_its_formula() -> None:
    affine = torch.tensor([[[1.0, 0.5, 0.1], [0.0, 2.0, -0.2]]])
    bend = torch.zeros(1, 25, 2)
    bend[0, 12, 1] = 0.3  # the control point in the middle moves y alone
    found = warp_points(RandomWarp(affine=affine, bend=bend), torch.tensor([[[0.4, -0.3]]]))
    squared = 0.4**2 + 0.3**2
    wanted = [0.4 - 0.15 + 0.1, -0.6 - 0.2 + 0.3 * squared * math.log(squared)]
    assert found[0, 0].tolist() == pytest.approx(wanted, abs=1e-5)


def _blob(centres: Tensor, *, size: int = 96, sigma: float = 0.06) -> Tensor:
    """Pictures (N, 1, S, S) of one soft spot."""
    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    squared = (x - centres[:, 0, None, None]) ** 2 + (y - centres[:, 1, None, None]) ** 2
    return torch.exp(-squared / (2 * sigma**2))[:, None]


def _spot(picture: Tensor) -> Tensor:
    """A detector that is equivariant: the centre of brightness, (N, 1, 2)."""
    share = picture[:, 0] / picture.sum(dim=(1, 2, 3), keepdim=True)[:, 0]
    axis = torch.linspace(-1, 1, picture.shape[-1])
    return torch.stack([(share.sum(1) @ axis), (share.sum(2) @ axis)], dim=-1)[:, None]


@pytest.mark.parametrize(("bend", "tolerance"), [(0.0, 2e-3), (0.005, 1e-2)])
def test_points_that_move_with_the_picture_cost_nothing(bend: float, tolerance: float) -> None:
    centres = torch.tensor([[0.2, -0.3], [-0.4, 0.1], [0.0, 0.35]])
    warp = _warps(3, affine=0.05, bend=bend)
    picture = _blob(centres)
    found = warp_points(warp, _spot(warp_pictures(warp, picture)))
    assert losses.equivariance(_spot(picture), found).item() < tolerance


def test_points_that_ignore_the_picture_cost_as_much_as_it_moved() -> None:
    warp, still = _warps(4, affine=0.2, bend=0.0), torch.full((4, 3, 3), 0.5)
    moved = warp_points(warp, still[..., :2])
    cost = losses.equivariance(still, moved).item()
    assert cost == pytest.approx((moved - 0.5).abs().mean().item(), rel=1e-5)
    assert cost > 0.05


@settings(max_examples=12)
@given(st.integers(0, 100), st.integers(2, 12))
def test_the_prior_is_its_formula_without_the_diagonal(seed: int, count: int) -> None:
    points = _draw(2, count, 3, seed=seed) * 0.3
    wanted = 0.0
    for one in points.tolist():
        wanted += sum(
            max(0.0, 0.1 - math.dist(a, b) ** 2) for a, b in itertools.permutations(one, 2)
        )
        wanted += abs(sum(point[2] for point in one) / count - 0.33)
    found = losses.keypoint_prior(points, least_distance=0.1, mean_depth=0.33)
    assert found.item() == pytest.approx(wanted / 2, rel=1e-4, abs=1e-5)


def test_points_far_apart_at_the_right_depth_cost_nothing() -> None:
    points = torch.tensor([[[-0.5, 0.0, 0.33], [0.5, 0.0, 0.33], [0.0, 0.9, 0.33]]])
    assert losses.keypoint_prior(points, least_distance=0.1, mean_depth=0.33).item() < 1e-6


def test_an_angle_is_wrong_by_the_short_way_round() -> None:
    found, truth = torch.tensor([[179.0, 5.0, 0.0]]), torch.tensor([[-179.0, 2.0, 0.0]])
    assert losses.head_pose_error(found, truth).item() == pytest.approx(5.0, abs=1e-4)


def test_penalties_compute_in_fp32_where_the_rest_does_not() -> None:
    points = _draw(2, 6, 3).to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = (
            losses.keypoint_prior(points, least_distance=0.1, mean_depth=0.33),
            losses.equivariance(points, points + 1),
            losses.head_pose_error(points[:, 0], points[:, 1]),
            losses.expression_size(points),
            losses.hinge_discriminator(points, points),
            losses.hinge_generator(points),
            losses.feature_matching([points], [points]),
            losses.perceptual_pyramid(NETWORK, pictures(1), pictures(1, seed=1), scales=(1.0,)),
        )
    assert {term.dtype for term in terms} == {torch.float32}
