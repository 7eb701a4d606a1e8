"""Steadying of trajectories: a Gaussian that looks ahead, and causal filters (models.md A.4.5).

All are given the same spread in frames and carry their state, so a trajectory may be fed in chunks.
Causal filters give a frame at once, and what it shows comes later by `delay_frames`. The Gaussian
is never late: it gives a frame only when it has seen what comes after it.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from visage.errors import SpecError
from visage.specs.motion import Smoothing

__all__ = [
    "Filter",
    "GaussianFilter",
    "causal_filter",
    "delay_frames",
    "gaussian_reach",
    "gaussian_smooth",
]

_REACH = 4.0
"""A Gaussian is cut off after so many sigmas."""
_HALF_POWER = math.sqrt(math.log(2)) / (2 * math.pi)
"""Cut-off of a Gaussian of sigma 1, in cycles a frame: where half of the power is left."""
_SPEED_CUTOFF_HZ = 1.0
"""Of the low-pass on the speed inside the one-euro filter, as published with it."""


class Filter(Protocol):
    """A filter that is fed piece by piece."""

    def __call__(self, values: Tensor, *, is_last: bool = False) -> Tensor:
        """The frames (K, C) that the next frames (T, C) complete; none is left after the last."""
        ...


def gaussian_reach(sigma: float) -> int:
    """How many frames a Gaussian sees to each side."""
    return math.ceil(_REACH * sigma)


def gaussian_smooth(values: Tensor, sigma: float) -> Tensor:
    """Each channel of (T, C) convolved with a Gaussian of `sigma` frames; ends are repeated.

    Constants stay as they are.
    """
    if sigma == 0 or not len(values):
        return values
    radius = gaussian_reach(sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(values)
    # (T, C) -> (C, 1, T): one channel at a time, the same kernel for all
    padded = F.pad(values.T[:, None], (radius, radius), mode="replicate")
    return F.conv1d(padded, kernel[None, None])[:, 0].T


class GaussianFilter:
    """`gaussian_smooth` of a trajectory that comes in pieces; holds two reaches of it.

    Filters of several spreads give equally many frames if they are given the same `ahead`.
    """

    def __init__(self, sigma: float, *, ahead: int | None = None) -> None:
        """ahead: frames that must be known after a frame; at least its reach, the default."""
        self._sigma = sigma
        self._reach = gaussian_reach(sigma)
        self._ahead = self._reach if ahead is None else ahead
        if self._ahead < self._reach:
            raise SpecError(f"a Gaussian of {sigma} frames looks {self._reach} ahead, not {ahead}")
        self._held: Tensor | None = None
        self._before = 0  # frames held that were given already

    def __call__(self, values: Tensor, *, is_last: bool = False) -> Tensor:
        """The frames (K, C) that are known far enough ahead; all that are left if it is the last.

        The end of the trajectory is repeated, as `gaussian_smooth` does.
        """
        held = values if self._held is None else torch.cat([self._held, values])
        stop = max(self._before, len(held) - (0 if is_last else self._ahead))
        if stop == self._before:
            self._held = held
            return values[:0]
        # what lies beyond the reach of the last frame given must not be seen as the end
        smooth = gaussian_smooth(held, self._sigma)[self._before : stop]
        forget = max(0, stop - self._reach)
        self._held, self._before = held[forget:], stop - forget
        return smooth


def causal_filter(
    kind: Smoothing, *, sigma: float, fps: int, beta: float = 0.0, scale: float = 1.0
) -> Filter:
    """A fresh filter of the stated strength.

    Args:
        kind: none, ema or one-euro.
        sigma: Spread in frames of the Gaussian it stands in for; 0 = no filter.
        fps: Frames a second.
        beta: one-euro: rise of the cut-off in hertz with speed, in `scale` a second.
        scale: The unit in which the speed is counted.

    Raises:
        SpecError: gaussian, which needs the future.
    """
    if kind == "gaussian":
        raise SpecError(
            "smoothing gaussian looks ahead and is not causal; choose ema, one-euro or none"
        )
    if kind == "none" or sigma == 0:
        return _Same()
    if kind == "ema":
        return _Ema(_share(sigma))
    return _OneEuro(cutoff_hz=_HALF_POWER * fps / sigma, beta=beta / scale, fps=fps)


def delay_frames(kind: Smoothing, sigma: float) -> float:
    """Frames by which a slow movement comes later than it is (one-euro: at rest; less in motion).

    A Gaussian is not late but looks ahead; it has no delay.
    """
    if kind in ("none", "gaussian") or sigma == 0:
        return 0.0
    alpha = _share(sigma) if kind == "ema" else _alpha(torch.tensor(_HALF_POWER / sigma), 1).item()
    return (1 - alpha) / alpha


def _share(sigma: float) -> float:
    """The weight of the newest frame in an average whose memory has the spread of the Gaussian.

    Memory alpha (1 - alpha)^k has the variance (1 - alpha) / alpha²; set it to sigma² and solve.
    """
    return (math.sqrt(1 + 4 * sigma**2) - 1) / (2 * sigma**2)


class _Same:
    def __call__(self, values: Tensor, *, is_last: bool = False) -> Tensor:
        return values


class _Ema:
    """Exponential moving average that begins at the first value."""

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha
        self._last: Tensor | None = None

    def __call__(self, values: Tensor, *, is_last: bool = False) -> Tensor:
        filtered = []
        for value in values:
            last = value if self._last is None else self._last
            self._last = torch.lerp(last, value, self._alpha)
            filtered.append(self._last)
        return torch.stack(filtered) if filtered else values


class _OneEuro:
    """Casiez et al., 2012: a low-pass that opens with speed, for steady rest and sharp haste."""

    def __init__(self, *, cutoff_hz: float, beta: float, fps: int) -> None:
        self._cutoff_hz, self._beta, self._fps = cutoff_hz, beta, fps
        self._speed_alpha = _alpha(torch.tensor(_SPEED_CUTOFF_HZ), fps).item()
        self._last: Tensor | None = None
        self._speed: Tensor | None = None

    def __call__(self, values: Tensor, *, is_last: bool = False) -> Tensor:
        filtered = []
        for value in values:
            last = value if self._last is None else self._last
            before = torch.zeros_like(value) if self._speed is None else self._speed
            self._speed = torch.lerp(before, (value - last) * self._fps, self._speed_alpha)
            cutoff = self._cutoff_hz + self._beta * self._speed.abs()
            self._last = torch.lerp(last, value, _alpha(cutoff, self._fps))
            filtered.append(self._last)
        return torch.stack(filtered) if filtered else values


def _alpha(cutoff: Tensor, fps: int) -> Tensor:
    """Weight of the newest value of a first-order low-pass, elementwise."""
    turn = 2 * math.pi * cutoff / fps
    return turn / (turn + 1)
