"""Steadying of trajectories: a Gaussian for whole clips, causal filters for streams (A.4.5).

All are given the same spread in frames. The causal ones carry their state, so a trajectory may be
fed in chunks; what they cost is delay, which `delay_frames` states.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from visage.errors import SpecError
from visage.specs.motion import Smoothing

__all__ = ["CausalFilter", "causal_filter", "delay_frames", "gaussian_smooth"]

_REACH = 4.0
"""A Gaussian is cut off after so many sigmas."""
_HALF_POWER = math.sqrt(math.log(2)) / (2 * math.pi)
"""Cut-off of a Gaussian of sigma 1, in cycles a frame: where half of the power is left."""
_SPEED_CUTOFF_HZ = 1.0
"""Of the low-pass on the speed inside the one-euro filter, as published with it."""


class CausalFilter(Protocol):
    """A filter that has seen the past and never the future."""

    def __call__(self, values: Tensor) -> Tensor:
        """The next frames (T, C), filtered."""
        ...


def gaussian_smooth(values: Tensor, sigma: float) -> Tensor:
    """Each channel of (T, C) convolved with a Gaussian of `sigma` frames; ends are repeated.

    Sees up to 4 sigma ahead, so it is for whole clips only. Constants stay as they are.
    """
    if sigma == 0 or not len(values):
        return values
    radius = math.ceil(_REACH * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(values)
    # (T, C) -> (C, 1, T): one channel at a time, the same kernel for all
    padded = F.pad(values.T[:, None], (radius, radius), mode="replicate")
    return F.conv1d(padded, kernel[None, None])[:, 0].T


def causal_filter(
    kind: Smoothing, *, sigma: float, fps: int, beta: float = 0.0, scale: float = 1.0
) -> CausalFilter:
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
            "smoothing gaussian looks ahead and cannot be streamed; choose ema, one-euro or none"
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
    def __call__(self, values: Tensor) -> Tensor:
        return values


class _Ema:
    """Exponential moving average that begins at the first value."""

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha
        self._last: Tensor | None = None

    def __call__(self, values: Tensor) -> Tensor:
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

    def __call__(self, values: Tensor) -> Tensor:
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
