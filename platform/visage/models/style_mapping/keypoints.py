"""Canonical keypoints: K points in space that say who is seen, not how the head stands.

    picture (N, 3, S, S) → reduced ÷4 → halved L times → 1x1 to C · D channels, read as a volume
    → doubled L times → K maps (N, K, D, S/4, S/4) → softmax over space, mean position (N, K, 3)

Nobody tells the network where the points belong; the losses do (models.md A.7).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from visage.models.style_mapping.blocks import AntiAlias, ConvBlock, level_widths
from visage.models.style_mapping.transforms import expected_position
from visage.specs.style_mapping import StyleMappingSpec

__all__ = ["CanonicalKeypoints"]


class CanonicalKeypoints(nn.Module):
    """c_k of a picture."""

    def __init__(self, spec: StyleMappingSpec) -> None:
        super().__init__()
        net = spec.canonical
        self._depth, self._temperature = spec.depth, spec.temperature
        widths = level_widths(net.width, net.widest, net.levels)
        self.shrink = AntiAlias(net.shrink)
        self.down = nn.Sequential(*(
            ConvBlock(2, inputs, outputs, resize="halve")
            for inputs, outputs in zip((3, *widths), widths, strict=False)
        ))  # fmt: skip
        self.unfold = nn.Conv2d(widths[-1], widths[-1] * spec.depth, 1)
        upwards = (*widths[::-1], net.width)
        self.up = nn.Sequential(*(
            ConvBlock(3, inputs, outputs, resize="double")
            for inputs, outputs in pairwise(upwards)
        ))  # fmt: skip
        self.maps = nn.Conv3d(net.width, spec.keypoints, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, S, S) in [-1, 1] to (N, K, 3) in [-1, 1]."""
        return expected_position(self.heatmaps(pictures), temperature=self._temperature)

    def heatmaps(self, pictures: Tensor) -> Tensor:
        """Logits over space, (N, K, D, S / shrink, S / shrink)."""
        flat = self.unfold(self.down(self.shrink(pictures)))
        # (N, C · D, h, w) → (N, C, D, h, w)
        volume = flat.unflatten(1, (-1, self._depth))
        maps: Tensor = self.maps(self.up(volume))
        return maps
