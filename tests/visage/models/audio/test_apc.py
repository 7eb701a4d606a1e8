"""Promises of the audio encoder: published size, cut anywhere, taught by what comes next."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from visage.errors import SpecError
from visage.models import count_parameters
from visage.models.audio.apc import (
    ApcModel,
    AudioEncoder,
    FeatureStream,
    copy_error,
    encode_recording,
    load_published_encoder,
    prediction_error,
)
from visage.specs.audio import AudioEncoderSpec

SMALL = AudioEncoderSpec(width=24)


def _encoder(spec: AudioEncoderSpec = SMALL, seed: int = 0) -> AudioEncoder:
    torch.manual_seed(seed)
    return AudioEncoder(spec).eval()


def _mel(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, 80, generator=torch.Generator().manual_seed(seed))


def test_the_published_size_has_the_published_parameters_and_operations():
    with torch.device("meta"):
        model = ApcModel(AudioEncoderSpec())
        mel = torch.zeros(1, 4, 80)
    assert count_parameters(model.encoder) == 4_064_256
    assert count_parameters(model) - count_parameters(model.encoder) == 41_040
    with FlopCounterMode(display=False) as counter:
        model.encoder(mel)
    assert counter.get_total_flops() / 4 == pytest.approx(8.1e6, rel=0.01)


def test_features_come_at_the_rate_of_the_mel_frames_with_the_state_after_them():
    features, state = _encoder()(_mel(2, 50))
    assert features.shape == (2, 50, 24)
    assert state.shape == (3, 2, 24)
    assert torch.equal(features[:, -1], state[-1])


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 40), max_size=8), residual=st.booleans())
def test_a_recording_may_be_cut_anywhere(cuts, residual):
    encoder, mel = _encoder(AudioEncoderSpec(width=24, residual=residual)), _mel(120)
    stream, made, at = FeatureStream(encoder), [], 0
    for cut in cuts:
        made.append(stream.push(mel[at : at + cut]))
        at += cut
    made.append(stream.push(mel[at:]))
    with torch.no_grad():
        whole = encoder(mel[None])[0][0]
    assert torch.allclose(torch.cat(made), whole, atol=1e-5, rtol=0)


def test_at_full_width_too_pieces_give_what_the_whole_gives():
    encoder, mel = _encoder(AudioEncoderSpec()), _mel(300)
    with torch.no_grad():
        whole = encoder(mel[None])[0][0]
    for chunk in (7, 64):
        made = encode_recording(encoder, mel, chunk_frames=chunk)
        assert torch.allclose(made, whole, atol=1e-5, rtol=0)


def test_a_stream_carries_one_state_of_fixed_size_and_nothing_else():
    stream, sizes = FeatureStream(_encoder()), set()
    for seed in range(20):
        features = stream.push(_mel(60, seed=seed))
        assert not features.requires_grad
        state = stream._state
        assert state is not None
        assert state.grad_fn is None
        sizes.add(state.untyped_storage().nbytes())
    assert sizes == {3 * 24 * 4}


def test_no_feature_hears_the_future():
    encoder, mel = _encoder(), _mel(1, 60)
    changed = mel.clone()
    changed[:, 40:] += 1
    with torch.no_grad():
        before, after = encoder(mel)[0], encoder(changed)[0]
    assert torch.equal(before[:, :40], after[:, :40])
    assert not torch.allclose(before[:, 40], after[:, 40])


def test_recordings_of_a_batch_do_not_hear_each_other():
    encoder, mel = _encoder(), _mel(3, 40)
    with torch.no_grad():
        together = encoder(mel)[0]
        assert torch.allclose(together[1:2], encoder(mel[1:2])[0], atol=1e-6)


def test_residual_connections_add_where_widths_agree_and_not_to_the_last_layer():
    plain = _encoder(AudioEncoderSpec(width=24))
    residual = _encoder(AudioEncoderSpec(width=24, residual=True))
    mel = _mel(1, 20)
    with torch.no_grad():
        first = plain.rnns[0](mel)[0]
        second = plain.rnns[1](first)[0]
        by_hand = plain.rnns[2](first + second)[0]
        assert torch.allclose(residual(mel)[0], by_hand, atol=1e-6)
        assert torch.allclose(plain(mel)[0], plain.rnns[2](second)[0], atol=1e-6)


def test_dropout_works_in_training_only():
    encoder, mel = _encoder(AudioEncoderSpec(width=24, dropout=0.5)), _mel(1, 20)
    with torch.no_grad():
        assert torch.equal(encoder(mel)[0], encoder(mel)[0])
        encoder.train()
        assert not torch.equal(encoder(mel)[0], encoder(mel)[0])


def test_prediction_t_is_compared_with_frame_t_plus_n():
    mel = _mel(2, 30)
    right = torch.cat([mel[:, 3:], torch.full((2, 3, 80), 99.0)], dim=1)
    valid = torch.tensor([30, 30])
    assert prediction_error(right, mel, valid, 3).tolist() == [0, 0]
    assert (prediction_error(right, mel, valid, 2) > 0.1).all()


def test_padding_does_not_count_and_every_recording_counts_the_same():
    mel = _mel(3, 30)
    predicted = _mel(3, 30, seed=1)
    valid = torch.tensor([30, 17, 4])
    errors = prediction_error(predicted, mel, valid, 3)
    for row, frames in enumerate(valid.tolist()):
        by_hand = F.l1_loss(predicted[row, : frames - 3], mel[row, 3:frames])
        assert errors[row] == pytest.approx(by_hand.item(), rel=1e-5)
    mel[1, 17:], predicted[1, 14:] = 7, -7
    assert torch.equal(prediction_error(predicted, mel, valid, 3)[1], errors[1])


@pytest.mark.parametrize("valid", [0, 1, 3])
def test_a_recording_too_short_to_predict_costs_nothing(valid):
    mel = _mel(1, 30).requires_grad_()
    error = prediction_error(mel * 2, mel, torch.tensor([valid]), 3)
    error.sum().backward()
    assert error.tolist() == [0.0]
    assert not mel.grad.any()


def test_copying_is_perfect_for_a_steady_sound_only():
    steady = _mel(1, 1).expand(1, 30, 80)
    assert copy_error(steady, torch.tensor([30]), 3).item() == 0
    assert copy_error(_mel(1, 30), torch.tensor([30]), 3).item() > 0.2


def test_gradients_reach_every_weight_of_encoder_and_post_net():
    torch.manual_seed(0)
    model, mel = ApcModel(SMALL), _mel(2, 30)
    prediction_error(model(mel), mel, torch.tensor([30, 20]), 3).mean().backward()
    for name, value in model.named_parameters():
        assert value.grad is not None, name
        assert value.grad.abs().sum() > 0, name


def test_weights_in_the_published_names_fill_the_encoder_with_or_without_a_post_net():
    donor, encoder = _encoder(seed=1), _encoder(seed=0)
    weights = {f"module.{name}": value for name, value in donor.state_dict().items()}
    assert "module.rnns.2.weight_hh_l0" in weights
    load_published_encoder(encoder, {**weights, "module.postnet.layers.0.bias": torch.zeros(80)})
    mel = _mel(1, 20)
    with torch.no_grad():
        assert torch.equal(encoder(mel)[0], donor(mel)[0])


def test_weights_of_another_network_are_refused_by_name():
    state = dict(_encoder().state_dict())
    lacking = {name: value for name, value in state.items() if name != "rnns.1.bias_ih_l0"}
    with pytest.raises(SpecError, match=r"lack rnns\.1\.bias_ih_l0"):
        load_published_encoder(_encoder(), lacking)
    with pytest.raises(SpecError, match="unknown prenet"):
        load_published_encoder(_encoder(), {**state, "prenet.weight": torch.zeros(1)})
    with pytest.raises(SpecError, match="differ in"):
        load_published_encoder(_encoder(AudioEncoderSpec(width=32)), state)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("chunk", [7, 64])
def test_fp16_on_the_gpu_is_close_to_fp32_in_value_and_gradient(chunk):
    torch.manual_seed(0)
    model, mel = ApcModel(AudioEncoderSpec(dropout=0.0)).cuda(), _mel(4, 120).cuda()
    valid = torch.tensor([120, 90, 60, 30], device="cuda")
    exact = prediction_error(model(mel), mel, valid, 3)
    with torch.autocast("cuda", dtype=torch.float16):
        half = prediction_error(model(mel), mel, valid, 3)
    assert half.dtype == torch.float32
    assert torch.allclose(half, exact, atol=2e-3)
    torch.amp.GradScaler("cuda").scale(half.mean()).backward()
    assert all(torch.isfinite(one.grad).all() for one in model.parameters())
    with torch.no_grad():
        whole = model.encoder(mel[:1])[0][0]
    made = encode_recording(model.encoder, mel[0], chunk_frames=chunk)
    assert torch.allclose(made, whole, atol=1e-4)
