"""From features at a quarter of the size to a picture in [-1, 1]: two decoders.

`SpadeDecoder` lets the features scale and shift every normalised layer (Park et al., 2019), which
keeps what normalisation would wash out; `PlainDecoder` is a stack of residual blocks at a third of
the arithmetic.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visage.models.style_mapping.blocks import ConvBlock, ResidualBlock, double
from visage.specs.style_mapping import PictureDecoderSpec

__all__ = ["PlainDecoder", "Spade", "SpadeBlock", "SpadeDecoder"]

SLOPE = 0.2
LAST_KERNEL = 7


class PlainDecoder(nn.Module):
    """Residual blocks, then two doublings."""

    def __init__(self, features: int, spec: PictureDecoderSpec) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(ResidualBlock(2, features) for _ in range(spec.blocks)),
            ConvBlock(2, features, features // 2, resize="double"),
            ConvBlock(2, features // 2, features // 4, resize="double"),
            nn.Conv2d(features // 4, 3, LAST_KERNEL, padding=LAST_KERNEL // 2),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) to (N, 3, 4h, 4w) in [-1, 1]."""
        return _picture(self.layers(features))


class SpadeDecoder(nn.Module):
    """Modulated residual blocks, then two doublings, modulated as well."""

    def __init__(self, features: int, spec: PictureDecoderSpec) -> None:
        super().__init__()
        self.first = nn.Conv2d(features, spec.width, 3, padding=1)
        self.middle = nn.ModuleList(
            SpadeBlock(spec.width, spec.width, features, spec.hidden) for _ in range(spec.blocks)
        )
        widths = (spec.width, features, features // 4)
        self.up = nn.ModuleList(
            SpadeBlock(inputs, outputs, features, spec.hidden)
            for inputs, outputs in pairwise(widths)
        )
        self.last = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) to (N, 3, 4h, 4w) in [-1, 1]."""
        x = self.first(features)
        for block in self.middle:
            x = block(x, features)
        for block in self.up:
            x = block(double(x), features)
        return _picture(self.last(F.leaky_relu(x, SLOPE)))


class SpadeBlock(nn.Module):
    """Two times (modulated norm, leaky ReLU, 3x3) beside a shortcut, learned if widths differ."""

    def __init__(self, inputs: int, outputs: int, features: int, hidden: int) -> None:
        super().__init__()
        inner = min(inputs, outputs)
        self.norm_in = Spade(inputs, features, hidden)
        self.conv_in = nn.Conv2d(inputs, inner, 3, padding=1)
        self.norm_out = Spade(inner, features, hidden)
        self.conv_out = nn.Conv2d(inner, outputs, 3, padding=1)
        self.norm_shortcut: Spade | None = None
        self.conv_shortcut: nn.Module | None = None
        if inputs != outputs:
            self.norm_shortcut = Spade(inputs, features, hidden)
            self.conv_shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """x (N, inputs, H, W) and features of any size to (N, outputs, H, W)."""
        shortcut = x
        if self.norm_shortcut is not None and self.conv_shortcut is not None:
            shortcut = self.conv_shortcut(self.norm_shortcut(x, features))
        inner = self.conv_in(F.leaky_relu(self.norm_in(x, features), SLOPE))
        inner = self.conv_out(F.leaky_relu(self.norm_out(inner, features), SLOPE))
        joined: Tensor = shortcut + inner
        return joined


class Spade(nn.Module):
    """norm(x) · (1 + gamma(features)) + beta(features); normed over each picture and channel."""

    def __init__(self, channels: int, features: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels)
        self.shared = nn.Conv2d(features, hidden, 3, padding=1)
        self.gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """x (N, C, H, W); features (N, F, h, w) are enlarged to H, W by repetition."""
        here = F.relu(self.shared(F.interpolate(features, size=x.shape[-2:], mode="nearest")))
        modulated: Tensor = self.norm(x) * (1 + self.gamma(here)) + self.beta(here)
        return modulated


def _picture(logits: Tensor) -> Tensor:
    """A sigmoid, stretched from [0, 1] to [-1, 1]."""
    return 2 * torch.sigmoid(logits.float()) - 1
