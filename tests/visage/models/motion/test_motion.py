"""Promises of the motion generator: a stream equals the whole, the seed decides, options do."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_model, save_model

from visage.errors import SpecError
from visage.landmarks import EYES, JAW, MOUTH
from visage.models.motion import Motion, MotionGenerator, MotionStream, motion_loss
from visage.specs.motion import MotionSpec

MEAN = torch.randn(68, 3, generator=torch.Generator().manual_seed(42))
REST = torch.tensor([3.0, -2.0, 1.0, 0.1, 0.0, 13.0])
TORSO = torch.randn(18, 3, generator=torch.Generator().manual_seed(43))


def _features(frames: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(2 * frames, 6, generator=torch.Generator().manual_seed(seed))


def _joined(parts: list[Motion]) -> dict[str, torch.Tensor]:
    names = [name for name in ("landmarks", "pose", "torso") if getattr(parts[0], name) is not None]
    return {name: torch.cat([getattr(one, name) for one in parts]) for name in names}


def _streamed(model, features, sizes, **options) -> dict[str, torch.Tensor]:
    stream = MotionStream(model, MEAN, rest=REST, seed=9, **options)
    parts, at = [], 0
    for size in sizes:
        parts.append(stream.push(features[at : at + size]))
        at += size
    parts += [stream.push(features[at:]), stream.finish()]
    return _joined(parts)


@pytest.mark.parametrize("smoothing", ["none", "ema", "one-euro", "gaussian"])
@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("sizes", [(), (1, 1, 1), (0, 13, 0, 50), (2,) * 30])
def test_a_stream_gives_what_the_whole_gives(tiny_model, smoothing, norm, sizes):
    model = tiny_model(norm=norm, torso="flow", blink_rate_hz=2.0)
    features = _features(40)
    whole = model.generate(features, MEAN, rest=REST, seed=9, smoothing=smoothing, torso=TORSO)
    streamed = _streamed(model, features, sizes, smoothing=smoothing, torso=TORSO)
    assert len(whole) == 40
    for name, value in streamed.items():
        torch.testing.assert_close(value, getattr(whole, name), atol=2e-5, rtol=1e-5)
    assert set(streamed) == {"landmarks", "pose", "torso"}


@given(sizes=st.lists(st.integers(0, 30), max_size=8))
@settings(max_examples=8, deadline=None)
def test_no_way_of_cutting_the_sound_changes_the_motion(sizes):
    spec = MotionSpec.parse({
        "feature_channels": 6, "landmark_look_ahead": 4, "pose_look_ahead": 6, "norm": "layer",
        "landmark_net": {"mlp_width": 8, "lstm_width": 6, "lstm_layers": 1, "head_width": 8},
        "pose_net": {"mlp_width": 8, "channels": 4, "skip_channels": 6, "blocks": 1, "layers": 3},
    })  # fmt: skip
    torch.manual_seed(0)
    model = MotionGenerator(spec).eval()
    features = _features(30)
    whole = model.generate(features, MEAN, rest=REST, seed=9, smoothing="none")
    streamed = _streamed(model, features, sizes, smoothing="none")
    torch.testing.assert_close(streamed["landmarks"], whole.landmarks, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(streamed["pose"], whole.pose, atol=2e-5, rtol=1e-5)


def test_a_frame_comes_as_soon_as_the_stated_latency_allows(tiny_model):
    model = tiny_model()
    stream = MotionStream(model, MEAN, rest=REST, seed=0, smoothing="ema")
    assert stream.latency_frames == 5
    given = [len(stream.push(_features(1, seed))) for seed in range(12)]
    assert given == [0] * 5 + [1] * 7
    assert len(stream.finish()) == 5


@pytest.mark.parametrize("frames", [0, 1, 2, 30])
def test_every_pair_of_features_becomes_one_frame_and_an_odd_one_out_none(tiny_model, frames):
    model = tiny_model()
    features = torch.cat([_features(frames), torch.randn(1, 6)])
    motion = model.generate(features, MEAN, rest=REST, seed=0)
    assert motion.landmarks.shape == (frames, 68, 3)
    assert motion.pose.shape == (frames, 6)
    assert motion.torso is None


def test_the_same_seed_gives_the_same_motion_and_another_one_another_head_but_the_same_mouth(
    tiny_model,
):
    model, features = tiny_model(), _features(30)
    one, again, other = (model.generate(features, MEAN, rest=REST, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.landmarks, again.landmarks)
    assert torch.equal(one.pose, again.pose)
    assert not torch.equal(one.pose, other.pose)
    assert torch.equal(one.landmarks[:, MOUTH], other.landmarks[:, MOUTH])


def test_generating_leaves_the_model_as_it_was_and_builds_no_graph(tiny_model):
    model = tiny_model().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    motion = model.generate(_features(10), MEAN, rest=REST, seed=0)
    assert model.training
    assert not motion.landmarks.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_stream_refuses_what_it_cannot_keep(tiny_model):
    model = tiny_model()
    with pytest.raises(SpecError, match="evaluation mode"):
        MotionStream(model.train(), MEAN, rest=REST, seed=0, smoothing="none")
    stream = MotionStream(model.eval(), MEAN, rest=REST, seed=0, smoothing="none")
    assert len(stream.finish()) == 0
    with pytest.raises(SpecError, match="begin a new one"):
        stream.push(_features(1))


def test_amplitude_scales_mouth_and_jaw_and_nothing_else(tiny_model):
    options = {"smoothing": "none", "blink_rate_hz": 0.0}
    plain, loud = (
        tiny_model(**options, amplitude=amplitude).generate(
            _features(20), MEAN * 0, rest=REST, seed=0
        )
        for amplitude in ((1.0, 1.0, 1.0), (2.0, 1.0, 0.5))
    )
    spoken = [*JAW, *MOUTH]
    torch.testing.assert_close(loud.landmarks[:, spoken, 0], 2 * plain.landmarks[:, spoken, 0])
    torch.testing.assert_close(loud.landmarks[:, spoken, 2], 0.5 * plain.landmarks[:, spoken, 2])
    assert torch.equal(loud.landmarks[:, 17:48], plain.landmarks[:, 17:48])


@pytest.mark.parametrize("keep_jaw", [True, False])
def test_the_jaw_moves_unless_the_demos_still_chin_is_asked_for(tiny_model, keep_jaw):
    motion = tiny_model(keep_jaw=keep_jaw).generate(_features(20), MEAN, rest=REST, seed=0)
    is_still = torch.equal(motion.landmarks[:, JAW], MEAN[JAW].expand(20, -1, -1))
    assert is_still != keep_jaw


def test_blinks_move_the_eyes_alone(tiny_model):
    features = _features(300)
    still, blinking = (
        tiny_model(blink_rate_hz=rate).generate(features, MEAN, rest=REST, seed=0)
        for rate in (0.0, 2.0)
    )
    moved = (still.landmarks != blinking.landmarks).any(dim=2).any(dim=0)
    assert moved.any()
    assert set(torch.nonzero(moved)[:, 0].tolist()) <= set(EYES.tolist())


def test_shoulders_are_off_unless_asked_for_and_follow_the_head(tiny_model):
    features = _features(20)
    off = tiny_model().generate(features, MEAN, rest=REST, seed=0, torso=TORSO)
    on = tiny_model(torso="flow").generate(features, MEAN, rest=REST, seed=0, torso=TORSO)
    assert off.torso is None
    expected = TORSO + 0.5 * (on.pose[:, None, 3:] - REST[3:])
    torch.testing.assert_close(on.torso, expected)


def test_gradients_of_l_mg_reach_every_weight_of_both_networks(tiny_model):
    model = tiny_model().train()
    sway = torch.randn(2, 30, 6)
    prediction = model(torch.randn(2, 60, 6), sway)
    motion_loss(prediction, displacement=torch.randn(2, 30, 68, 3), sway=sway).total.backward()
    for name, value in model.named_parameters():
        assert value.grad is not None, name
        assert torch.isfinite(value.grad).all(), name
        if name.endswith("weight") and value.ndim > 1:
            assert value.grad.abs().sum() > 0, name


def test_an_untrained_generator_shows_nearly_the_mean_face():
    torch.manual_seed(0)
    model = MotionGenerator(MotionSpec(feature_channels=80)).eval()
    said = model.displacements(torch.rand(1, 60, 80))
    assert said.std() < 0.05


def test_saved_weights_speak_the_same(tiny_model, tmp_path):
    model, other = tiny_model(seed=0), tiny_model(seed=1)
    save_model(model, str(tmp_path / "motion.safetensors"))
    load_model(other, tmp_path / "motion.safetensors")
    left, right = (one.generate(_features(20), MEAN, rest=REST, seed=0) for one in (model, other))
    assert torch.equal(left.landmarks, right.landmarks)
    assert torch.equal(left.pose, right.pose)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_half_precision_agrees_with_full_precision(tiny_model):
    model = tiny_model().cuda()
    features, sway = torch.randn(2, 60, 6).cuda(), torch.randn(2, 30, 6).cuda()
    with torch.no_grad():
        full = model(features, sway)
        with torch.autocast("cuda", dtype=torch.float16):
            half = model(features, sway)
    torch.testing.assert_close(half.displacement.float(), full.displacement, atol=0.02, rtol=0.05)
    torch.testing.assert_close(half.pose.mean.float(), full.pose.mean, atol=0.05, rtol=0.05)


def test_the_lead_in_is_heard_by_the_pose_net_alone(tiny_model):
    model = tiny_model()
    features, sway = torch.randn(1, 60, 6), torch.randn(1, 30, 6)
    prediction = model(features, sway, lead_in=10)
    assert prediction.displacement.shape == (1, 20 - 5, 68, 3)
    assert prediction.pose.mean.shape == (1, 30 - 3, 12)
    other = features.clone()
    other[:, :20] = 0
    assert torch.equal(model(other, sway, lead_in=10).displacement, prediction.displacement)
