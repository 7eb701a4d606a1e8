"""Promises of decoding sound: mono float32 of the right length at the wanted rate, or a typed
error."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from visage.errors import MediaError, SpecError
from visage.media.audio import decode_audio, write_wav
from visage.media.limits import AudioLimits

Film = Callable[..., Path]

CONTAINERS = {
    "wav": ("wav", "pcm_s16le"),
    "wav-24": ("wav", "pcm_s24le"),
    "wav-float": ("wav", "pcm_f32le"),
    "mp3": ("mp3", "libmp3lame"),
    "m4a": ("mp4", "aac"),
    "flac": ("flac", "flac"),
    "ogg-opus": ("ogg", "libopus"),
    "webm": ("webm", "libopus"),
}
RATE = 48_000


def _write(path: Path, muxer: str, codec: str, channels: np.ndarray, rate: int = RATE) -> Path:
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(channels)]
    with av.open(str(path), "w", format=muxer) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        for at in range(0, channels.shape[1], 960):
            part = np.ascontiguousarray(channels[:, at : at + 960], np.float32)
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            for piece in resampler.resample(frame):
                out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return path


def _tone(seconds: float, rate: int = RATE, hertz: float = 440.0) -> np.ndarray:
    time_s = np.arange(int(rate * seconds)) / rate
    return (0.4 * np.sin(2 * np.pi * hertz * time_s)).astype(np.float32)


def _chirp(seconds: float) -> np.ndarray:
    time_s = np.arange(int(RATE * seconds)) / RATE
    return (0.4 * np.sin(2 * np.pi * (200 * time_s + 900 * time_s**2))).astype(np.float32)


def _code_of(path: Path, **limits: float) -> str:
    with pytest.raises(MediaError) as caught:
        decode_audio(path, sample_rate=16_000, limits=AudioLimits(**limits))
    return caught.value.code


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("sample_rate", [16_000, 48_000])
def test_every_container_gives_the_sound_in_its_place(
    kind: str, sample_rate: int, tmp_path: Path
) -> None:
    muxer, codec = CONTAINERS[kind]
    truth = _chirp(1.0)
    path = _write(tmp_path / f"sound.{muxer}", muxer, codec, truth[None])
    sound = decode_audio(path, sample_rate=sample_rate)
    assert sound.dtype == np.float32
    assert sound.ndim == 1
    assert len(sound) == pytest.approx(sample_rate, rel=0.03)
    # One second of chirp: any shift of more than a fraction of a millisecond breaks the likeness.
    wanted = truth[:: RATE // sample_rate]
    middle = slice(sample_rate // 5, sample_rate * 4 // 5)
    assert np.corrcoef(sound[middle], wanted[middle])[0, 1] > 0.98


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.234])
def test_aac_in_mp4_has_exactly_the_length_that_went_in(seconds: float, tmp_path: Path) -> None:
    path = _write(tmp_path / "s.m4a", "mp4", "aac", _tone(seconds)[None])
    assert len(decode_audio(path, sample_rate=RATE)) == int(RATE * seconds)


@pytest.mark.parametrize("kind", ["wav", "flac", "m4a"])
def test_the_same_sound_in_stereo_is_as_loud_as_in_mono(kind: str, tmp_path: Path) -> None:
    muxer, codec = CONTAINERS[kind]
    tone = _tone(0.5)
    mono = decode_audio(_write(tmp_path / "m", muxer, codec, tone[None]), sample_rate=RATE)
    both = np.stack([tone, tone])
    stereo = decode_audio(_write(tmp_path / "s", muxer, codec, both), sample_rate=RATE)
    assert stereo.std() == pytest.approx(mono.std(), rel=0.02)


def test_surround_is_averaged_over_its_channels(tmp_path: Path) -> None:
    six = np.zeros((6, RATE // 2), np.float32)
    six[2] = _tone(0.5)
    sound = decode_audio(_write(tmp_path / "s.wav", "wav", "pcm_s16le", six), sample_rate=RATE)
    assert sound.std() == pytest.approx(six[2].std() / 6, rel=0.02)


@pytest.mark.parametrize("source_rate", [8_000, 11_025, 16_000, 44_100, 96_000])
@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 22_050, 48_000])
def test_resampling_keeps_length_and_pitch(
    source_rate: int, sample_rate: int, tmp_path: Path
) -> None:
    path = tmp_path / "s.wav"
    write_wav(path, _tone(1.0, source_rate), source_rate)
    sound = decode_audio(path, sample_rate=sample_rate)
    assert abs(len(sound) - sample_rate) <= 2
    spectrum = np.abs(np.fft.rfft(sound[: sample_rate // 2] * np.hanning(sample_rate // 2)))
    assert abs(int(spectrum.argmax()) * 2 - 440) <= 2


def test_wav_round_trip_is_exact_to_sixteen_bits(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 5000).astype(np.float32)
    write_wav(tmp_path / "s.wav", samples, 16_000)
    back = decode_audio(tmp_path / "s.wav", sample_rate=16_000)
    assert np.abs(back - samples).max() < 1.1 / 32768 * 2


def test_loud_samples_are_clipped_not_wrapped(tmp_path: Path) -> None:
    write_wav(tmp_path / "s.wav", np.array([3.0, -3.0] * 50, np.float32), 16_000)
    back = decode_audio(tmp_path / "s.wav", sample_rate=16_000)
    assert back[0::2].min() > 0.99
    assert back[1::2].max() < -0.99


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(bad: float, tmp_path: Path) -> None:
    samples = np.zeros((1, 4800), np.float32)
    samples[0, 2000] = bad
    path = _write(tmp_path / "s.wav", "wav", "pcm_f32le", samples)
    assert _code_of(path) == "unsupported_format"
    with pytest.raises(SpecError):
        write_wav(tmp_path / "o.wav", samples[0], 16_000)
    assert not (tmp_path / "o.wav").exists()


def test_silence_is_sound(tmp_path: Path) -> None:
    write_wav(tmp_path / "s.wav", np.zeros(800, np.float32), 16_000)
    assert not decode_audio(tmp_path / "s.wav", sample_rate=16_000).any()


def test_a_wav_without_samples_is_empty(tmp_path: Path) -> None:
    write_wav(tmp_path / "s.wav", np.zeros(0, np.float32), 16_000)
    assert _code_of(tmp_path / "s.wav") == "empty"


def test_a_silent_film_has_no_audio(film: Film) -> None:
    assert _code_of(film(count=3)) == "no_audio"


def test_length_and_size_limits_refuse(tmp_path: Path) -> None:
    write_wav(tmp_path / "s.wav", np.zeros(32_000, np.float32), 16_000)
    assert _code_of(tmp_path / "s.wav", max_duration_s=1.9) == "too_large"
    assert _code_of(tmp_path / "s.wav", max_bytes=1000) == "too_large"
    limits = AudioLimits(max_duration_s=2.0)
    assert len(decode_audio(tmp_path / "s.wav", sample_rate=16_000, limits=limits)) == 32_000


def test_a_header_that_lies_about_the_length_does_not_lift_the_limit(tmp_path: Path) -> None:
    path = _write(tmp_path / "s.mp3", "mp3", "libmp3lame", _tone(5.0)[None])
    assert _code_of(path, max_duration_s=2.0) == "too_large"


def test_a_cut_off_wav_is_truncated_but_an_open_ended_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "s.wav"
    write_wav(path, _tone(0.5, 16_000), 16_000)
    body = path.read_bytes()
    path.write_bytes(body[: len(body) // 2])
    assert _code_of(path) == "truncated"
    endless = body[:4] + struct.pack("<I", 0xFFFFFFFF) + body[8:40] + b"\xff" * 4 + body[44:]
    path.write_bytes(endless)
    assert len(decode_audio(path, sample_rate=16_000)) == 8_000


@pytest.mark.parametrize("body", [b"", b"#EXTM3U\nhttp://127.0.0.1:9/\n", b"MThd\0\0\0\6", b"text"])
def test_what_is_no_sound_is_refused(body: bytes, tmp_path: Path) -> None:
    (tmp_path / "s.wav").write_bytes(body)
    assert _code_of(tmp_path / "s.wav") == ("empty" if not body else "unsupported_format")


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    assert _code_of(tmp_path / "none.wav") == "not_found"


@pytest.mark.parametrize("rate", [0, -1, 10**7])
def test_a_rate_out_of_range_is_a_wrong_argument(rate: int, tmp_path: Path) -> None:
    with pytest.raises(SpecError):
        decode_audio(tmp_path / "none.wav", sample_rate=rate)


@pytest.mark.media
@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("talking_video/VoxCeleb2_00002.mp4", 5.04),
        ("talking_video/HDTF_RD_Radio34_000.mp4", 8.0),
        ("emotion_audio/RAVDESS_03-01-01-01-01-01-01.wav", 3.30),
        ("singing/Sonic_sing_female_rap_10s.mp3", 10.0),
    ],
)
def test_real_recordings_have_their_length_and_are_not_silent(
    name: str, seconds: float, media_dir: Path
) -> None:
    sound = decode_audio(media_dir / name, sample_rate=16_000)
    assert len(sound) / 16_000 == pytest.approx(seconds, abs=0.1)
    assert 0.002 < sound.std() < 0.5
