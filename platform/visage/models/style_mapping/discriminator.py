"""The judge of style mapping's pictures: one scale, every convolution with spectral norm.

Its layers' features are compared as well (feature matching), so it hands all of them out.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from visage.models.style_mapping.blocks import level_widths
from visage.specs.style_mapping import DiscriminatorSpec

__all__ = ["Judgement", "PictureDiscriminator"]

SLOPE = 0.2
KERNEL = 4


class Judgement(NamedTuple):
    """How real each patch looks, and by what."""

    logits: Tensor
    """(N, 1, h, w): above 0 real, below 0 made."""
    features: tuple[Tensor, ...]
    """One (N, C, h, w) a block."""


class PictureDiscriminator(nn.Module):
    """Picture to patches' logits."""

    def __init__(self, spec: DiscriminatorSpec) -> None:
        super().__init__()
        widths = level_widths(spec.width, spec.widest, spec.blocks)
        self.blocks = nn.ModuleList(
            spectral_norm(nn.Conv2d(inputs, outputs, KERNEL, stride=2, padding=1))
            for inputs, outputs in zip((3, *widths), widths, strict=False)
        )
        self.last = spectral_norm(nn.Conv2d(widths[-1], 1, 1))

    def forward(self, pictures: Tensor) -> Judgement:
        """Pictures (N, 3, S, S) in [-1, 1]; each block halves them."""
        features: list[Tensor] = []
        x = pictures
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index and x.shape[-1] > 1:  # a norm would hide the first layer's colours
                x = F.instance_norm(x)
            x = F.leaky_relu(x, SLOPE)
            features.append(x)
        return Judgement(logits=self.last(x), features=tuple(features))
