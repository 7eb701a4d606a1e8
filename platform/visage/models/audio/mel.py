"""Log-mel frames at exactly two a video frame, of whole recordings and of streams.

Frame i hears a window that starts at sample floor(i * rate / (2 fps)), which is computed anew for
every frame: nothing is added up, so nothing drifts, over an hour or over a year. (A short-time
Fourier transform with the hop rounded to 133 samples would be 150 ms late after a minute.)

The edges, once and for all:

- S samples have floor(S * fps / rate) whole video frames, and twice as many mel frames; what is
  left over at the end is not heard. Less than one video frame of sound has no frames.
- A window that reaches beyond the end (the last one or two do) hears zeros there.
- Nothing is padded in front: frame 0 starts with sample 0.
- Silence gives exactly 0.0; a full-scale tone goes a little beyond 1.

Everything is computed in float64 and rounded to float32 at the end, so the way in which a recording
is cut into pieces shows in the last bit at most. Source: models.md A.1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from visage.errors import MediaError, SpecError
from visage.models.audio_backend import load_torchaudio
from visage.specs.audio import AudioFrontSpec

__all__ = ["MelStream", "frame_count", "frame_starts", "log_mel", "mel_at", "sample_count"]

Floats = NDArray[np.float32]
Samples = NDArray[np.floating[Any]]
BLOCK = 2048
"""Windows transformed at a time, which bounds the memory."""


def frame_count(samples: int, spec: AudioFrontSpec) -> int:
    """Mel frames of so many samples: two for every whole video frame."""
    return 2 * (samples * spec.fps // spec.sample_rate)


def sample_count(video_frames: int, spec: AudioFrontSpec) -> int:
    """The fewest samples that hold so many whole video frames."""
    return -(-video_frames * spec.sample_rate // spec.fps)


def frame_starts(first: int, stop: int, spec: AudioFrontSpec) -> NDArray[np.int64]:
    """Where the windows of mel frames first … stop-1 start, in samples."""
    frames = np.arange(first, stop, dtype=np.int64)
    return frames * spec.sample_rate // (2 * spec.fps)


def log_mel(samples: Samples, spec: AudioFrontSpec, *, video_frames: int | None = None) -> Floats:
    """The mel frames of whole recordings.

    Args:
        samples: Mono sound in [-1, 1], shape (…, S): one recording, or a batch of equal length.
        spec: The front end.
        video_frames: How many video frames the sound belongs to, where that is known better than
            from its length; missing sound is silence.

    Returns:
        Shape (…, 2 * video frames, mels), normalised to about [0, 1].

    Raises:
        MediaError: `unsupported_format`: the sound holds NaN or infinity.
        SpecError: integers, or no axis of samples.
    """
    _check(samples)
    count = frame_count(samples.shape[-1], spec) if video_frames is None else 2 * video_frames
    starts = frame_starts(0, count, spec)
    made = np.empty((*samples.shape[:-1], count, spec.mels), np.float32)
    for index in np.ndindex(samples.shape[:-1]):
        made[index] = _mel_at(samples[index], starts, spec)
    return made


def mel_at(samples: Samples, starts: NDArray[np.int64], spec: AudioFrontSpec) -> Floats:
    """Mel frames (N, mels) of the windows that start at given samples of a recording (S,).

    Beyond its ends the recording is silent. Raises as `log_mel`, but looks only at what it hears.
    """
    if samples.ndim != 1:
        raise SpecError(f"mel_at: give one recording of shape (S,), not {samples.shape}")
    _check_kind(samples)
    return _mel_at(samples, starts, spec)


class MelStream:
    """Mel frames of sound that arrives in pieces of any size; equal to `log_mel` of the whole.

    A frame is given as soon as its window is full and the video frame it belongs to is whole: with
    the default spec 67 samples (4 ms) after the end of the video frame. Between calls the stream
    holds less sound than two windows, however long it runs.
    """

    def __init__(self, spec: AudioFrontSpec) -> None:
        self._spec = spec
        self._held: NDArray[np.float64] = np.zeros(0)
        self._held_from = 0
        self._next = 0
        self._is_finished = False

    @property
    def frames(self) -> int:
        """Mel frames given so far."""
        return self._next

    def push(self, samples: Samples) -> Floats:
        """The frames (N, mels) that these samples (S,) complete, N may be 0.

        Raises:
            MediaError: `unsupported_format`: NaN or infinity; the piece is not taken.
            SpecError: integers, more than one axis, or a finished stream.
        """
        if self._is_finished:
            raise SpecError("the mel stream is finished; open another one for another recording")
        if samples.ndim != 1:
            raise SpecError(f"mel stream: give samples of shape (S,), not {samples.shape}")
        _check(samples)
        self._held = np.concatenate([self._held, samples])
        total = self._held_from + len(self._held)
        reach = _tables(self._spec).reach
        # the last frame whose window is full: floor(i * rate / (2 fps)) <= total - reach
        full = ((total - reach + 1) * 2 * self._spec.fps - 1) // self._spec.sample_rate + 1
        return self._give(min(max(full, 0), frame_count(total, self._spec)))

    def finish(self) -> Floats:
        """The frames that are left, as if silence followed; afterwards the stream is closed."""
        self._is_finished = True
        total = self._held_from + len(self._held)
        return self._give(frame_count(total, self._spec))

    def _give(self, stop: int) -> Floats:
        """Frames up to `stop`; forgets the sound before the next one."""
        stop = max(stop, self._next)
        starts = frame_starts(self._next, stop, self._spec) - self._held_from
        made = _mel_at(self._held, starts, self._spec)
        self._next = stop
        done = int(frame_starts(stop, stop + 1, self._spec)[0]) - self._held_from
        done = min(done, len(self._held))
        self._held = self._held[done:].copy()  # a view would keep the whole piece alive
        self._held_from += done
        return made


class _Tables:
    """What a spec's frames are computed with."""

    def __init__(self, spec: AudioFrontSpec) -> None:
        length = spec.window_samples
        # torch and librosa: the periodic form
        self.hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
        self.taps = _taps(spec)
        self.reach = int(self.taps.max()) + 1
        bank: torch.Tensor = load_torchaudio().functional.melscale_fbanks(
            spec.fft // 2 + 1, spec.low_hz, spec.high_hz, spec.mels, spec.sample_rate,
            norm="slaney", mel_scale="slaney",
        )  # fmt: skip
        self.bank: NDArray[np.float64] = bank.double().numpy()  # (fft / 2 + 1, mels)


