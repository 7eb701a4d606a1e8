"""Blinks: a Poisson process whose state at a time is a function of seed and time alone.

A network that minimises a squared error learns the mean lid, not the blink: speech hardly says when
one happens. So blinks are added, and because time is cut into cells with a seed of their own, frame
1000 blinks or not without anybody having asked for frames 0 to 999 (models.md A.4.3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visage.seeds import rng_of

__all__ = ["BlinkProcess", "close_lids"]

Floats = NDArray[np.float64]

_CELL_S = 4.0
"""Longer than any blink, so that two cells hold everything that may close the lids at a time."""
_CLOSING = 1 / 3
"""Share of a blink in which the lids close; opening takes the rest."""
_LIDS = ((37, 41), (38, 40), (43, 47), (44, 46))
"""Upper and lower points of the lids that face each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlinkProcess:
    """When and how far the lids are closed."""

    seed: int
    rate_hz: float
    """Blinks a second in the mean."""
    shortest_s: float
    longest_s: float

    def closure(self, times_s: Floats) -> Floats:
        """How far the lids are closed at ascending times (T,): 0 = open, 1 = shut."""
        closed = np.zeros_like(times_s)
        if not times_s.size or self.rate_hz == 0:
            return closed
        first = math.floor(float(times_s[0]) / _CELL_S) - 1
        for cell in range(first, math.floor(float(times_s[-1]) / _CELL_S) + 1):
            for start_s, length_s in self.blinks(cell):
                within = slice(*np.searchsorted(times_s, (start_s, start_s + length_s)))
                lids = _lid((times_s[within] - start_s) / length_s)
                closed[within] = np.maximum(closed[within], lids)
        return closed

    def blinks(self, cell: int) -> Floats:
        """Start and length in seconds of the blinks that begin in a cell of time, shape (B, 2)."""
        draws = rng_of(self.seed, "blink", cell)
        count = int(draws.poisson(self.rate_hz * _CELL_S))
        starts = (cell + draws.random(count)) * _CELL_S
        return np.stack([starts, draws.uniform(self.shortest_s, self.longest_s, count)], axis=1)


def close_lids(landmarks: Tensor, closure: Tensor) -> Tensor:
    """Draw the upper lids towards the lower ones.

    Args:
        landmarks: (T, 68, 3).
        closure: (T,), 0 = as they are, 1 = on the lower lid.

    Returns:
        A new tensor; all other points, the lower lids among them, are unchanged.
    """
    upper, lower = (
        torch.tensor(side, device=landmarks.device) for side in zip(*_LIDS, strict=True)
    )
    moved = landmarks.clone()
    towards = landmarks[:, lower] - landmarks[:, upper]
    moved[:, upper] += closure.to(landmarks)[:, None, None] * towards
    return moved


def _lid(phase: Floats) -> Floats:
    """Closure over a blink's phase in [0, 1]: a fast and a slow half of a cosine; 0 outside."""
    rising = phase / _CLOSING
    falling = (1 - phase) / (1 - _CLOSING)
    within = np.clip(np.minimum(rising, falling), 0.0, 1.0)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * within), np.float64)
