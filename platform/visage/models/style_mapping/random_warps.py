"""Random smooth maps of the picture plane: an affine map plus a thin-plate spline.

    T(p) = A · (p, 1) + Σ_j w_j · U(|p - g_j|),   U(r) = r² · ln r²,   A = (1 | 0) + noise

A map is drawn from an explicit generator and travels with the sample, so that what a sample is
warped by does not depend on micro-batches, ranks or restarts (models.md A.7).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from visage.models.style_mapping.blocks import full_precision

__all__ = ["RandomWarp", "draw_warps", "warp_pictures", "warp_points"]


class RandomWarp(NamedTuple):
    """N maps from the warped picture's plane to the original's, both [-1, 1]²."""

    affine: Tensor
    """A, (N, 2, 3)."""
    bend: Tensor
    """w_j, (N, G², 2), on G x G control points."""


def draw_warps(
    count: int,
    *,
    affine_sigma: float,
    bend_sigma: float,
    bend_points: int,
    generator: torch.Generator,
) -> RandomWarp:
    """Maps near the identity; spreads are those of A's noise and of w."""
    noise = torch.randn(count, 2, 3, generator=generator) * affine_sigma
    bend = torch.randn(count, bend_points**2, 2, generator=generator) * bend_sigma
    return RandomWarp(affine=torch.eye(2, 3) + noise, bend=bend)


def warp_points(warp: RandomWarp, points: Tensor) -> Tensor:
    """T(p) of points (N, P, 2); P may differ from anything else."""
    with full_precision(points):
        points = points.float()
        linear = points @ warp.affine[:, :, :2].transpose(1, 2) + warp.affine[:, None, :, 2]
        centres = _control_points(warp.bend.shape[1], points.device)
        # (N, P, 1, 2) - (G², 2) → squared distances (N, P, G²)
        squared = (points[:, :, None] - centres).square().sum(dim=-1)
        return linear + (squared * (squared + 1e-6).log()) @ warp.bend


def warp_pictures(warp: RandomWarp, pictures: Tensor) -> Tensor:
    """Pictures (N, C, H, W) read at T(p) for each pixel p; outside, the edge's colour.

    What lay at T(q) lies at q in the result.
    """
    height, width = pictures.shape[-2:]
    with full_precision(pictures):
        rows, columns = (
            torch.linspace(-1, 1, side, device=pictures.device) for side in (height, width)
        )
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        pixels = torch.stack([x, y], dim=-1).flatten(0, 1)
        places = warp_points(warp, pixels.expand(len(pictures), -1, -1))
        return F.grid_sample(
            pictures.float(),
            places.view(-1, height, width, 2),
            padding_mode="border",
            align_corners=True,
        )


def _control_points(count: int, device: torch.device) -> Tensor:
    side = round(count**0.5)
    axis = torch.linspace(-1, 1, side, device=device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)
