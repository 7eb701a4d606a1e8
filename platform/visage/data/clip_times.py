"""When the frames of a clip are shown, and smoothing that goes by it.

A camera that slows down in the dark, a call with a bad line and a screen that is recorded have no
rate: what is a frame later may be 20 or 200 ms later. So nothing here counts frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visage.errors import MediaError

__all__ = ["fill_gaps", "frame_times", "smoothed_in_time"]

Doubles = NDArray[np.float64]
_REACH = 3.0
"""Of the Gaussian, in its standard deviations."""


def frame_times(stated_s: Sequence[float | None], fps: float) -> Doubles:
    """Increasing times, one a frame: those the container states if they can be true.

    Where one is missing, or one is not later than the one before, none is believed, and frames are
    taken to follow each other at the mean rate, from 0 on.

    Raises:
        MediaError: `unsupported_format` if times are needed and the rate is none.
    """
    times = np.array([np.nan if one is None else one for one in stated_s], np.float64)
    if np.isfinite(times).all() and (np.diff(times) > 0).all():
        return times
    if not 0 < fps < np.inf:
        raise MediaError(
            "unsupported_format",
            f"the frames have no times, and {fps} is no rate; write the clip anew with a rate",
        )
    return np.asarray(np.arange(len(times)) / fps, np.float64)


def smoothed_in_time(track: NDArray[np.floating], times_s: Doubles, sigma_s: float) -> Doubles:
    """A track smoothed by a Gaussian over time, its ends held; shape (n, ...) as it was.

    Args:
        track: Shape (n, ...), finite.
        times_s: Increasing, shape (n,).
        sigma_s: Standard deviation; 0 changes nothing.
    """
    values = np.asarray(track, np.float64)
    if sigma_s <= 0 or len(values) < 2:
        return values.copy()
    flat = values.reshape(len(values), -1)
    usual = float(np.median(np.diff(times_s)))
    held = max(1, int(np.ceil(_REACH * sigma_s / usual)))
    beyond = usual * np.arange(1, held + 1)
    times = np.concatenate([times_s[0] - beyond[::-1], times_s, times_s[-1] + beyond])
    padded = np.concatenate([flat[:1].repeat(held, 0), flat, flat[-1:].repeat(held, 0)])
    first = np.searchsorted(times, times_s - _REACH * sigma_s - 1e-9)
    last = np.searchsorted(times, times_s + _REACH * sigma_s + 1e-9)
    total, weights = np.zeros_like(flat), np.zeros((len(flat), 1))
    for step in range(int((last - first).max())):
        at = np.minimum(first + step, len(times) - 1)
        weight = np.exp(-0.5 * ((times[at] - times_s) / sigma_s) ** 2) * (first + step < last)
        total += weight[:, None] * padded[at]
        weights += weight[:, None]
    return np.asarray(total / weights).reshape(values.shape)


def fill_gaps(track: NDArray[np.float32], times_s: Doubles) -> NDArray[np.float32]:
    """A track without its NaN: lines between what is known before and after, held at the ends.

    Args:
        track: Shape (n, ...); a frame is known whole or not at all, at least one is.
        times_s: Increasing, shape (n,).
    """
    flat = track.reshape(len(track), -1)
    known = np.isfinite(flat).all(axis=1)
    if known.all():
        return track
    columns = [np.interp(times_s, times_s[known], column[known]) for column in flat.T]
    return np.stack(columns, axis=1).reshape(track.shape).astype(np.float32)
