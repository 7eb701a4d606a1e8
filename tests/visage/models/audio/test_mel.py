"""Promises of the mel front end: the published frames, two a video frame, wherever they are cut."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visage.errors import MediaError, SpecError
from visage.models.audio.mel import (
    MelStream,
    frame_count,
    frame_starts,
    log_mel,
    mel_at,
    sample_count,
)
from visage.seeds import rng_of
from visage.specs.audio import AudioFrontSpec

SPEC = AudioFrontSpec()
PLAIN = AudioFrontSpec(taper="plain")
RATE = SPEC.sample_rate


def _voice(seconds: float, *, name: str = "voice", rate: int = RATE) -> np.ndarray:
    """A buzz with a gliding pitch, quiet noise, and a pause."""
    time_s = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (110 * time_s + 15 * time_s**2)
    buzz = sum(np.sin(k * phase) / k for k in range(1, 20)) * (np.sin(9 * time_s) > -0.6)
    noise = rng_of("mel", name).standard_normal(len(time_s))
    return (0.2 * buzz + 0.003 * noise).astype(np.float32)


@lru_cache
def _slaney_bank(spec: AudioFrontSpec) -> np.ndarray:
    """Triangles on Slaney's scale, of equal area, written out band by band: (mels, fft / 2 + 1)."""

    def to_mel(hertz: float) -> float:
        return hertz * 3 / 200 if hertz < 1000 else 15 + np.log(hertz / 1000) * 27 / np.log(6.4)

    def to_hertz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * np.exp((mel - 15) * np.log(6.4) / 27)

    edges = [
        to_hertz(mel)
        for mel in np.linspace(to_mel(spec.low_hz), to_mel(spec.high_hz), spec.mels + 2)
    ]
    bank = np.zeros((spec.mels, spec.fft // 2 + 1))
    for band in range(spec.mels):
        low, middle, high = edges[band : band + 3]
        for bin_ in range(spec.fft // 2 + 1):
            hertz = bin_ * spec.sample_rate / spec.fft
            rise, fall = (hertz - low) / (middle - low), (high - hertz) / (high - middle)
            bank[band, bin_] = max(0.0, min(rise, fall)) * 2 / (high - low)
    return bank


def _frame_by_the_book(samples: np.ndarray, index: int, spec: AudioFrontSpec) -> np.ndarray:
    """One frame as the released code makes it: cut a clip, mirror its ends, one transform."""
    start = int(index * spec.sample_rate / (2 * spec.fps))
    clip = np.zeros(266)
    heard = samples[start : start + 266]
    clip[: len(heard)] = heard
    if spec.taper == "mirrored":
        padded = np.pad(clip, (512 - 133) // 2, mode="reflect")
        assert len(padded) == 644  # room for one transform of 512 and no second one
        window = np.zeros(512)
        window[123:389] = torch.hann_window(266, dtype=torch.float64).numpy()
        cut = padded[:512] * window
    else:
        cut = clip * torch.hann_window(266, dtype=torch.float64).numpy()
    magnitude = np.abs(np.fft.rfft(cut, 512))
    logs = np.log(np.maximum(_slaney_bank(spec) @ magnitude, 1e-5))
    return (logs - np.log(1e-5)) / -np.log(1e-5)


@pytest.mark.parametrize("spec", [SPEC, PLAIN], ids=["mirrored", "plain"])
def test_every_frame_is_the_published_one(spec):
    samples = _voice(0.5)
    made = log_mel(samples, spec)
    assert made.shape == (60, 80)
    assert made.dtype == np.float32
    for index in range(60):
        # torchaudio computes its bank in float32
        assert np.allclose(made[index], _frame_by_the_book(samples, index, spec), atol=1e-4)


def test_the_two_tapers_hear_different_things():
    assert np.abs(log_mel(_voice(0.5), SPEC) - log_mel(_voice(0.5), PLAIN)).max() > 0.05


def test_there_are_exactly_two_frames_for_every_video_frame_and_no_drift_in_an_hour():
    hour = 3600 * RATE
    assert frame_count(hour, SPEC) == 432_000
    starts = frame_starts(0, 432_001, SPEC)
    assert starts[-1] == hour
    exact = np.arange(432_001) * 400 / 3
    assert (exact - starts).min() >= 0
    assert (exact - starts).max() < 1


def test_at_the_far_end_of_an_hour_the_frames_are_those_of_the_last_second_alone():
    hour = np.zeros(3600 * RATE, np.float32)  # untouched pages take no memory
    hour[-RATE:] = _voice(1.0)
    far = mel_at(hour, frame_starts(431_880, 432_000, SPEC), SPEC)
    assert np.array_equal(far, log_mel(hour[-RATE:], SPEC))


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(0, 4000),
    cuts=st.lists(st.integers(0, 900), max_size=12),
    plain=st.booleans(),
)
def test_a_stream_gives_the_frames_of_the_whole_however_it_is_cut(length, cuts, plain):
    spec = PLAIN if plain else SPEC
    samples = _voice(0.25)[:length]
    stream, made, at = MelStream(spec), [], 0
    for cut in cuts:
        made.append(stream.push(samples[at : at + cut]))
        at += cut
    made += [stream.push(samples[at:]), stream.finish()]
    whole = log_mel(samples, spec)
    assert sum(map(len, made)) == len(whole) == frame_count(len(samples), spec)
    assert np.allclose(np.concatenate(made), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [1, 133, 266, 267, 400, 3200])
def test_a_stream_of_equal_pieces_gives_the_frames_of_the_whole(size):
    samples = _voice(0.2)
    stream = MelStream(SPEC)
    made = [stream.push(samples[at : at + size]) for at in range(0, len(samples), size)]
    made.append(stream.finish())
    assert np.allclose(np.concatenate(made), log_mel(samples, SPEC), atol=1e-6, rtol=0)


def test_a_stream_gives_a_frame_4_ms_after_its_video_frame_and_no_later():
    samples = _voice(0.2)
    stream = MelStream(SPEC)
    assert len(stream.push(samples[:332])) == 1
    assert len(stream.push(samples[332:333])) == 1  # 67 samples after the frame's end at 266.7


def test_a_stream_holds_less_than_two_windows_of_sound_however_long_it_runs():
    stream = MelStream(SPEC)
    piece = _voice(1.0)
    for second in range(1, 61):
        stream.push(piece)
        assert len(stream._held) < 2 * SPEC.window_samples
        assert stream._held.base is None  # no view that keeps a piece alive
        assert abs(stream.frames - 120 * second) <= 2


def test_a_minute_of_stream_has_not_drifted_by_a_single_sample():
    stream = MelStream(SPEC)
    quiet = np.zeros(RATE // 2, np.float32)
    for _ in range(118):
        stream.push(quiet)
    last = np.concatenate([stream.push(_voice(1.0)), stream.finish()])
    assert np.allclose(last[-120:], log_mel(_voice(1.0), SPEC), atol=1e-6, rtol=0)


def test_a_batch_is_its_recordings_one_by_one():
    batch = np.stack([_voice(0.3, name=str(k)) for k in range(6)]).reshape(2, 3, -1)
    made = log_mel(batch, SPEC)
    assert made.shape == (2, 3, 36, 80)
    for row in range(2):
        for column in range(3):
            assert np.array_equal(made[row, column], log_mel(batch[row, column], SPEC))


def test_long_recordings_are_transformed_block_by_block(monkeypatch):
    samples = _voice(1.0)
    whole = log_mel(samples, SPEC)
    monkeypatch.setattr("visage.models.audio.mel.BLOCK", 7)
    assert np.allclose(log_mel(samples, SPEC), whole, atol=1e-6, rtol=0)


def test_silence_is_zero_and_full_scale_is_about_one():
    assert not log_mel(np.zeros(RATE, np.float32), SPEC).any()
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    assert 0.9 < log_mel(tone, SPEC).max() < 1.3


@pytest.mark.parametrize("samples", [0, 1, 266])
def test_sound_shorter_than_a_video_frame_has_no_mel_frames(samples):
    assert log_mel(_voice(0.1)[:samples], SPEC).shape == (0, 80)


def test_a_tenth_of_a_second_has_twelve_frames_and_its_last_one_hears_silence_beyond_the_end():
    samples = _voice(0.1)
    made = log_mel(samples, SPEC)
    assert made.shape == (12, 80)
    padded = np.concatenate([samples, np.zeros(500, np.float32)])
    assert np.array_equal(made, log_mel(padded, SPEC, video_frames=6))


@pytest.mark.parametrize("frames", [1, 2, 3, 59, 60, 61, 215_999])
def test_the_fewest_samples_of_so_many_video_frames_hold_that_many_and_one_less_does_not(frames):
    samples = sample_count(frames, SPEC)
    assert frame_count(samples, SPEC) == 2 * frames
    assert frame_count(samples - 1, SPEC) == 2 * frames - 2


def test_a_stated_number_of_video_frames_beats_the_length_of_the_sound():
    samples = _voice(0.5)
    assert np.array_equal(log_mel(samples, SPEC, video_frames=10), log_mel(samples, SPEC)[:20])
    longer = log_mel(samples, SPEC, video_frames=40)
    assert longer.shape == (80, 80)
    assert not longer[62:].any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_sound_that_is_not_finite_is_refused_by_code_and_the_stream_goes_on_without_it(value):
    samples = _voice(0.1)
    broken = samples.copy()
    broken[700] = value
    stream = MelStream(SPEC)
    for refused in (lambda: log_mel(broken, SPEC), lambda: stream.push(broken)):
        with pytest.raises(MediaError) as caught:
            refused()
        assert caught.value.code == "unsupported_format"
    with pytest.raises(MediaError):
        mel_at(broken, np.array([600]), SPEC)
    made = np.concatenate([stream.push(samples), stream.finish()])
    assert np.allclose(made, log_mel(samples, SPEC), atol=1e-6)


def test_integers_and_finished_streams_are_refused_with_the_remedy():
    with pytest.raises(SpecError, match="32768"):
        log_mel(np.zeros(1000, np.int16), SPEC)
    with pytest.raises(SpecError, match="shape"):
        mel_at(np.zeros((2, 1000), np.float32), np.array([0]), SPEC)
    stream = MelStream(SPEC)
    with pytest.raises(SpecError, match="shape"):
        stream.push(np.zeros((1, 1000), np.float32))
    stream.finish()
    with pytest.raises(SpecError, match="finished"):
        stream.push(np.zeros(10, np.float32))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"fft": 128}, "fit into fft"),
        ({"high_hz": 9000.0}, "sample_rate / 2"),
        ({"low_hz": 7600.0}, "low_hz < high_hz"),
        ({"taper": "other"}, "taper"),
    ],
)
def test_a_front_end_that_makes_no_sense_is_refused(values, reason):
    with pytest.raises(SpecError, match=reason):
        AudioFrontSpec.parse(values)


def test_other_rates_are_as_free_of_drift():
    spec = AudioFrontSpec(sample_rate=22_050, fps=50, fft=1024, high_hz=8000.0)
    samples = _voice(0.5, rate=22_050)
    assert log_mel(samples, spec).shape == (50, 80)
    stream = MelStream(spec)
    made = [stream.push(samples[at : at + 311]) for at in range(0, len(samples), 311)]
    whole = log_mel(samples, spec)
    assert np.allclose(np.concatenate([*made, stream.finish()]), whole, atol=1e-6)
