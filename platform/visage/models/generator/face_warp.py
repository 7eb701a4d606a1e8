"""Pulling a picture by its landmarks until its face is the one that a frame shall show.

The head goes first, by a similarity; then each landmark pulls its surroundings along. Lips, lids
and chin keep the sharpness of the source, and only what was hidden must be painted: what lies
between the lips, above all. A warp holds for pictures of every size: it is worked out on a grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.amp.autocast_mode import autocast
from torch.nn import functional as F

from visage.landmarks import EYES, INNER_LIP, NOSE
from visage.models.enlarging import enlarged_to
from visage.models.facial_map import share_inside
from visage.models.generator.alignment import fit_similarity

__all__ = ["FacePlaces", "FaceWarp", "face_warp", "warped_by"]

_GRID = 64  # spots along a side; between them the warp is interpolated
_SOFTNESS, _REACH = 3e-3, 0.5  # in sizes of the face: where weights level off, and die away
_DARK = -0.8  # of [-1, 1]: a mouth inside
_LEAST = 1e-6
_STEADY = np.concatenate([NOSE, EYES])


@dataclass(frozen=True, slots=True, kw_only=True)
class FacePlaces:
    """Landmarks of a source and of the frames it shall become, pixels, (N, 68, 2) each."""

    source: Tensor
    frame: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceWarp:
    """Where each place of a frame comes from in its source, both in [-1, 1] of their sides."""

    head: Tensor
    """The similarity of the whole picture, as a matrix for (x, y, 1), (N, 2, 3)."""
    pull: Tensor
    """What is added around each landmark, x and y on a grid, (N, 2, G, G)."""
    inside: Tensor
    """How much of each pixel of the frame lies between the lips, (N, 1, S, S) in [0, 1]."""

    def __getitem__(self, some: slice) -> FaceWarp:
        return FaceWarp(head=self.head[some], pull=self.pull[some], inside=self.inside[some])


def face_warp(places: FacePlaces, size: int) -> FaceWarp:
    """How a source must be pulled so that its face becomes the frame's.

    The head first, by the similarity of eyes and nose, which speech does not move; then what is
    left at each landmark, spread over its surroundings by inverse distance weighting (Shepard,
    1968): r(v) = Σ w_i r_i / (w_0 + Σ w_i), w_i = (|v - t_i|² + ε)^(-3/2), lengths in sizes of the
    face. The constant w_0 lets r vanish away from the face.

    Args:
        places: Pixels of pictures of that side.
        size: Side of the pictures.
    """
    with autocast(places.frame.device.type, enabled=False):
        source, frame = ((2 * one.float() + 1) / size - 1 for one in (places.source, places.frame))
        factor, shift = fit_similarity(frame[:, _STEADY], source[:, _STEADY])
        turned = factor[:, None] * torch.view_as_complex(frame.contiguous()) + shift[:, None]
        rows = (factor.real, -factor.imag, shift.real), (factor.imag, factor.real, shift.imag)
        return FaceWarp(
            head=torch.stack([torch.stack(row, 1) for row in rows], 1),
            pull=_spread(source - torch.view_as_real(turned), frame),
            inside=share_inside(places.frame[:, INNER_LIP].float(), size)[:, None],
        )


def _spread(vectors: Tensor, points: Tensor) -> Tensor:
    """Vectors at points of [-1, 1]² to vectors on a grid over it, (N, P, 2) twice to (N, 2, G, G).

    The squared distances along each axis are few, and their sums are those of all spots.
    """
    spots = (2 * torch.arange(_GRID, device=points.device) + 1) / _GRID - 1
    size = torch.linalg.vector_norm(points - points.mean(1, keepdim=True), dim=2).mean(1)
    unit = size.clamp_min(_LEAST)[:, None, None]
    across, down = (
        ((spots - points[:, :, axis, None]) / unit).square() for axis in (0, 1)
    )  # (N, P, G) each
    weights = (across[:, :, None] + (down + _SOFTNESS)[..., None]).rsqrt_()  # (N, P, G, G)
    weights = weights.square().mul_(weights).flatten(2)
    sums = F.pad(vectors, (0, 1), value=1.0).mT @ weights  # (N, 3, G²)
    pull: Tensor = sums[:, :2] / (sums[:, 2:] + _REACH**-3)
    return pull.view(-1, 2, _GRID, _GRID)


def warped_by(pictures: Tensor, warp: FaceWarp) -> Tensor:
    """Pictures pulled to where the frame's face is, dark between the lips.

    What lies behind lips cannot be pulled from them; dark is what is nearest to it, and the rest
    must be painted. That goes for lips that were open as well: what is nearly right would be left
    as it is, and painting teeth never learnt.

    Args:
        pictures: (N, C, S, S) in [-1, 1], of any side.
        warp: Of N faces.

    Returns:
        The same shape, fp32.
    """
    side = pictures.shape[-1]
    with autocast(pictures.device.type, enabled=False):
        origin = _origin(warp, side).movedim(1, 3)
        pulled = F.grid_sample(pictures.float(), origin, "bilinear", "border", align_corners=False)
        inside = enlarged_to(warp.inside, side, "bilinear")
        return torch.lerp(pulled, pulled.new_full((), _DARK), inside)


def _origin(warp: FaceWarp, side: int) -> Tensor:
    """Where each pixel of frames of a side comes from, in [-1, 1], (N, 2, S, S)."""
    along = (2 * torch.arange(side, device=warp.head.device) + 1) / side - 1
    x, y, shift = (warp.head[:, :, one, None] for one in range(3))  # (N, 2, 1) each
    turned = (x * along)[:, :, None] + (y * along + shift)[..., None]
    return turned.add_(enlarged_to(warp.pull, side, "bilinear"))
