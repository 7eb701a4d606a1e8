"""The intermediate generator: source picture and two sets of keypoints to the moved picture.

    picture (N, 3, S, S) → volume (N, C, D, S/4, S/4)                     `Appearance`
    volume, keypoints → flow, occlusion                                   `DenseMotion`
    volume read along the flow → (N, C · D, S/4, S/4) → features → picture  a decoder

The volume does not depend on the motion: four references of one neutral picture share it.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from visage.models.style_mapping.blocks import ConvBlock, ResidualBlock
from visage.models.style_mapping.decoders import PlainDecoder, SpadeDecoder
from visage.models.style_mapping.dense_motion import DenseMotion, Motion
from visage.models.style_mapping.warping import sample_volume
from visage.specs.style_mapping import StyleMappingSpec

__all__ = ["Appearance", "IntermediateGenerator", "Moved"]


class Moved(NamedTuple):
    """What the generator made, and how."""

    picture: Tensor
    """(N, 3, S, S) in [-1, 1]."""
    motion: Motion


class Appearance(nn.Module):
    """What is seen, laid out in space."""

    def __init__(self, spec: StyleMappingSpec) -> None:
        super().__init__()
        net = spec.appearance
        self._depth = spec.depth
        self.flat = nn.Sequential(
            ConvBlock(2, 3, net.width),
            ConvBlock(2, net.width, 2 * net.width, resize="halve"),
            ConvBlock(2, 2 * net.width, 4 * net.width, resize="halve"),
            nn.Conv2d(4 * net.width, net.channels * spec.depth, 1),
        )
        self.volume = nn.Sequential(*(ResidualBlock(3, net.channels) for _ in range(net.blocks)))

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, S, S) in [-1, 1] to (N, C, D, S / 4, S / 4)."""
        # (N, C · D, h, w) → (N, C, D, h, w)
        volume: Tensor = self.volume(self.flat(pictures).unflatten(1, (-1, self._depth)))
        return volume


class IntermediateGenerator(nn.Module):
    """Appearance, dense motion and decoder of one spec."""

    def __init__(self, spec: StyleMappingSpec) -> None:
        super().__init__()
        self._align_corners = spec.align_corners
        features = 4 * spec.appearance.width
        self.appearance = Appearance(spec)
        self.dense_motion = DenseMotion(spec)
        self.fold = nn.Sequential(
            ConvBlock(2, spec.appearance.channels * spec.depth, features),
            nn.Conv2d(features, features, 1),
        )
        self.decoder: nn.Module = (
            SpadeDecoder(features, spec.picture)
            if spec.decoder == "spade"
            else PlainDecoder(features, spec.picture)
        )

    def forward(
        self,
        pictures: Tensor,
        source: Tensor,
        driving: Tensor,
        *,
        source_angles_deg: Tensor | None = None,
        driving_angles_deg: Tensor | None = None,
    ) -> Moved:
        """Pictures (N, 3, S, S) in [-1, 1] moved from keypoints `source` to `driving` (N, K, 3)."""
        return self.moved(
            self.appearance(pictures), source, driving,
            source_angles_deg=source_angles_deg, driving_angles_deg=driving_angles_deg,
        )  # fmt: skip

    def moved(
        self,
        volume: Tensor,
        source: Tensor,
        driving: Tensor,
        *,
        source_angles_deg: Tensor | None = None,
        driving_angles_deg: Tensor | None = None,
    ) -> Moved:
        """The same from a volume (N, C, D, S / 4, S / 4) that `appearance` made."""
        motion = self.dense_motion(
            volume, source, driving,
            source_angles_deg=source_angles_deg, driving_angles_deg=driving_angles_deg,
        )  # fmt: skip
        warped = sample_volume(volume, motion.flow, align_corners=self._align_corners)
        # (N, C, D, h, w) → (N, C · D, h, w)
        features = self.fold(warped.flatten(1, 2))
        if motion.occlusion is not None:
            features = features * motion.occlusion
        return Moved(picture=self.decoder(features), motion=motion)
