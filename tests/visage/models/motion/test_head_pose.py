"""Promises of the head-pose WaveNet: causal, cached equal to naive, seeded, a true likelihood."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal
from torch.utils.flop_counter import FlopCounterMode

from visage.models import count_parameters
from visage.models.motion.head_pose import (
    POSE,
    STATE,
    Gaussian,
    HeadPoseNet,
    PoseSampler,
    draw,
    with_velocity,
)
from visage.models.motion.losses import pose_nll
from visage.models.motion.wavenet import WaveNetSteps
from visage.specs.motion import MotionSpec, PoseNetSpec


def _sampled(net: HeadPoseNet, condition: torch.Tensor, seed: int = 0, scale: float = 0.3):
    generator = torch.Generator().manual_seed(seed)
    sampler = PoseSampler(net, generator=generator, sigma_scale=scale)
    return sampler(condition)


def _naively(net: HeadPoseNet, condition: torch.Tensor, seed: int, scale: float) -> torch.Tensor:
    """Recompute the receptive field for every frame, as the published demo does."""
    generator = torch.Generator().manual_seed(seed)
    field = 1 + sum(net.wavenet.dilations)
    states = [torch.zeros(1, STATE)]
    for frame in range(condition.shape[1]):
        first = max(0, frame + 1 - field)
        history = torch.stack(states[first:], dim=2)  # (1, 12, frames)
        seen = condition[:, first : frame + 1].transpose(1, 2)
        outputs = net.wavenet(history, seen)[:, :, -1]
        gaussian = net.gaussian(outputs)
        states.append(draw(gaussian, generator, sigma_scale=scale, limit=net.limit))
    return torch.stack(states[1:], dim=1)[..., :POSE]


def test_audio_mlp_and_wavenet_have_the_published_sizes_but_for_the_layer_that_nothing_reads():
    with torch.device("meta"):
        net = HeadPoseNet(MotionSpec())
    unread = 128 * 128 + 128  # the last layer's residual projection
    assert count_parameters(net.wavenet) + unread == 3_478_435
    assert count_parameters(net.audio) == 788_480


def test_the_published_network_sees_255_frames_of_history(tiny_model):
    assert PoseNetSpec().receptive_field == 255
    net = tiny_model().pose.wavenet
    field = PoseNetSpec.parse({"blocks": 2, "layers": 3}).receptive_field
    history = torch.randn(1, STATE, 40, requires_grad=True)
    net(history, torch.randn(1, 12, 40))[0, :, -1].sum().backward()
    seen = history.grad[0].abs().sum(dim=0) > 0
    assert seen.tolist() == [False] * (40 - field) + [True] * field


def test_a_cached_step_costs_what_one_frame_costs_and_fifty_times_less_than_the_naive_one():
    spec = PoseNetSpec()
    with torch.device("meta"):
        net = HeadPoseNet(MotionSpec()).wavenet.eval()
        with FlopCounterMode(display=False) as naive:
            net(torch.empty(1, STATE, spec.receptive_field),
                torch.empty(1, spec.mlp_width, spec.receptive_field))  # fmt: skip
        with FlopCounterMode(display=False) as cached:
            steps = WaveNetSteps(net, count=1)
            conditioned = steps.conditioned(torch.empty(1, 1, spec.mlp_width))
            steps.step(torch.empty(1, STATE), conditioned[0])
    assert cached.get_total_flops() == pytest.approx(6.9e6, rel=0.002)
    assert naive.get_total_flops() == pytest.approx(1.77e9, rel=0.01)
    assert naive.get_total_flops() >= 50 * cached.get_total_flops()


@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("frames", [1, 2, 15, 16, 40])
def test_cached_sampling_equals_recomputing_the_receptive_field(tiny_model, frames, scale):
    net = tiny_model().pose
    condition = torch.randn(1, frames, 12, generator=torch.Generator().manual_seed(frames))
    with torch.no_grad():
        expected = _naively(net, condition, 3, scale)
    torch.testing.assert_close(_sampled(net, condition, 3, scale), expected, atol=1e-5, rtol=1e-5)


def test_teacher_forcing_on_a_sampled_path_finds_the_distributions_it_was_sampled_from(tiny_model):
    # with sigma 0 every sample is the mean of its distribution
    model = tiny_model(pose_look_ahead=0)
    features = torch.randn(1, 60, 6)
    with torch.no_grad():
        condition = model.pose.audio(features.reshape(1, 30, 12))
        steps, state = WaveNetSteps(model.pose.wavenet, count=1), torch.zeros(1, STATE)
        states = []
        for conditioned in steps.conditioned(condition):
            state = model.pose.gaussian(steps.step(state, conditioned)).mean
            states.append(state)
        path = torch.stack(states, dim=2)
        history = torch.nn.functional.pad(path[:, :, :-1], (1, 0))
        forced = model.pose.gaussian(
            model.pose.wavenet(history, condition.transpose(1, 2)).transpose(1, 2)
        )
    torch.testing.assert_close(forced.mean, path.transpose(1, 2), atol=1e-5, rtol=1e-5)


def test_sequences_that_run_side_by_side_do_not_touch_each_other(tiny_model):
    net = tiny_model().pose
    condition = torch.randn(3, 20, 12)
    steps = WaveNetSteps(net.wavenet, count=3)
    alone = WaveNetSteps(net.wavenet, count=1)
    together, single = steps.conditioned(condition), alone.conditioned(condition[1:2])
    for frame in range(20):
        history = torch.randn(3, STATE)
        left = steps.step(history, together[frame])[1]
        right = alone.step(history[1:2], single[frame])[0]
        torch.testing.assert_close(left, right, atol=1e-6, rtol=1e-5)


def test_no_frame_sees_itself_or_the_future_of_the_truth(tiny_model):
    net = tiny_model().pose
    features, sway = torch.randn(1, 60, 6), torch.randn(1, 30, POSE, requires_grad=True)
    frame = 12
    net(features, sway).mean[0, frame].sum().backward()
    seen = sway.grad[0].abs().sum(dim=1) > 0
    assert seen[:frame].any()
    assert not seen[frame:].any()


@pytest.mark.parametrize("look_ahead", [0, 3])
def test_a_pose_hears_exactly_its_look_ahead(tiny_model, look_ahead):
    net = tiny_model(pose_look_ahead=look_ahead).pose
    features = torch.randn(1, 60, 6, requires_grad=True)
    gaussian = net(features, torch.randn(1, 30, POSE))
    assert gaussian.mean.shape == (1, 30 - look_ahead, STATE)
    gaussian.mean[0, 12].sum().backward()
    heard = features.grad[0].abs().sum(dim=1) > 0
    assert heard[2 * (12 + look_ahead) : 2 * (12 + look_ahead + 1)].all()
    assert not heard[2 * (12 + look_ahead + 1) :].any()


def test_the_seed_alone_decides_the_head_and_no_global_draw_changes_it(tiny_model):
    net = tiny_model().pose
    condition = torch.randn(1, 25, 12)
    first = _sampled(net, condition, seed=5)
    torch.manual_seed(99)
    torch.rand(7)
    assert torch.equal(_sampled(net, condition, seed=5), first)
    assert not torch.equal(_sampled(net, condition, seed=6), first)


@pytest.mark.parametrize("cut", [1, 10, 24])
def test_chunks_of_sound_do_not_change_the_head(tiny_model, cut):
    net = tiny_model().pose
    condition = torch.randn(1, 25, 12)
    sampler = PoseSampler(net, generator=torch.Generator().manual_seed(0), sigma_scale=0.3)
    parts = [
        sampler(condition[:, :cut]),
        sampler(condition[:, cut:cut]),
        sampler(condition[:, cut:]),
    ]
    torch.testing.assert_close(
        torch.cat(parts, dim=1), _sampled(net, condition), atol=1e-6, rtol=1e-5
    )


def test_samples_stay_within_the_limit_whatever_the_network_says():
    wild = Gaussian(torch.full((1, STATE), 1e9), torch.full((1, STATE), -50.0))
    drawn = draw(wild, torch.Generator().manual_seed(0), sigma_scale=1.0, limit=60.0)
    assert torch.isfinite(drawn).all()
    assert drawn.abs().max() <= 60


def test_sigma_never_falls_below_its_floor_so_the_likelihood_stays_bounded(tiny_model):
    net = tiny_model().pose
    gaussian = net.gaussian(torch.full((1, 1, 1 + 2 * STATE), 1e4))
    assert gaussian.neg_log_sigma.max().exp() == pytest.approx(1 / 0.03, rel=1e-5)


def test_the_likelihood_is_that_of_a_diagonal_gaussian_over_pose_and_velocity():
    draws = torch.Generator().manual_seed(0)
    mean, neg_log_sigma = (torch.randn(2, 9, STATE, generator=draws) for _ in range(2))
    sway = torch.randn(2, 11, POSE, generator=draws)
    true = with_velocity(sway)[:, :9]
    expected = -Normal(mean, neg_log_sigma.neg().exp()).log_prob(true).sum(dim=2).mean()
    assert pose_nll(Gaussian(mean, neg_log_sigma), sway).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_the_likelihood_is_computed_in_full_precision_under_autocast():
    sway = torch.randn(1, 8, POSE)
    half = Gaussian(torch.zeros(1, 8, STATE).half(), torch.full((1, 8, STATE), 11.0).half())
    loss = pose_nll(half, sway)  # exp(11)² overflows fp16
    assert loss.dtype == torch.float32
    assert math.isfinite(loss.item())


def test_sway_counts_from_the_rest_pose_in_degrees_and_fiftieths_of_the_eye_distance(tiny_model):
    net = tiny_model().pose
    rest = torch.tensor([[5.0, 0, 0, 0, 0, 13.0]])
    pose = torch.tensor([[[6.0, 2, 0, 0.02, 0, 13.1]]])
    sway = net.sway(pose, rest)
    torch.testing.assert_close(sway, torch.tensor([[[1.0, 2, 0, 1, 0, 5]]]), atol=1e-4, rtol=0)
    torch.testing.assert_close(net.posed(sway, rest), pose)


def test_gradients_reach_every_weight(tiny_model):
    net = tiny_model(
        pose_net={"mlp_width": 12, "channels": 8, "layers": 3, "input_dropout": 0.0}
    ).pose
    net.train()
    sway = torch.randn(2, 30, POSE)
    pose_nll(net(torch.randn(2, 60, 6), sway), sway).backward()
    for name, value in net.named_parameters():
        assert value.grad is not None, name
        if name.endswith("weight") and value.ndim > 1:
            assert value.grad.abs().sum() > 0, name
