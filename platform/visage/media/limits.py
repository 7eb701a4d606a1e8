"""How much one picture, clip or sound may ask of this process before it is refused.

The defaults fit still pictures from any camera, clips up to 4K and an hour, and an hour of sound.
Each limit is compared with what the header states, before memory is given to it, and with what
really comes out of the decoder.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AudioLimits", "ImageLimits", "VideoLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """Bounds of one still picture."""

    max_bytes: int = 32 * 2**20
    """Size of the encoded file."""
    max_pixels: int = 64_000_000
    """Width times height as the header states them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoLimits:
    """Bounds of one clip."""

    max_bytes: int = 2 * 2**30
    """Size of the encoded file."""
    max_pixels: int = 4096 * 4096
    """Width times height of one frame."""
    max_frames: int = 216_000
    """Frames that may be decoded from one clip; an hour at 60 frames a second."""
    max_duration_s: float = 3600.0
    """Length of the clip in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioLimits:
    """Bounds of one sound."""

    max_bytes: int = 2 * 2**30
    """Size of the encoded file; the sound may lie in a clip."""
    max_duration_s: float = 3600.0
    """Length of the sound in seconds."""
