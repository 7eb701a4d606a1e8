"""Mono sound as MP3 or as AAC in an MP4 file; the same samples give the same bytes."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np

from visage.errors import SpecError
from visage.media.audio import Samples

__all__ = ["write_sound"]

_CODECS: dict[str, tuple[str, str]] = {"mp3": ("libmp3lame", "mp3"), "m4a": ("aac", "mp4")}
_CHUNK = 1152  # samples in one frame of MP3; AAC gathers its own 1024


def write_sound(
    path: Path,
    samples: Samples,
    sample_rate: int,
    *,
    kind: Literal["mp3", "m4a"],
    bit_rate: int = 64_000,
) -> None:
    """Write mono samples, shape (N,), clipped to [-1, 1]; the file appears when it is whole.

    Raises SpecError if the samples are not finite or not of shape (N,).
    """
    if samples.ndim != 1 or not samples.size or not np.isfinite(samples).all():
        raise SpecError(f"{path}: give finite mono samples of shape (N,), not {samples.shape}")
    codec, container = _CODECS[kind]
    whole = np.ascontiguousarray(np.clip(samples, -1.0, 1.0), dtype=np.float32)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with av.open(str(partial), "w", format=container, options={"fflags": "+bitexact"}) as out:
            stream = out.add_stream(codec, rate=sample_rate, layout="mono")
            stream.bit_rate = bit_rate
            stream.codec_context.format = "fltp"
            for at in range(0, len(whole), _CHUNK):
                # (samples,) -> (channels, samples)
                frame = av.AudioFrame.from_ndarray(
                    whole[None, at : at + _CHUNK], format="fltp", layout="mono"
                )
                frame.sample_rate, frame.pts = sample_rate, at
                frame.time_base = Fraction(1, sample_rate)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
