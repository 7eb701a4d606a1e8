"""Layers that the networks of style mapping share; pictures are 2-D, volumes 3-D.

A volume is (N, C, D, H, W); halving and doubling touch H and W and leave the depth alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.amp.autocast_mode import autocast
from torch.nn import functional as F

__all__ = [
    "AntiAlias",
    "ConvBlock",
    "Dimensions",
    "ResidualBlock",
    "convolution",
    "double",
    "full_precision",
    "level_widths",
    "normalisation",
]

Dimensions = Literal[2, 3]


def full_precision(tensor: Tensor) -> AbstractContextManager[object]:
    """A context in which autocast is off for the tensor's device: softmaxes, flows, penalties."""
    if tensor.is_meta:  # nothing is computed there, and autocast does not know the device
        return nullcontext()
    return autocast(tensor.device.type, enabled=False)


def level_widths(width: int, widest: int, levels: int) -> tuple[int, ...]:
    """Channels after each halving: width doubled once a level, at most `widest`."""
    return tuple(min(width << level + 1, widest) for level in range(levels))


def convolution(dimensions: Dimensions, inputs: int, outputs: int, kernel: int) -> nn.Module:
    """A convolution that keeps the size."""
    if dimensions == 2:
        return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    return nn.Conv3d(inputs, outputs, kernel, padding=kernel // 2)


def normalisation(dimensions: Dimensions, channels: int) -> nn.Module:
    """Batch normalisation."""
    return nn.BatchNorm2d(channels) if dimensions == 2 else nn.BatchNorm3d(channels)


def double(x: Tensor) -> Tensor:
    """Twice the height and width by repetition, of a picture or a volume."""
    factors = [1.0] * (x.ndim - 4) + [2.0, 2.0]
    return F.interpolate(x, scale_factor=factors, mode="nearest")


class ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU; halved after it or doubled before it if asked."""

    def __init__(
        self,
        dimensions: Dimensions,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 3,
        resize: Literal["keep", "halve", "double"] = "keep",
    ) -> None:
        super().__init__()
        self.convolution = convolution(dimensions, inputs, outputs, kernel)
        self.norm = normalisation(dimensions, outputs)
        self._resize = resize

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, [D,] H, W) to (N, outputs, [D,] h, w)."""
        if self._resize == "double":
            x = double(x)
        x = F.relu(self.norm(self.convolution(x)))
        if self._resize == "halve":
            x = F.avg_pool2d(x, 2) if x.ndim == 4 else F.avg_pool3d(x, (1, 2, 2))
        return x


class ResidualBlock(nn.Module):
    """x + two times (batch norm, ReLU, convolution)."""

    def __init__(self, dimensions: Dimensions, channels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(normalisation(dimensions, channels) for _ in range(2))
        self.convolutions = nn.ModuleList(
            convolution(dimensions, channels, channels, 3) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        inner = x
        for norm, layer in zip(self.norms, self.convolutions, strict=True):
            inner = layer(F.relu(norm(inner)))
        return x + inner


class AntiAlias(nn.Module):
    """Pictures reduced by a whole factor behind a Gaussian that removes what would alias."""

    weights: Tensor

    def __init__(self, factor: int) -> None:
        super().__init__()
        self._factor = factor
        self.register_buffer("weights", torch.tensor(_gaussian(factor)), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H / factor, W / factor), sampled at the middle of each square."""
        if self._factor == 1:
            return pictures
        channels, reach = pictures.shape[1], len(self.weights) // 2
        offset = (self._factor - len(self.weights) % 2) // 2  # first centre in its square
        with full_precision(pictures):
            padded = F.pad(pictures.float(), (reach,) * 4, mode="replicate")[..., offset:, offset:]
            # separable: (C, 1, n, 1) then (C, 1, 1, n)
            column = self.weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
            row = self.weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
            narrow = F.conv2d(padded, column, stride=(self._factor, 1), groups=channels)
            small = F.conv2d(narrow, row, stride=(1, self._factor), groups=channels)
        sides = [side // self._factor for side in pictures.shape[-2:]]
        return small[..., : sides[0], : sides[1]]


def _gaussian(factor: int) -> Sequence[float]:
    """Weights of sum 1, over an even number of pixels for an even factor: no shift by half."""
    sigma = (factor - 1) / 2
    if factor == 1:
        return [1.0]
    half = round(3 * sigma) + (1 - factor % 2) * 0.5
    places = [index - half for index in range(int(2 * half) + 1)]
    raw = [math.exp(-(place**2) / (2 * sigma**2)) for place in places]
    return [one / sum(raw) for one in raw]
