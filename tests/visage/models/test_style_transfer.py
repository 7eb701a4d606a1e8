"""Promises of the feature network f, its losses, and the guard that watches it."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from visage.errors import CollapseError, SpecError
from visage.landmarks import ANCHORS, MOUTH
from visage.models.projection import rotation_matrix
from visage.models.style_transfer import (
    CollapseGuard,
    StyleFeatures,
    critic_directions,
    gradient_norms,
    gradient_penalty,
    mean_direction,
    mixed,
    registered,
    scaled_only,
    style_constraint,
    unit_directions,
)
from visage.specs.style_transfer import StyleFeaturesSpec, StyleTransferTrainSpec

SMALL = StyleFeaturesSpec(widths=(32, 16), phi_scale=3.0)


def _phi(count: int, frames: int, seed: int = 0, size: float = 0.05) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return size * torch.randn(count, frames, 68, 3, generator=draws)


def _value(scalar: Tensor) -> float:
    return float(scalar.detach())


def _directions(count: int, width: int, seed: int = 0) -> Tensor:
    return unit_directions(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)))


def _features(spec: StyleFeaturesSpec = SMALL, seed: int = 0) -> StyleFeatures:
    torch.manual_seed(seed)
    return StyleFeatures(spec)


def _linear(widths: tuple[int, ...] = (128,), scale: float = 1.0) -> StyleFeatures:
    """An f of one layer whose rows are orthonormal (times a scale)."""
    features = _features(StyleFeaturesSpec(widths=widths, phi_scale=2.5))
    nn.init.orthogonal_(features.layers[0].weight, gain=scale)
    return features


def test_f_has_the_published_number_of_parameters_and_is_built_without_memory():
    with torch.device("meta"):
        features = StyleFeatures(StyleFeaturesSpec())
    assert sum(one.numel() for one in features.parameters()) == 866_048
    assert features.width == 256


def test_the_gradient_of_a_new_f_has_a_norm_near_one():
    torch.manual_seed(0)
    features = StyleFeatures(StyleFeaturesSpec())
    norms = gradient_norms(features, _phi(4, 8), _directions(4, 256)).detach()
    assert norms.mean() == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("seed", range(3))
def test_the_penalty_of_an_orthonormal_linear_f_is_zero(seed):
    features = _linear()
    penalty = gradient_penalty(features, _phi(3, 5, seed), _directions(3, 128, seed))
    assert _value(penalty) == pytest.approx(0, abs=1e-9)
    twice = gradient_penalty(_linear(scale=2.0), _phi(3, 5, seed), _directions(3, 128, seed))
    assert _value(twice) == pytest.approx(1, abs=1e-5)


def test_the_literal_penalty_differentiates_the_mean_feature():
    features = _linear()
    directions = mean_direction(2, 128, torch.device("cpu"))
    norms = gradient_norms(features, _phi(2, 3), directions)
    # orthonormal rows: the mean of 128 of them is 1 / sqrt(128) long
    assert torch.allclose(norms, torch.full((2, 3), 128**-0.5), atol=1e-5)


def test_the_gradient_is_that_of_finite_differences():
    features = _features().double()
    features.forward = lambda phi: features.layers(features.phi_scale * phi.flatten(-2))  # type: ignore[method-assign]
    phi, directions = _phi(1, 1).double(), _directions(1, 16).double()
    steps = torch.eye(204, dtype=torch.float64).reshape(204, 1, 68, 3) * 1e-6
    up = (features(phi + steps)[:, 0] * directions).sum(-1)
    down = (features(phi - steps)[:, 0] * directions).sum(-1)
    wanted = ((up - down) / 2e-6).norm() / features.phi_scale
    norm = gradient_norms(features.float(), phi.float(), directions.float())
    assert _value(norm) == pytest.approx(_value(wanted), rel=1e-3)


def test_the_penalty_pulls_f_towards_gradients_of_one():
    features = _features()
    with torch.no_grad():
        for one in features.parameters():
            one *= 0.6
    optimizer = torch.optim.Adam(features.parameters(), lr=1e-2)
    first = last = 0.0
    for step in range(90):
        loss = gradient_penalty(features, _phi(4, 8, step), _directions(4, 16, step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = first or _value(loss), _value(loss)
    assert first > 0.2
    assert last < first / 10


def test_the_constraint_is_zero_for_equal_clips_and_for_clips_in_another_order():
    features, phi = _features(), _phi(2, 12)
    assert _value(style_constraint(features, phi, phi, over="window")) == pytest.approx(0, abs=1e-9)
    shuffled = phi[:, torch.randperm(12, generator=torch.Generator().manual_seed(1))]
    assert _value(style_constraint(features, phi, shuffled, over="window")) == pytest.approx(
        0, abs=1e-9
    )
    longer = torch.cat([phi, phi], dim=1)
    assert _value(style_constraint(features, phi, longer, over="window")) == pytest.approx(
        0, abs=1e-9
    )


def test_the_constraint_tells_amplitude_apart_though_both_means_are_the_same():
    features, phi = _features(), _phi(1, 200)
    phi = phi - phi.mean(dim=1, keepdim=True)
    assert _value(style_constraint(features, phi, 2 * phi, over="window")) > 1e-3


def test_over_the_batch_what_single_windows_say_averages_out():
    features = _features()
    low, high = _phi(1, 8) - 0.1, _phi(1, 8) + 0.1
    made, style = torch.cat([low, high]), torch.cat([high, low])
    apart = {over: _value(style_constraint(features, made, style, over=over))
             for over in ("window", "batch")}  # fmt: skip
    assert apart["window"] > 0.1
    assert apart["batch"] == pytest.approx(0, abs=1e-8)
    one = _value(style_constraint(features, low, high, over="window"))
    assert one == pytest.approx(_value(style_constraint(features, low, high, over="batch")))
    directions = critic_directions(features, made, style + 0.1, over="batch")
    assert torch.equal(directions[0], directions[1])


def test_along_the_critics_direction_the_constraint_is_the_square_of_a_scalar_difference():
    features, made, style = _features(), _phi(2, 6), _phi(2, 9, 1)
    directions = critic_directions(features, made, style, over="window")
    assert torch.allclose(directions.norm(dim=-1), torch.ones(2))
    with torch.no_grad():
        scalars = [(features(one) * directions[:, None]).sum(-1).mean(1) for one in (made, style)]
    wanted = _value((scalars[1] - scalars[0]).square().mean())
    assert _value(style_constraint(features, made, style, over="window")) == pytest.approx(
        wanted, rel=1e-5
    )
    assert torch.equal(critic_directions(features, made, made, over="window"), torch.zeros(2, 16))


def test_gradients_reach_what_they_should_and_nothing_else():
    features, made, style = _features(), _phi(2, 6).requires_grad_(), _phi(2, 6, 1)
    style_constraint(features, made, style, over="window").backward()
    assert made.grad is not None
    assert float(made.grad.abs().sum()) > 0
    assert all(one.grad is not None for one in features.parameters())
    made.grad = None
    features.zero_grad()
    phi = mixed(made, style, torch.full((2, 6), 0.5))
    gradient_penalty(features, phi, _directions(2, 16)).backward()
    assert made.grad is None
    grown = [float(one.grad.abs().sum()) for one in features.parameters() if one.grad is not None]
    assert sum(grown) > 0


@pytest.mark.parametrize(("gamma", "wanted"), [(0.0, 0), (1.0, 1), (0.25, 0.25)])
def test_gamma_is_the_share_of_the_style(gamma, wanted):
    made, style = torch.zeros(2, 3, 68, 3), torch.ones(2, 3, 68, 3)
    assert torch.allclose(mixed(made, style, torch.full((2, 3), gamma)), torch.tensor(wanted * 1.0))


def test_autocast_changes_nothing():
    features, made, style = _features(), _phi(2, 6), _phi(2, 6, 1)
    directions = _directions(2, 16)

    def losses() -> list[float]:
        return [
            _value(style_constraint(features, made, style, over="window")),
            _value(gradient_penalty(features, made, directions)),
            float(registered(made, made[:, 0]).square().sum()),
        ]

    plain = losses()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert losses() == plain
    assert features(made.half()).dtype == torch.float32


def _face(seed: int = 0) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(68, 3, generator=draws)


def test_registration_undoes_head_motion_and_size():
    mean = _face()
    speech = torch.zeros(7, 68, 3)
    speech[:, MOUTH] = 0.1 * torch.randn(7, 20, 3, generator=torch.Generator().manual_seed(1))
    landmarks = mean + speech
    eyes = (mean[36] - mean[45]).norm()
    assert torch.allclose(registered(landmarks, mean), speech / eyes, atol=1e-5)
    turn = rotation_matrix(torch.linspace(-40, 40, 21).reshape(7, 3))
    moved = landmarks @ turn.mT + torch.arange(21.0).reshape(7, 1, 3)
    assert torch.allclose(registered(moved, mean), speech / eyes, atol=1e-4)
    assert torch.allclose(registered(4 * moved, 4 * mean), speech / eyes, atol=1e-4)
    both = registered(torch.stack([landmarks, moved]), torch.stack([mean, mean]))
    assert torch.allclose(both[1], speech / eyes, atol=1e-4)


def test_registration_never_mirrors_a_face():
    mean = _face()
    mirrored = mean * torch.tensor([-1.0, 1.0, 1.0])
    left = registered(mirrored[None], mean)
    assert float(left[:, ANCHORS].abs().max()) > 0.1


def test_registration_lets_gradients_through_to_the_landmarks():
    mean, landmarks = _face(), (_face() + 0.1 * _face(2))[None].requires_grad_()
    registered(landmarks, mean)[:, MOUTH].square().sum().backward()
    assert landmarks.grad is not None
    assert torch.isfinite(landmarks.grad).all()
    assert float(landmarks.grad[:, MOUTH].abs().sum()) > 0


def test_the_scale_only_baseline_moves_as_much_as_the_style_and_in_its_own_rhythm():
    made, style = _phi(1, 40)[0], 3 * _phi(1, 60, 5)[0]
    out = scaled_only(made, style)
    assert torch.equal(out[:, 17:48], made[:, 17:48])
    swing = (out[:, MOUTH] - out[:, MOUTH].mean(0)).norm() / 40**0.5
    assert float(swing) == pytest.approx(
        float((style[:, MOUTH] - style[:, MOUTH].mean(0)).norm() / 60**0.5), rel=0.1
    )
    assert torch.allclose(out.mean(0), made.mean(0), atol=1e-6)
    assert torch.isfinite(scaled_only(torch.zeros(4, 68, 3), style)).all()


def _trained(lambda_penalty: float, guard: CollapseGuard, *, steps: int = 150) -> list[float]:
    """f alone minimises L_sc, the quickest way to a constant; returns its spreads."""
    features = _features(StyleFeaturesSpec(widths=(64, 32), phi_scale=5.0))
    optimizer = torch.optim.Adam(features.parameters(), lr=5e-3)
    spreads = []
    for step in range(steps):
        # clips that differ in every direction: only a constant f finds all of them alike
        offset = _phi(8, 1, 1000 + step, size=0.2)
        made, style = _phi(8, 16, step), _phi(8, 16, step) + offset
        loss = style_constraint(features, made, style, over="window")
        if lambda_penalty:
            phi = mixed(made, style, torch.full((8, 16), 0.5))
            loss = loss + lambda_penalty * gradient_penalty(features, phi, _directions(8, 32, step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        spreads.append(guard.check(features).spread)
    return spreads


def _guard() -> CollapseGuard:
    return CollapseGuard(_phi(1, 64, 9)[0], 32, least_spread=0.1, least_gradient=0.1)


def test_without_the_penalty_f_collapses_and_the_guard_says_so():
    with pytest.raises(CollapseError, match="lambda_penalty"):
        _trained(0.0, _guard())


def test_with_the_penalty_f_stays_alive():
    assert min(_trained(1000.0, _guard())) > 0.4


def test_the_guard_sees_a_constant_f_and_one_without_slope():
    guard, features = _guard(), _features(StyleFeaturesSpec(widths=(64, 32), phi_scale=5.0))
    assert not guard.has_collapsed(guard.look(features))
    with torch.no_grad():
        features.layers[-1].weight *= 0.01
    health = guard.look(features)
    assert guard.has_collapsed(health)
    assert health.gradient < 0.05
    assert health.spread < 0.05


def test_the_spec_refuses_what_has_no_meaning():
    needed = {"motion": "runs/m/model", "style_clips": "data/clips"}
    assert StyleTransferTrainSpec.parse(needed).style_name == "style"
    for wrong in (
        {"gamma": 1.5},
        {"gamma": "often"},
        {"features": {"widths": []}},
        {"compare_frames": 30, "compare_window": 40},
        {"schedule": {"name": "cosine", "floor_lr": 1.0}},
        {"mode": "both"},
    ):
        with pytest.raises(SpecError):
            StyleTransferTrainSpec.parse({**needed, **wrong})
    for gamma, mode in itertools.product((0.0, 0.5, "uniform"), ("joint", "adversarial")):
        assert StyleTransferTrainSpec.parse({**needed, "gamma": gamma, "mode": mode})