@lru_cache(maxsize=8)
def _tables(spec: AudioFrontSpec) -> _Tables:
    return _Tables(spec)


def _taps(spec: AudioFrontSpec) -> NDArray[np.int64]:
    """Which sample of its clip each point of the window hears, shape (window,).

    The released code pads every clip by (fft - hop) / 2 mirrored samples and puts the window in
    the middle of the first fft samples; both together are a shift of the window, and a mirror.
    """
    points = np.arange(spec.window_samples, dtype=np.int64)
    if spec.taper == "plain":
        return points
    hop = spec.sample_rate // (2 * spec.fps)
    points += (spec.fft - spec.window_samples) // 2 - (spec.fft - hop) // 2
    return np.abs(points)


def _mel_at(samples: Samples, starts: NDArray[np.int64], spec: AudioFrontSpec) -> Floats:
    tables = _tables(spec)
    made = np.empty((len(starts), spec.mels), np.float32)
    least = np.log(spec.floor)
    for at in range(0, len(starts), BLOCK):
        places = starts[at : at + BLOCK, None] + tables.taps  # (block, window)
        heard = np.take(samples, places, mode="clip") if len(samples) else np.zeros(places.shape)
        heard = np.where((places >= 0) & (places < len(samples)), heard, 0.0).astype(np.float64)
        if not np.isfinite(heard).all():
            raise _not_finite()
        magnitude = np.abs(np.fft.rfft(heard * tables.hann, spec.fft))  # (block, fft / 2 + 1)
        logs = np.log(np.maximum(magnitude @ tables.bank, spec.floor))
        made[at : at + BLOCK] = (logs - least) / -least
    return made


def _check(samples: Samples) -> None:
    _check_kind(samples)
    if not np.isfinite(samples).all():
        raise _not_finite()


def _check_kind(samples: Samples) -> None:
    if samples.ndim == 0 or not np.issubdtype(samples.dtype, np.floating):
        raise SpecError(
            f"mel frames are made of floats in [-1, 1], shape (…, S), not of {samples.dtype} "
            f"{samples.shape}; divide 16-bit samples by 32768"
        )


def _not_finite() -> MediaError:
    return MediaError("unsupported_format", "the sound holds NaN or infinite samples")
