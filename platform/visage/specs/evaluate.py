"""Spec of the evaluation of a talking head: what is compared, and by which draw."""

from __future__ import annotations

from pydantic import Field

from visage.specs.base import Spec

__all__ = ["HeadEvaluationSpec"]


class HeadEvaluationSpec(Spec):
    """How held-out clips are said again and compared."""

    frames: int = Field(32, ge=1, le=1000)
    """Pictures a clip, evenly over it, in which the mouth is looked for; sharpness is measured on
    eight of them, and landmarks are all compared."""
    clips: int | None = Field(None, ge=1)
    """Rows of the split that are compared, evenly over it; null = all."""
    style: str | None = None
    """Style of all clips; null = each clip's own where the model has one of that name, else the
    model's default."""
    seed: int = 0
    """Of head motion and blinks."""
    sheet_clips: int = Field(4, ge=1, le=64)
    """Clips that the contact sheet shows."""
