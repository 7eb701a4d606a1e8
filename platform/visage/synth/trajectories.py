"""Smooth ways from target to target, as functions of time: the muscles of everything that moves.

A channel is a step function made smooth: each step follows the minimum-jerk polynomial
s(x) = 10 x³ - 15 x⁴ + 6 x⁵ (Flash and Hogan 1985) over its own stretch of time, and overlapping
steps add up, so a target that is left too soon is not reached. Any time may be asked for, in any
rate, and the same time gives the same value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Steps", "Times", "minimum_jerk", "pulses"]

Times = NDArray[np.float64]
"""Seconds, ascending, (n,)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """A channel that goes from target to target."""

    values: Times
    """Targets, (k + 1,)."""
    centres_s: Times
    """When each step is half done, (k,)."""
    lengths_s: Times
    """How long each step takes, (k,)."""

    def at(self, times_s: Times) -> Times:
        """Values at ascending times, (n,)."""
        sizes = np.diff(self.values)
        starts, ends = self.centres_s - self.lengths_s / 2, self.centres_s + self.lengths_s / 2
        first = np.searchsorted(times_s, starts, "left")
        last = np.searchsorted(times_s, ends, "left")
        # What is over counts whole from its end on; what is under way is added piece by piece.
        total = np.full(len(times_s) + 1, 0.0)
        np.add.at(total, last, sizes)
        total = np.cumsum(total)[:-1] + self.values[0]
        step, sample = _pieces(first, last)
        part = (times_s[sample] - starts[step]) / self.lengths_s[step]
        np.add.at(total, sample, sizes[step] * minimum_jerk(part))
        return np.asarray(total, np.float64)


def minimum_jerk(part: Times) -> Times:
    """s(x) on [0, 1], 0 before and 1 after it."""
    x = np.clip(part, 0.0, 1.0)
    return np.asarray(x * x * x * (10 + x * (6 * x - 15)), np.float64)


def pulses(times_s: Times, starts_s: Times, *, sizes: Times, rise_s: Times, fall_s: Times) -> Times:
    """The sum of bumps that rise and fall along minimum-jerk ways, (n,).

    Args:
        times_s: Ascending.
        starts_s: When each begins, (k,).
        sizes: Height of each.
        rise_s: How long each takes to its height.
        fall_s: How long each takes back.
    """
    total = np.zeros(len(times_s))
    ends = starts_s + rise_s + fall_s
    pulse, sample = _pieces(
        np.searchsorted(times_s, starts_s, "left"), np.searchsorted(times_s, ends, "left")
    )
    since = times_s[sample] - starts_s[pulse]
    height = minimum_jerk(since / rise_s[pulse])
    height = height - minimum_jerk((since - rise_s[pulse]) / fall_s[pulse])
    np.add.at(total, sample, sizes[pulse] * height)
    return total


def _pieces(
    first: NDArray[np.intp], last: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Each (event, sample) pair where sample lies in [first, last) of its event."""
    counts = np.maximum(last - first, 0)
    event = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts
    return event, np.arange(len(event)) - before[event] + first[event]
