"""Promises of the generator's losses: the published formulas, literally, in single precision."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from visage.models.generator import Judgement
from visage.models.generator.alignment import fit_similarity, warped
from visage.models.generator.losses import (
    best_match,
    feature_matching,
    gram_distance,
    gram_matrix,
    lsgan_generator,
    lsgan_judge,
    region_weights,
    style_photometric,
)
from visage.models.generator.style_match import Patterns, match_style
from visage.models.perceptual import PerceptualNet
from visage.specs.generator import StyleLossSpec

MOUTH, EYES, SKIN, REST = 3, 2, 1, 0


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _judgements(seed: int, scales: int = 2, layers: int = 4) -> tuple[Judgement, ...]:
    return tuple(
        Judgement(
            logits=_random(2, 1, 5, 5, seed=seed + scale),
            features=tuple(_random(2, 3, 6, 6, seed=seed + 10 * n) for n in range(1, layers + 1)),
        )
        for scale in range(scales)
    )


def test_least_squares_losses_are_those_of_lsgan() -> None:
    real, made = _judgements(1), _judgements(5)
    as_real = [(r.logits - 1).pow(2).mean().item() for r in real]
    as_made = [m.logits.pow(2).mean().item() for m in made]
    fooled = [(m.logits - 1).pow(2).mean().item() for m in made]
    assert lsgan_generator(made).item() == pytest.approx(sum(fooled))
    for weight in (1.0, 2.0):
        expected = sum((weight * r + m) / 2 for r, m in zip(as_real, as_made, strict=True))
        assert lsgan_judge(real, made, real_weight=weight).item() == pytest.approx(expected)


def test_a_judge_that_knows_everything_has_no_loss() -> None:
    sure = Judgement(logits=torch.ones(1, 1, 3, 3), features=())
    fooled = Judgement(logits=torch.zeros(1, 1, 3, 3), features=())
    assert lsgan_judge([sure], [fooled]) == 0
    assert lsgan_generator([sure]) == 0


@pytest.mark.parametrize(("scales", "layers"), [(1, 2), (2, 4), (3, 3)])
def test_feature_matching_weighs_layers_and_scales_as_published(scales: int, layers: int) -> None:
    made, real = _judgements(1, scales, layers), _judgements(50, scales, layers)
    expected = 0.0
    for ours, theirs in zip(made, real, strict=True):
        for a, b in zip(ours.features, theirs.features, strict=True):
            expected += 4 / layers / scales * (a - b).abs().mean().item()
    assert feature_matching(made, real).item() == pytest.approx(expected, rel=1e-5)


def test_feature_matching_sends_no_gradient_to_the_real_side() -> None:
    ours, theirs = (torch.rand(1, 2, 3, 3, requires_grad=True) for _ in range(2))
    logits = torch.zeros(1, 1, 1, 1)
    feature_matching(
        [Judgement(logits=logits, features=(ours,))], [Judgement(logits=logits, features=(theirs,))]
    ).backward()
    assert ours.grad is not None
    assert theirs.grad is None


def test_gram_matrices_are_sums_over_pixels() -> None:
    features = _random(2, 3, 4, 5)
    expected = torch.zeros(2, 3, 3)
    for n in range(2):
        for i in range(3):
            for j in range(3):
                expected[n, i, j] = (features[n, i] * features[n, j]).sum() / (3 * 4 * 5)
    torch.testing.assert_close(gram_matrix(features), expected)


def test_texture_may_lie_elsewhere_but_not_be_another() -> None:
    features = _random(1, 4, 8, 8)
    moved = features.roll((3, 2), (2, 3))
    assert gram_distance([features], [moved]).item() == pytest.approx(0, abs=1e-9)
    assert gram_distance([features], [features * 1.1]).item() > 1e-4


def test_gram_matrices_of_half_precision_features_stay_finite() -> None:
    features = torch.full((1, 4, 256, 256), 200.0, dtype=torch.float16)
    found = gram_matrix(features)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.full((1, 4, 4), 200.0**2 / 4))


def test_style_loss_is_the_weighted_l1_over_three_times_the_weights() -> None:
    made, matched = _random(2, 3, 4, 4), _random(2, 3, 4, 4, seed=1)
    weights = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    for n in range(2):
        above = sum(
            weights[n, 0, y, x] * (made[n, c, y, x] - matched[n, c, y, x]).abs()
            for c in range(3) for y in range(4) for x in range(4)
        )  # fmt: skip
        expected = above / (3 * weights[n].sum())
        assert style_photometric(made, matched, weights)[n].item() == pytest.approx(expected.item())
    constant = style_photometric(
        torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.5), weights[:1]
    )
    assert constant.item() == pytest.approx(0.5)


def test_style_loss_without_any_region_is_zero_with_a_finite_gradient() -> None:
    made = torch.rand(1, 3, 4, 4, requires_grad=True)
    loss = style_photometric(made, torch.rand(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)).sum()
    loss.backward()
    assert loss == 0
    assert made.grad is not None
    assert (made.grad == 0).all()


def test_a_pixel_counts_by_its_region_and_only_where_both_show_it() -> None:
    target = torch.tensor([[[MOUTH, EYES], [SKIN, REST]]], dtype=torch.uint8)
    table = torch.tensor([0.0, 1.0, 3.0, 5.0])
    assert region_weights(target, target, table).flatten().tolist() == [5, 3, 1, 0]
    other = torch.tensor([[[SKIN, EYES], [REST, REST]]], dtype=torch.uint8)
    assert region_weights(target, other, table).flatten().tolist() == [0, 3, 0, 0]


@pytest.mark.parametrize("turn_deg", [0.0, 30.0, -170.0])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_the_best_similarity_is_found_exactly(turn_deg: float, scale: float) -> None:
    moving = _random(3, 68, 2) * 20 + 40
    turn = math.radians(turn_deg)
    matrix = scale * torch.tensor(
        [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    )
    fixed = moving @ matrix.T + torch.tensor([5.0, -3.0])
    factor, shift = fit_similarity(moving, fixed)
    found = torch.view_as_real(factor[:, None] * torch.view_as_complex(moving) + shift[:, None])
    torch.testing.assert_close(found, fixed, atol=1e-3, rtol=1e-4)


def test_no_other_similarity_is_closer_in_least_squares() -> None:
    moving, fixed = _random(1, 68, 2), _random(1, 68, 2, seed=1)
    factor, shift = fit_similarity(moving, fixed)
    p, q = torch.view_as_complex(moving), torch.view_as_complex(fixed)

    def error(a: Tensor, b: Tensor) -> float:
        return (a * p + b - q).abs().square().sum().item()

    best = error(factor, shift)
    for change in (1e-2, -1e-2, 1e-2j, -1e-2j):
        assert error(factor + change, shift) > best
        assert error(factor, shift + change) > best


def test_warping_brings_pixels_where_the_points_go() -> None:
    picture = torch.zeros(1, 1, 16, 16)
    picture[0, 0, 5, 4] = 1.0  # y 5, x 4
    shifted = warped(picture, (torch.ones(1) + 0j, torch.tensor([3 + 2j])), outside="zeros")
    assert shifted[0, 0, 7, 7].item() == pytest.approx(1, abs=1e-4)
    assert shifted.sum().item() == pytest.approx(1, abs=1e-3)
    quarter = (torch.tensor([1j]), torch.tensor([15 + 0j]))  # (x, y) to (15 - y, x)
    turned = warped(picture, quarter, nearest=True)
    assert turned[0, 0, 4, 10] == 1
    still = warped(picture, (torch.ones(1) + 0j, torch.zeros(1) + 0j))
    torch.testing.assert_close(still, picture, atol=1e-5, rtol=0)


def test_points_that_fall_together_leave_the_picture_as_it_is() -> None:
    picture = _random(1, 3, 8, 8)
    similarity = fit_similarity(torch.ones(1, 68, 2), torch.ones(1, 68, 2) * 4)
    torch.testing.assert_close(warped(picture, similarity), picture, atol=1e-5, rtol=1e-4)


def test_the_best_match_has_the_highest_cosine() -> None:
    target = _random(5, 2, 3, 3)
    candidates = _random(5, 4, 2, 3, 3, seed=1)
    for n in range(5):
        candidates[n, n % 4] = target[n] * (n + 2)  # another length, the same direction
    assert best_match(target, candidates).tolist() == [0, 1, 2, 3, 0]


class _Scene:
    """Four patterns, one of which is the target, turned and moved."""

    def __init__(self, size: int = 32) -> None:
        generator = torch.Generator().manual_seed(3)
        self.points = torch.rand(1, 68, 2, generator=generator) * 8 + 12
        coarse = torch.rand(1, 12, 4, 4, generator=generator) * 2 - 1
        pictures = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic")
        self.pictures = pictures.clamp(-1, 1).view(1, 4, 3, size, size)
        self.regions = torch.zeros(1, size, size, dtype=torch.uint8)
        self.regions[:, 10:24, 8:24] = SKIN
        self.regions[:, 18:22, 12:20] = MOUTH
        self.target = self.pictures[:, 2]
        similarity = (torch.tensor([0.9 + 0.2j]), torch.tensor([2.0 - 3.0j]))
        moved = self.pictures.clone()
        moved[:, 2] = warped(self.target, similarity)
        points = self.points[:, None].repeat(1, 4, 1, 1)
        points[:, 2] = torch.view_as_real(
            similarity[0] * torch.view_as_complex(self.points) + similarity[1]
        )
        labels = self.regions[:, None].repeat(1, 4, 1, 1)
        there = warped(self.regions[:, None].float(), similarity, nearest=True, outside="zeros")
        labels[:, 2] = there[:, 0].to(torch.uint8)
        self.patterns = Patterns(pictures=moved, points=points, regions=labels)


def test_the_matched_picture_lies_on_the_target() -> None:
    scene = _Scene()
    match = match_style(
        scene.target, scene.patterns, points=scene.points, regions=scene.regions,
        network=PerceptualNet(layers=("relu2_1",), width=8), spec=StyleLossSpec(),
    )  # fmt: skip
    assert match.index.tolist() == [2]
    on = match.weights[0, 0] > 0
    assert on.sum() > 0.8 * (scene.regions > 0).sum()
    apart = (match.picture - scene.target).abs().mean(1)[0]
    there = (scene.patterns.pictures[:, 2] - scene.target).abs().mean(1)[0]
    assert apart[on].mean() < 0.2 * there[on].mean()
    assert set(match.weights[0, 0][scene.regions[0] == MOUTH].unique().tolist()) <= {0.0, 5.0}


def test_without_matching_the_target_itself_is_weighed_by_its_regions() -> None:
    scene = _Scene()
    match = match_style(
        scene.target, scene.patterns, points=scene.points, regions=scene.regions,
        network=PerceptualNet(layers=("relu1_1",), width=2), spec=StyleLossSpec(matched=False),
    )  # fmt: skip
    assert torch.equal(match.picture, scene.target)
    assert (match.weights[0, 0] > 0).sum() == (scene.regions > 0).sum()


def test_matching_has_no_gradient() -> None:
    scene = _Scene()
    target = scene.target.clone().requires_grad_()
    match = match_style(
        target, scene.patterns, points=scene.points, regions=scene.regions,
        network=PerceptualNet(layers=("relu1_1",), width=2), spec=StyleLossSpec(aligned=False),
    )  # fmt: skip
    assert not match.picture.requires_grad
    assert not match.weights.requires_grad
