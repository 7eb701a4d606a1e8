"""The sound of a video: decoded once in the sandbox, kept in files, read piece by piece.

Two tracks come of one file: 16 kHz for the model to hear, 48 kHz for people. Both are mono and lie
in memory-mapped files, so that an hour of sound costs no memory. The files have no name: a voice
does not stay on a disk, however the process ends.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visage.errors import MediaError, StoreError
from visage.media.audio import SILENT
from visage.media.limits import AudioLimits
from visage.media.sandbox import MediaSandbox

__all__ = ["HEARD_HZ", "TRACK_HZ", "Sound", "open_sound"]

Samples = NDArray[np.float32]
HEARD_HZ = 16_000
TRACK_HZ = 48_000
PEAK_SHARE = 0.9
"""The model hears the loudest sample at this level, if the recording is quieter than SOFT."""
SOFT = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """A recording, ready to be animated."""

    heard: Samples
    """Mono at 16 kHz, shape (S,)."""
    track: Samples
    """Mono at 48 kHz, shape (3 S,) or a few samples off."""
    peak: float
    """Largest absolute sample of `heard`."""

    @property
    def duration_s(self) -> float:
        """By the samples of the track that people hear."""
        return len(self.track) / TRACK_HZ

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to say: the face then only breathes and blinks."""
        return self.peak < SILENT

    @property
    def gain(self) -> float:
        """What the model multiplies its samples with: a soft recording moves lips as well."""
        return PEAK_SHARE / self.peak if SILENT <= self.peak < SOFT else 1.0

    def pieces(self, seconds: float) -> Iterator[Samples]:
        """`heard`, with its gain, in pieces of so many seconds."""
        step = max(1, round(seconds * HEARD_HZ))
        for at in range(0, len(self.heard), step):
            yield np.asarray(self.heard[at : at + step], np.float32) * np.float32(self.gain)


def open_sound(
    path: Path, sandbox: MediaSandbox, folder: Path, *, shortest_s: float, longest_s: float
) -> Sound:
    """Decode the sound of any accepted file or clip.

    Args:
        folder: On the disk that has room for the samples; nothing is seen in it.

    Raises:
        MediaError: `too_short`, `too_large` beyond longest_s, `no_audio`, `unsupported_format`
            (also NaN), or what the decoder says.
        StoreError: the folder has no room for the samples.
    """
    limits = AudioLimits(max_duration_s=longest_s)
    heard = _decoded(path, sandbox, folder, HEARD_HZ, limits)
    if len(heard) < shortest_s * HEARD_HZ:
        raise MediaError(
            "too_short",
            f"{path}: {len(heard) / HEARD_HZ:.2f} s of sound; at least {shortest_s:g} s are needed",
        )
    return Sound(
        heard=heard,
        track=_decoded(path, sandbox, folder, TRACK_HZ, limits),
        peak=_peak(heard),
    )


def _decoded(
    path: Path, sandbox: MediaSandbox, folder: Path, rate_hz: int, limits: AudioLimits
) -> Samples:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for run in sandbox.iter_audio(path, sample_rate=rate_hz, limits=limits):
                file.write(run.astype("<f4", copy=False).tobytes())
            file.flush()
            return np.memmap(file, "<f4", mode="r")  # which keeps the file that has no name
    except OSError as err:
        raise StoreError(
            f"{folder}: no place for the decoded sound: {err.strerror or err}; "
            "TMPDIR names another folder"
        ) from err


def _peak(samples: Samples) -> float:
    step = 1 << 20
    return max(float(np.abs(samples[at : at + step]).max()) for at in range(0, len(samples), step))
