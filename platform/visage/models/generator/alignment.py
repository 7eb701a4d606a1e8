"""Bringing one face's picture to where another face is: the best similarity, and the warp.

A similarity of the plane is one complex number times a point plus another: q = a · p + b, |a| the
scale and arg(a) the turn. The best one over matched points has a closed form, so whole batches are
solved without iterations (Umeyama, 1991, in two dimensions).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.amp.autocast_mode import autocast
from torch.nn import functional as F

from visage.landmarks import EYES, MOUTH, NOSE

__all__ = ["FacePlaces", "Similarity", "fit_similarity", "moved_with_head", "warped"]

Similarity = tuple[Tensor, Tensor]
"""Factor a and shift b, complex, shape (N,) each."""

_LEAST = 1e-6
_MOUTH_ROOM, _MOUTH_BAND = 1.2, 0.02
_STEADY = np.concatenate([NOSE, EYES])


@dataclass(frozen=True, slots=True, kw_only=True)
class FacePlaces:
    """Landmarks of a source and of the frames it shall become, pixels, (N, 68, 2) each."""

    source: Tensor
    frame: Tensor


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


def moved_with_head(source: Tensor, places: FacePlaces) -> Tensor:
    """The source as if its head had moved in the plane, its mouth taken out.

    Moved by the similarity of eyes and nose, which speech does not move. An ellipse about both the
    mouth that it had and the one that it shall have is 0: a mouth that is nearly right would be
    left as it is, and must be painted instead.

    Args:
        source: (N, C, S, S).
        places: Where its face is, and where it shall be.

    Returns:
        The same shape.
    """
    factor, shift = fit_similarity(places.source[:, _STEADY], places.frame[:, _STEADY])
    moved = warped(source, (factor, shift))
    had = torch.view_as_complex(places.source[:, MOUTH].float().contiguous())
    had = torch.view_as_real(factor[:, None] * had + shift[:, None])
    inside = _ellipse(torch.cat((had, places.frame[:, MOUTH].float()), 1), source.shape[-1])
    return (moved * ~inside).to(source.dtype)


def _ellipse(points: Tensor, size: int) -> Tensor:
    """Which pixels lie in an ellipse somewhat wider than the points' extents, (N, 1, S, S)."""
    low, high = points.amin(1), points.amax(1)
    middle = (low + high) / 2
    radius = _MOUTH_ROOM * (high - low) / 2 + _MOUTH_BAND * size
    along = torch.arange(size, device=points.device, dtype=torch.float32)
    x, y = (
        ((along - middle[:, one, None]) / radius[:, one, None]).square() for one in (0, 1)
    )  # (N, S) each
    return (y[:, :, None] + x[:, None, :] <= 1)[:, None]
