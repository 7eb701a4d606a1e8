"""Trajectories at a steady rate from samples at any times: interpolated, never repeated.

A clip of 25 frames a second shown at 60 would repeat frames, and repeated frames stand still more
than half of the time: what learns from them learns to stutter (models.md fact 6).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visage.errors import DataError

__all__ = ["resample_track", "steady_times"]

Doubles = NDArray[np.float64]


def steady_times(duration_s: float, rate_hz: float) -> Doubles:
    """Times 0, 1/rate, … of the frames that begin within a duration."""
    return np.arange(int(np.floor(duration_s * rate_hz + 1e-6))) / rate_hz


def resample_track(track: NDArray[np.floating], times_s: Doubles, wanted_s: Doubles) -> Doubles:
    """Values at wanted times, by cubic Hermite pieces through the samples.

    Slopes are finite differences over neighbours at their true distances, so uneven sampling is no
    special case; outside of the samples the ends are held.

    Args:
        track: Shape (n, ...).
        times_s: Increasing, shape (n,).
        wanted_s: Any, shape (m,).

    Returns:
        Shape (m, ...).

    Raises:
        DataError: no samples, or times that do not increase.
    """
    if len(track) == 0 or len(track) != len(times_s) or (np.diff(times_s) <= 0).any():
        raise DataError("a trajectory needs samples at increasing times, one time each")
    values = np.asarray(track, np.float64).reshape(len(track), -1)
    if len(values) == 1:
        return np.repeat(values, len(wanted_s), axis=0).reshape(-1, *track.shape[1:])
    slopes = np.gradient(values, times_s, axis=0)
    at = np.clip(wanted_s, times_s[0], times_s[-1])
    left = np.clip(np.searchsorted(times_s, at, side="right") - 1, 0, len(times_s) - 2)
    step = (times_s[left + 1] - times_s[left])[:, None]
    u = ((at - times_s[left])[:, None]) / step
    u2, u3 = u * u, u * u * u
    found = (
        (2 * u3 - 3 * u2 + 1) * values[left]
        + (u3 - 2 * u2 + u) * step * slopes[left]
        + (3 * u2 - 2 * u3) * values[left + 1]
        + (u3 - u2) * step * slopes[left + 1]
    )
    return found.reshape(-1, *track.shape[1:])
