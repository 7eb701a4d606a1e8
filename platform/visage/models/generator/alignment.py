"""Bringing one face's picture to where another face is, by the best similarity.

A similarity of the plane is one complex number times a point plus another: q = a · p + b, |a| the
scale and arg(a) the turn. The best one over matched points has a closed form, so whole batches are
solved without iterations (Umeyama, 1991, in two dimensions).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.amp.autocast_mode import autocast
from torch.nn import functional as F

__all__ = ["Similarity", "fit_similarity", "warped"]

Similarity = tuple[Tensor, Tensor]
"""Factor a and shift b, complex, shape (N,) each."""

_LEAST = 1e-6


def fit_similarity(moving: Tensor, fixed: Tensor) -> Similarity:
    """The similarity that brings `moving` closest to `fixed` in least squares.

    With centred points p and q: a = Σ conj(p) · q / Σ |p|², b = mean(q) - a · mean(p).

    Args:
        moving: Points (N, P, 2).
        fixed: Points (N, P, 2), matched one to one.
    """
    with autocast(moving.device.type, enabled=False):
        p = torch.view_as_complex(moving.float().contiguous())
        q = torch.view_as_complex(fixed.float().contiguous())
        from_p, from_q = p.mean(1), q.mean(1)
        centred = p - from_p[:, None]
        spread = centred.abs().square().sum(1).clamp_min(_LEAST)
        factor = (centred.conj() * (q - from_q[:, None])).sum(1) / spread
        return factor, from_q - factor * from_p


def warped(
    pictures: Tensor, similarity: Similarity, *, nearest: bool = False, outside: str = "border"
) -> Tensor:
    """Pictures moved by a similarity of their pixel coordinates; pixel centres are whole.

    Args:
        pictures: (N, C, S, S).
        nearest: Take the nearest pixel, for labels, in place of interpolating.
        outside: `border` repeats the edge where the picture ends, `zeros` gives 0.

    Returns:
        The same shape, fp32.
    """
    factor, shift = similarity
    with autocast(pictures.device.type, enabled=False):
        height, width = pictures.shape[2:]
        y, x = torch.meshgrid(
            torch.arange(height, device=pictures.device, dtype=torch.float32),
            torch.arange(width, device=pictures.device, dtype=torch.float32),
            indexing="ij",
        )
        # a face without extent has no inverse: leave its picture where it is
        is_sound = factor.abs() > _LEAST
        factor = torch.where(is_sound, factor, 1)
        shift = torch.where(is_sound, shift, 0)
        # (N, H, W): where each pixel of the result comes from
        origin = (torch.complex(x, y)[None] - shift[:, None, None]) / factor[:, None, None]
        size = torch.tensor((width, height), device=pictures.device)
        grid = (torch.view_as_real(origin) * 2 + 1) / size - 1
        mode = "nearest" if nearest else "bilinear"
        return F.grid_sample(pictures.float(), grid, mode, outside, align_corners=False)
