"""Enlarging stacks of planes, by whichever kernel is fast where they lie; the results are equal."""

from __future__ import annotations

from typing import Literal

import cv2
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["enlarged_to"]

_KERNELS = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


def enlarged_to(values: Tensor, side: int, how: Literal["bilinear", "bicubic"]) -> Tensor:
    """Square planes of a larger side; pixel centres of both grids lie in the same square.

    On a CPU OpenCV does it, ten times as fast as torch. Planes that a gradient goes through, that
    become smaller (which means over what is left out), or that lie on a GPU, are left to torch.

    Args:
        values: (N, C, s, s), fp32.
        side: S, pixels.

    Returns:
        (N, C, S, S).
    """
    own = values.shape[-1]
    if own == side:
        return values
    if own > side or values.requires_grad or values.device.type != "cpu":
        is_smaller = own > side
        return F.interpolate(values, (side, side), mode=how, antialias=is_smaller)
    count, planes = values.shape[:2]
    given = values.reshape(-1, own, own).numpy()
    made = torch.empty((count * planes, side, side))
    for plane, place in zip(given, made.numpy(), strict=True):
        cv2.resize(plane, (side, side), dst=place, interpolation=_KERNELS[how])
    return made.reshape(count, planes, side, side)
