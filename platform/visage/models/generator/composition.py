"""Putting a frame together from what is painted and from pictures that show through it.

Shares of a pixel add up to 1. They may be enlarged before anything is put together, and then what
shows through keeps the sharpness it has: only what was painted is as coarse as the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from visage.models.enlarging import enlarged_to

__all__ = ["Layers", "composed", "enlarged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """What a masked generator says about a frame."""

    painted: Tensor
    """(N, 3, S, S) in [-1, 1]."""
    shares: Tensor
    """Of the painted picture and of each that shows through, (N, 1 + K, S, S)."""

    def __len__(self) -> int:
        return len(self.painted)

    def __getitem__(self, some: slice) -> Layers:
        return Layers(painted=self.painted[some], shares=self.shares[some])


def composed(layers: Layers, shown: Sequence[Tensor]) -> Tensor:
    """The frame, (N, 3, S, S) in [-1, 1].

    Args:
        layers: Painted picture and shares.
        shown: The K pictures that show through, (N, 3, S, S) each.
    """
    shares = torch.split(layers.shares, 1, 1)
    frame = shares[0] * layers.painted
    for share, picture in zip(shares[1:], shown, strict=True):
        frame = torch.addcmul(frame, share, picture)
    return frame


def enlarged(layers: Layers, size: int) -> Layers:
    """The same for a frame of another side, fp32; shares still add up to 1."""
    painted = enlarged_to(layers.painted.float(), size, "bicubic").clamp(-1, 1)
    return Layers(painted=painted, shares=enlarged_to(layers.shares.float(), size, "bilinear"))
