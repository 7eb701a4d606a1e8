"""From motion at 60 Hz to frames at any rate, as it comes: interpolated, never repeated.

Frame k of the video shows the time k / fps. Between two frames of motion it is interpolated
linearly; 60 frames a second are what people's faces need.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from visage.errors import SpecError

__all__ = ["Retiming", "frame_total"]


def frame_total(duration_s: float, fps: float) -> int:
    """Frames of a video that lasts as long as its sound, to the nearest frame; at least one."""
    return max(1, math.floor(duration_s * fps + 0.5))


class Retiming:
    """Points at one rate in, so many points at another rate out; holds one frame."""

    def __init__(self, *, from_hz: float, to_hz: float, total: int) -> None:
        """total: frames that come out in all, however many go in."""
        if from_hz <= 0 or to_hz <= 0:
            raise SpecError(f"rates {from_hz} and {to_hz} must be above 0")
        self._step = from_hz / to_hz
        self._held: Tensor | None = None
        self._held_from = 0
        self._given = 0
        self._total = total

    def push(self, points: Tensor) -> Tensor:
        """The output frames (K, P, 2) that the next input frames (T, P, 2) complete."""
        held = points if self._held is None else torch.cat([self._held, points])
        if not len(held):
            return held
        last = self._held_from + len(held) - 1
        # output k lies at k * step, and needs the input frame at or after it
        stop = max(self._given, math.floor(last / self._step + 1e-9) + 1)
        return self._give(held, min(stop, self._total))

    def finish(self) -> Tensor:
        """The frames that are left; the last input frame is held."""
        if self._held is None or not len(self._held):
            raise SpecError("no motion came before the end")
        return self._give(self._held, self._total)

    def _give(self, held: Tensor, stop: int) -> Tensor:
        at = torch.arange(self._given, stop, dtype=torch.float64) * self._step - self._held_from
        at = at.clamp(0, len(held) - 1)
        left = at.floor().long()
        right = (left + 1).clamp(max=len(held) - 1)
        share = (at - left).to(held.dtype)[:, None, None].to(held.device)
        made = torch.lerp(held[left], held[right], share)
        self._given = stop
        forget = min(max(0, math.floor(stop * self._step) - self._held_from), len(held) - 1)
        self._held, self._held_from = held[forget:], self._held_from + forget
        return made
