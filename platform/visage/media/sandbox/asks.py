"""Requests to a decoding child: what is asked, and what the answer may cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from visage.media.limits import AudioLimits, ImageLimits, VideoLimits
from visage.media.sandbox.process import Ask

__all__ = ["clip_ask", "image_ask", "sound_ask"]

_MIB = 2**20
# What decoding may hold at a time, as factors of what the limits allow; measured, then doubled.
_IMAGE_BYTES_PER_PIXEL = 48
_CLIP_BYTES_PER_PIXEL = 128  # a decoder may keep 17 frames of 10 bits for reference
_SOUND_BYTES_PER_SAMPLE = 16


def image_ask(data: bytes, bounds: ImageLimits, *, timeout_s: float) -> Ask:
    """Decode one still picture."""
    return Ask(
        operation="image",
        name="picture",
        limits=asdict(bounds),
        arguments={},
        payload=data,
        timeout_s=timeout_s,
        memory_bytes=bounds.max_pixels * _IMAGE_BYTES_PER_PIXEL + 2 * bounds.max_bytes + 64 * _MIB,
        answer_bytes=bounds.max_pixels * 3,
    )


def clip_ask(
    operation: str,
    path: Path,
    descriptor: int,
    bounds: VideoLimits,
    arguments: Mapping[str, Any],
    *,
    timeout_s: float,
    run_bytes: int = 0,
) -> Ask:
    """Something about a clip.

    Args:
        run_bytes: Of the run of frames that is asked for; 0 for one frame or facts.
    """
    return Ask(
        operation=operation,
        name=str(path),
        limits=asdict(bounds),
        arguments=arguments,
        descriptor=descriptor,
        timeout_s=timeout_s,
        # A run is held twice: its frames, and the array that they become.
        memory_bytes=bounds.max_pixels * _CLIP_BYTES_PER_PIXEL + 256 * _MIB + 2 * run_bytes,
        answer_bytes=run_bytes or bounds.max_pixels * 3,
    )


def sound_ask(
    path: Path,
    descriptor: int,
    bounds: AudioLimits,
    arguments: Mapping[str, Any],
    *,
    timeout_s: float,
    most_samples: int,
) -> Ask:
    """The sound of a file, or a span of it."""
    return Ask(
        operation="sound",
        name=str(path),
        limits=asdict(bounds),
        arguments=arguments,
        descriptor=descriptor,
        timeout_s=timeout_s,
        memory_bytes=most_samples * _SOUND_BYTES_PER_SAMPLE + 256 * _MIB,
        answer_bytes=most_samples * 4,
    )
