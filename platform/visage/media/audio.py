"""Sound: any accepted container to mono float32 at the wanted rate, and WAV out.

Channels are averaged, so the same sound in mono and in stereo gives the same samples. What the
encoder added in front and at the end is cut where the container says how much it is.
"""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from visage.errors import MediaError, SpecError
from visage.media.container import MediaFile, decode_errors, open_container
from visage.media.limits import AudioLimits

__all__ = ["SILENT", "Samples", "decode_audio", "write_wav"]

Samples = NDArray[np.float32]
"""Mono sound in [-1, 1], shape (N,); a float recording may go beyond."""
SILENT = 10 ** (-60 / 20)
"""A peak below which there is nothing to hear: 60 dB below full scale."""

_RATES_HZ = (1_000, 384_000)
_CODECS = ("aac", "mp3", "mp2", "ac3", "eac3", "flac", "vorbis", "opus", "alac")


def decode_audio(
    path: MediaFile,
    *,
    sample_rate: int,
    limits: AudioLimits | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Samples:
    """The sound of a WAV, MP3, M4A, FLAC or Ogg file, or of a clip, as mono float32.

    Args:
        path: The file; of several sound tracks the first one is read.
        sample_rate: Samples a second of the result.
        limits: Bounds; the defaults of AudioLimits if not given.
        start: First sample wanted. All before it is decoded too, and dropped: seeking in
            compressed sound is not exact.
        stop: Sample after the last wanted; None means to the end. Nothing (0,) comes back for a
            span that lies beyond the end, if it does not begin at 0.

    Raises:
        MediaError: `not_found`, `unsupported_format` (also NaN or infinity), `too_large`,
            `truncated`, `no_audio` without a sound track, `empty` without samples.
        SpecError: the rate is out of range.
    """
    low, high = _RATES_HZ
    if not low <= sample_rate <= high:
        raise SpecError(f"sample_rate {sample_rate}: give {low} to {high} samples a second")
    if start < 0 or (stop is not None and stop <= start):
        raise SpecError(f"samples {start} to {stop}: start at 0 or later and stop after the start")
    bounds = limits if limits is not None else AudioLimits()
    with open_container(path, max_bytes=bounds.max_bytes) as container:
        stream = _audio_stream(path, container, bounds)
        length = _stated_length(container, stream, sample_rate)
        end = min((bound for bound in (length, stop) if bound is not None), default=None)
        with decode_errors(path):
            decoded = _resampled(path, container, stream, sample_rate, bounds)
            chunks = list(_within(decoded, start, end))
    samples = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    if not samples.size and not start:
        raise MediaError("empty", f"{path}: the sound has no samples")
    if not np.isfinite(samples).all():
        raise MediaError("unsupported_format", f"{path}: the sound holds NaN or infinite samples")
    return samples


def write_wav(path: Path, samples: Samples, sample_rate: int) -> None:
    """Write mono sound as 16-bit WAV; samples beyond [-1, 1] are clipped.

    Raises SpecError if the samples are not finite or not of shape (N,).
    """
    if samples.ndim != 1 or not np.isfinite(samples).all():
        raise SpecError(f"{path}: give finite mono samples of shape (N,), not {samples.shape}")
    whole = np.round(np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2")
    partial = path.with_name(f".{path.name}.part")
    try:
        with wave.open(str(partial), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(sample_rate)
            out.writeframes(whole.tobytes())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _audio_stream(path: MediaFile, container: InputContainer, limits: AudioLimits) -> AudioStream:
    if not container.streams.audio:
        raise MediaError("no_audio", f"{path}: the file holds no sound")
    stream = container.streams.audio[0]
    name = "unknown" if stream.codec_context is None else stream.codec.canonical_name
    if name not in _CODECS and not name.startswith("pcm_"):
        raise MediaError("unsupported_format", f"{path}: sound codec {name} is not accepted")
    duration_s = 0.0
    if stream.duration is not None and stream.time_base is not None:
        duration_s = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        duration_s = container.duration / av.time_base
    if duration_s > limits.max_duration_s:
        raise _too_long(path, limits)
    return stream


def _resampled(
    path: MediaFile,
    container: InputContainer,
    stream: AudioStream,
    sample_rate: int,
    limits: AudioLimits,
) -> Iterator[Samples]:
    """Mono chunks at the wanted rate, counted against the limit while they come."""
    resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=sample_rate)
    room = int(limits.max_duration_s * sample_rate) + sample_rate
    for frame in container.decode(stream):
        frame.pts = None  # gaps in the timestamps must not become silence or errors
        for part in _checked(path, resampler, frame):
            room -= len(part)
            if room < 0:
                raise _too_long(path, limits)
            yield part
    yield from _checked(path, resampler, None)


def _within(chunks: Iterator[Samples], start: int, stop: int | None) -> Iterator[Samples]:
    """What lies between two samples of chunks that follow each other; ends early where it can."""
    at = 0
    for chunk in chunks:
        if stop is not None and at >= stop:
            return
        first, last = max(0, start - at), len(chunk) if stop is None else min(len(chunk), stop - at)
        at += len(chunk)
        if first < last:
            yield chunk[first:last]


def _checked(
    path: MediaFile, resampler: av.AudioResampler, frame: AudioFrame | None
) -> Iterator[Samples]:
    try:
        parts = resampler.resample(frame)
    except ValueError as err:
        raise MediaError(
            "unsupported_format", f"{path}: the sound changes its format midway: {err}"
        ) from None
    for part in parts:
        # (channels, samples) -> (samples,)
        yield part.to_ndarray().mean(axis=0, dtype=np.float32)


def _stated_length(container: InputContainer, stream: AudioStream, sample_rate: int) -> int | None:
    """Samples that the track claims; only MP4 tells it without the encoder's padding."""
    if container.format.name != "mov" or not stream.duration or stream.time_base is None:
        return None
    return round(stream.duration * stream.time_base * sample_rate)


def _too_long(path: MediaFile, limits: AudioLimits) -> MediaError:
    return MediaError(
        "too_large", f"{path}: sound longer than {limits.max_duration_s:.1f} s is not accepted"
    )
