"""Dense motion: which of the K + 1 sparse flows does each voxel follow, and what is hidden.

    volume (N, C, D, H, W) → compressed (N, c, D, H, W), warped along each of 1 + K sparse flows
    with the difference of Gaussians at driving and source keypoints → (N, (1 + K)(1 + c), D, H, W)
    → 3-D hourglass → masks m (N, 1 + K, D, H, W), Σ_k m_k = 1;  flow = Σ_k m_k · w_k
                    → occlusion (N, 1, H, W) in [0, 1]

(Wang, Mallya and Liu, 2021; models.md A.7.)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from visage.models.projection import rotation_matrix
from visage.models.style_mapping.blocks import ConvBlock, full_precision, level_widths
from visage.models.style_mapping.warping import (
    gaussian_heatmaps,
    identity_flow,
    sample_volume,
    sparse_flows,
)
from visage.specs.style_mapping import StyleMappingSpec

__all__ = ["DenseMotion", "Hourglass", "Motion"]

OCCLUSION_KERNEL = 7


class Motion(NamedTuple):
    """Where each voxel of the result is read, and how much of it can be seen at all."""

    flow: Tensor
    """(N, D, H, W, 3) in [-1, 1]."""
    masks: Tensor
    """(N, 1 + K, D, H, W), the background first; sums to 1 over axis 1."""
    occlusion: Tensor | None
    """(N, 1, H, W): 1 = seen in the source, 0 = to be invented."""


class DenseMotion(nn.Module):
    """Keypoints of source and driving to one flow."""

    def __init__(self, spec: StyleMappingSpec) -> None:
        super().__init__()
        net = spec.motion
        self._variance, self._align_corners = net.heatmap_variance, spec.align_corners
        self._turns = net.local_motion == "rotation"
        self.compress = ConvBlock(3, spec.appearance.channels, net.compress, kernel=1)
        inputs = (1 + spec.keypoints) * (1 + net.compress)
        self.hourglass = Hourglass(inputs, level_widths(net.width, net.widest, net.levels))
        outputs = self.hourglass.outputs
        self.masks = nn.Conv3d(outputs, 1 + spec.keypoints, net.kernel, padding=net.kernel // 2)
        self.occlusion = (
            nn.Conv2d(outputs * spec.depth, 1, OCCLUSION_KERNEL, padding=OCCLUSION_KERNEL // 2)
            if spec.occlusion
            else None
        )

    def forward(
        self,
        volume: Tensor,
        source: Tensor,
        driving: Tensor,
        *,
        source_angles_deg: Tensor | None = None,
        driving_angles_deg: Tensor | None = None,
    ) -> Motion:
        """The flow from the driving picture's place to the source volume.

        Args:
            volume: (N, C, D, H, W), of the source picture.
            source: (N, K, 3).
            driving: (N, K, 3).
            source_angles_deg: (N, 3), used if each sparse flow turns with the head.
            driving_angles_deg: (N, 3), likewise.
        """
        turn = None
        if self._turns and source_angles_deg is not None and driving_angles_deg is not None:
            with full_precision(volume):
                back = rotation_matrix(driving_angles_deg.float()).transpose(-1, -2)
                turn = rotation_matrix(source_angles_deg.float()) @ back
        identity = identity_flow(*volume.shape[2:], device=volume.device)
        flows = sparse_flows(source, driving, identity, turn=turn)
        features = self.hourglass(self._evidence(volume, source, driving, identity, flows))
        logits = self.masks(features)
        with full_precision(volume):
            masks = logits.float().softmax(dim=1)
            # (N, 1 + K, D, H, W) · (N, 1 + K, D, H, W, 3) → (N, D, H, W, 3)
            flow = torch.einsum("nkdhw,nkdhwc->ndhwc", masks, flows)
        seen = None
        if self.occlusion is not None:
            # (N, C, D, H, W) → (N, C · D, H, W)
            seen = torch.sigmoid(self.occlusion(features.flatten(1, 2)).float())
        return Motion(flow=flow, masks=masks, occlusion=seen)

    def _evidence(
        self, volume: Tensor, source: Tensor, driving: Tensor, identity: Tensor, flows: Tensor
    ) -> Tensor:
        """What the hourglass sees of each sparse flow: (N, (1 + K)(1 + c), D, H, W)."""
        count, flow_count = flows.shape[:2]
        bumps = gaussian_heatmaps(driving, identity, variance=self._variance)
        bumps = bumps - gaussian_heatmaps(source, identity, variance=self._variance)
        bumps = torch.cat([torch.zeros_like(bumps[:, :1]), bumps], dim=1)  # the background has none
        small = self.compress(volume)
        # (N, 1 + K, c, D, H, W) → (N (1 + K), c, D, H, W): all flows in one call
        copies = small[:, None].expand(-1, flow_count, -1, -1, -1, -1).flatten(0, 1)
        warped = sample_volume(copies, flows.flatten(0, 1), align_corners=self._align_corners)
        warped = warped.view(count, flow_count, *warped.shape[1:])
        return torch.cat([bumps[:, :, None], warped], dim=2).flatten(1, 2)


class Hourglass(nn.Module):
    """Halved and doubled again, each level joined by what it was on the way down."""

    def __init__(self, inputs: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            ConvBlock(3, narrow, wide, resize="halve")
            for narrow, wide in zip((inputs, *widths), widths, strict=False)
        )
        skips = (*widths[-2::-1], inputs)  # channels that join after each doubling
        narrowed = (*widths[-2::-1], max(1, widths[0] // 2))
        joined = (widths[-1], *(a + b for a, b in zip(narrowed, skips, strict=True)))
        self.up = nn.ModuleList(
            ConvBlock(3, wide, narrow, resize="double")
            for wide, narrow in zip(joined, narrowed, strict=False)
        )
        self.outputs = joined[-1]
        self.last = ConvBlock(3, self.outputs, self.outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, D, H, W) to (N, outputs, D, H, W)."""
        passed = [x]
        for block in self.down:
            passed.append(block(passed[-1]))
        x = passed.pop()
        for block in self.up:
            x = block(x)
            x = torch.cat([x, passed.pop().to(x.dtype)], dim=1)
        joined: Tensor = self.last(x)
        return joined
