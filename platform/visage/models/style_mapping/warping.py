"""Flows and how a volume or picture is pulled along them.

A flow says, for each voxel of the result, where in the source it is read: positions
(N, D, H, W, 3) as x, y, z in [-1, 1]. All positions are fp32: half precision has eleven bits, which
is not enough to point at a pixel of 512.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from visage.models.style_mapping.blocks import full_precision

__all__ = ["gaussian_heatmaps", "identity_flow", "sample_volume", "sparse_flows"]


def identity_flow(depth: int, height: int, width: int, *, device: torch.device) -> Tensor:
    """Every voxel reads itself: (D, H, W, 3); the outermost voxels' centres are at -1 and 1."""
    axes = [torch.linspace(-1, 1, side, device=device) for side in (depth, height, width)]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y, z], dim=-1)


def sample_volume(volume: Tensor, flow: Tensor, *, align_corners: bool = True) -> Tensor:
    """A volume read at a flow's positions, trilinear, zero outside.

    Args:
        volume: (N, C, D, H, W).
        flow: (N, D', H', W', 3).
        align_corners: True fits `identity_flow`; False is the released code's mismatch, which
            shrinks what stands still by half a voxel at the edges (models.md A.7).

    Returns:
        (N, C, D', H', W') in fp32.
    """
    with full_precision(volume):
        return F.grid_sample(
            volume.float(), flow.float(), mode="bilinear", padding_mode="zeros",
            align_corners=align_corners,
        )  # fmt: skip


def sparse_flows(
    source: Tensor, driving: Tensor, identity: Tensor, *, turn: Tensor | None = None
) -> Tensor:
    """One flow a keypoint, and first the one of the background, which stands still.

    w_k(p) = J · (p - x_driving,k) + x_source,k with J = 1, or `turn`.

    Args:
        source: (N, K, 3).
        driving: (N, K, 3).
        identity: (D, H, W, 3).
        turn: J, shape (N, 3, 3), for column vectors: R_source · R_driving^-1.

    Returns:
        (N, 1 + K, D, H, W, 3).
    """
    with full_precision(source):
        here = identity.expand(len(source), 1, *identity.shape)
        offsets = here - driving.float()[:, :, None, None, None]  # (N, K, D, H, W, 3)
        if turn is not None:
            offsets = torch.einsum("nij,nkdhwj->nkdhwi", turn.float(), offsets)
        return torch.cat([here, offsets + source.float()[:, :, None, None, None]], dim=1)


def gaussian_heatmaps(points: Tensor, identity: Tensor, *, variance: float) -> Tensor:
    """exp(-|p - x_k|² / 2 variance) over a volume.

    The exponent is a sum over axes, so the map is an outer product of three vectors.

    Args:
        points: (N, K, 3).
        identity: (D, H, W, 3).
        variance: In squared units of [-1, 1].

    Returns:
        (N, K, D, H, W).
    """
    with full_precision(points):
        axes = (identity[0, 0, :, 0], identity[0, :, 0, 1], identity[:, 0, 0, 2])  # x, y, z
        x, y, z = (
            torch.exp(-((axis - points.float()[..., index, None]) ** 2) / (2 * variance))
            for index, axis in enumerate(axes)
        )
        return torch.einsum("nkd,nkh,nkw->nkdhw", z, y, x)
