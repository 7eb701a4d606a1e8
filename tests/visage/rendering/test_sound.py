"""Promises of sound: any accepted file, in two tracks, flat in memory; the rest is refused."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from visage.errors import MediaError, StoreError
from visage.media.audio import decode_audio
from visage.media.sandbox import MediaSandbox, pool
from visage.rendering.sound import HEARD_HZ, TRACK_HZ, Sound, open_sound


@pytest.fixture(scope="module")
def sandbox() -> Iterator[MediaSandbox]:
    with MediaSandbox() as one:
        yield one


def _tone(seconds: float, rate: int, *, level: float = 0.5, channels: int = 1) -> np.ndarray:
    times = np.arange(round(seconds * rate)) / rate
    one = level * np.sin(2 * np.pi * 220 * times)
    return np.repeat(one[:, None], channels, axis=1)


def _write(path: Path, samples: np.ndarray, rate: int) -> Path:
    with wave.open(str(path), "wb") as out:
        out.setparams((samples.shape[1], 2, rate, 0, "NONE", ""))
        out.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return path


def _open(path: Path, sandbox: MediaSandbox, folder: Path, **changes: float) -> Sound:
    return open_sound(path, sandbox, folder, **{"shortest_s": 0.3, "longest_s": 60.0, **changes})


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_rate_and_any_channels_become_two_mono_tracks_of_the_same_length(
    rate, channels, sandbox, tmp_path
):
    path = _write(tmp_path / "x.wav", _tone(1.25, rate, channels=channels), rate)
    sound = _open(path, sandbox, tmp_path)
    assert len(sound.heard) == pytest.approx(1.25 * HEARD_HZ, abs=40)
    assert len(sound.track) == pytest.approx(1.25 * TRACK_HZ, abs=120)
    assert sound.duration_s == pytest.approx(1.25, abs=0.003)
    assert sound.peak == pytest.approx(0.5, abs=0.05)
    assert not sound.is_silent


@pytest.mark.parametrize("suffix", ["mp3", "m4a", "flac", "ogg"])
def test_compressed_files_are_heard_too(suffix, sandbox, tmp_path):
    path = tmp_path / f"x.{suffix}"
    codec = {"mp3": "libmp3lame", "m4a": "aac", "flac": "flac", "ogg": "libopus"}[suffix]
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=48_000, layout="mono")
        whole = np.round(_tone(1.0, 48_000)[:, 0] * 32767).astype("<i2")
        frame = av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
        frame.sample_rate = 48_000
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=48_000,
                                      frame_size=stream.frame_size or 1024)  # fmt: skip
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    assert _open(path, sandbox, tmp_path).duration_s == pytest.approx(1.0, abs=0.06)


def test_a_tenth_of_a_second_is_too_short_and_says_what_is_needed(sandbox, tmp_path):
    path = _write(tmp_path / "x.wav", _tone(0.1, 16_000), 16_000)
    with pytest.raises(MediaError, match=r"0\.10 s of sound; at least 0\.3 s") as caught:
        _open(path, sandbox, tmp_path)
    assert caught.value.code == "too_short"


def test_three_hours_are_refused_from_the_header(sandbox, tmp_path):
    path = tmp_path / "x.wav"
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 1, 1_000, 0, "NONE", ""))
        out.writeframes(bytes(3 * 3600 * 1_000))
    with pytest.raises(MediaError, match="longer than 3600") as caught:
        _open(path, sandbox, tmp_path, longest_s=3600.0)
    assert caught.value.code == "too_large"
    assert list(tmp_path.iterdir()) == [path]


def test_no_file_with_a_voice_is_ever_seen(sandbox, tmp_path):
    path = _write(tmp_path / "x.wav", _tone(1.0, 16_000), 16_000)
    sound = _open(path, sandbox, tmp_path)
    assert list(tmp_path.iterdir()) == [path]  # and so nothing is left, however the process ends
    assert isinstance(sound.track, np.memmap)
    assert np.abs(sound.track).max() > 0.1


def test_a_disk_without_room_for_the_sound_is_told(sandbox, tmp_path):
    path = _write(tmp_path / "x.wav", _tone(1.0, 16_000), 16_000)
    with pytest.raises(StoreError, match="TMPDIR"):
        _open(path, sandbox, tmp_path / "none")


def test_numbers_that_are_none_are_refused(sandbox, tmp_path):
    path = tmp_path / "x.wav"
    samples = _tone(1.0, 16_000)[:, 0].astype("<f4")
    samples[500] = np.nan
    body = samples.tobytes()
    head = (
        b"RIFF" + (36 + len(body)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    )
    head += (3).to_bytes(2, "little") + (1).to_bytes(2, "little") + (16_000).to_bytes(4, "little")
    head += (64_000).to_bytes(4, "little") + (4).to_bytes(2, "little") + (32).to_bytes(2, "little")
    path.write_bytes(head + b"data" + len(body).to_bytes(4, "little") + body)
    with pytest.raises(MediaError, match="NaN") as caught:
        _open(path, sandbox, tmp_path)
    assert caught.value.code == "unsupported_format"


def test_silence_is_taken_and_known(sandbox, tmp_path):
    path = _write(tmp_path / "x.wav", _tone(1.0, 16_000, level=0.0), 16_000)
    assert _open(path, sandbox, tmp_path).is_silent


@pytest.mark.parametrize("run", [1_000, 7_777, 16_000, 10**6])
def test_sound_that_comes_in_runs_is_the_sound_as_a_whole(run, sandbox, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "RUN_SAMPLES", run)
    path = _write(tmp_path / "x.wav", _tone(1.0, 44_100), 44_100)
    runs = list(sandbox.iter_audio(path, sample_rate=16_000))
    assert all(len(one) == run for one in runs[:-1])
    np.testing.assert_array_equal(np.concatenate(runs), decode_audio(path, sample_rate=16_000))


@pytest.mark.parametrize("span", [(0, 10), (5, 6), (100, None), (15_990, 99_999)])
def test_a_span_of_the_sound_is_that_span(span, tmp_path):
    path = _write(tmp_path / "x.wav", _tone(1.0, 16_000), 16_000)
    start, stop = span
    whole = decode_audio(path, sample_rate=16_000)
    found = decode_audio(path, sample_rate=16_000, start=start, stop=stop)
    np.testing.assert_array_equal(found, whole[start:stop])
    assert not decode_audio(path, sample_rate=16_000, start=20_000).size


def test_pieces_are_the_whole_with_its_gain():
    quiet = np.linspace(-0.02, 0.02, 1000, dtype=np.float32)
    sound = Sound(heard=quiet, track=np.repeat(quiet, 3), peak=0.02)
    joined = np.concatenate(list(sound.pieces(0.013)))
    np.testing.assert_allclose(joined, quiet * 45.0, rtol=1e-5)
