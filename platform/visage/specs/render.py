"""Spec of rendering: how a portrait, a sound and a style become a video."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from visage.specs.base import Spec
from visage.specs.motion import Smoothing

__all__ = ["PortraitSpec", "RenderSpec"]


class PortraitSpec(Spec):
    """Which face of a picture is animated, and how it is framed."""

    face_policy: Literal["clear", "largest"] = "clear"
    """clear = the largest, if no other is half as large in area; largest = in any case."""
    margin: float | None = Field(None, ge=0.0, le=2.0)
    """Room around the face on every side, as a share of the height of its points; null = as much as
    in the clips that the model was trained on."""
    smallest_px: int = Field(40, ge=8)
    """Height that the 68 points must span in the given picture."""
    most_yaw_deg: float = Field(35.0, gt=0.0, le=90.0)
    """A head turned further is a profile; half of the mouth is not seen."""


class RenderSpec(Spec):
    """One video."""

    fps: float = Field(30.0, ge=24.0, le=60.0)
    """Frames a second; motion is made at 60 and interpolated."""
    size: int | None = Field(None, ge=64, le=2048, multiple_of=2)
    """Side of the video; null = the model's, enlarged to 256 if it is smaller."""
    seed: int = 0
    """Of head motion and blinks."""
    portrait: PortraitSpec = PortraitSpec()
    shortest_s: float = Field(0.3, ge=0.05)
    """Shorter sound is refused: nothing could be said in it."""
    longest_s: float = Field(3600.0, gt=0.0, le=36_000.0)
    """Longer sound is refused before anything is rendered."""
    smoothing: Smoothing | None = None
    """Of the motion; null = the motion generator's own."""
    chunk_s: float = Field(1.0, gt=0.0, le=60.0)
    """Sound that is worked on at a time; changes memory, not the result."""
    batch: int = Field(8, ge=1, le=256)
    """Frames that go through the generator at a time; changes memory, not the result."""
    crf: int = Field(18, ge=0, le=40)
    """Quality of the H.264 stream; smaller is better, 18 looks lossless."""
    preset: Literal["ultrafast", "veryfast", "medium", "slow"] = "veryfast"
    """How long the encoder looks for a smaller file."""
