"""Lips that do not pass through each other (models.md A.4.5).

Each frame is mended by what is wrong in that frame; another frame never changes it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from visage.landmarks import INNER_LIP_PAIRS

__all__ = ["mouth_opening", "part_lips"]

_OUTER_UPPER = (49, 50, 51, 52, 53)
_OUTER_LOWER = (55, 56, 57, 58, 59)
_UP_DOWN = 1
"""The y coordinate; it grows downwards."""


def part_lips(landmarks: Tensor) -> Tensor:
    """Where an upper point of the inner lip lies below its partner, both meet half way.

    If that is so for all three pairs the lips as a whole overlap, and the outer lips are moved as
    well, by half of that frame's mean overlap.

    Args:
        landmarks: (..., 68, 3) or (..., 68, 2), y down.

    Returns:
        A new tensor in which no pair is flipped; frames without a flipped pair are unchanged.
    """
    upper, lower = (
        torch.tensor(side, device=landmarks.device) for side in zip(*INNER_LIP_PAIRS, strict=True)
    )
    overlap = (landmarks[..., upper, _UP_DOWN] - landmarks[..., lower, _UP_DOWN]).clamp(min=0)
    is_whole = (overlap > 0).all(dim=-1, keepdim=True)
    outer = torch.where(is_whole, overlap.mean(dim=-1, keepdim=True), 0.0)
    mended = landmarks.clone()
    middle = (landmarks[..., upper, _UP_DOWN] + landmarks[..., lower, _UP_DOWN]) / 2
    for points, shift in ((upper, overlap), (lower, overlap)):
        height = mended[..., points, _UP_DOWN]
        mended[..., points, _UP_DOWN] = torch.where(shift > 0, middle, height)
    mended[..., _OUTER_UPPER, _UP_DOWN] -= outer / 2
    mended[..., _OUTER_LOWER, _UP_DOWN] += outer / 2
    return mended


def mouth_opening(landmarks: Tensor) -> Tensor:
    """The signed gap between the lips, (..., 68, 2 or 3) to (...): mean over the inner pairs.

    Positive where the lips are apart, in the unit of the landmarks.
    """
    gaps = [landmarks[..., low, _UP_DOWN] - landmarks[..., up, _UP_DOWN]
            for up, low in INNER_LIP_PAIRS]  # fmt: skip
    return torch.stack(gaps, dim=-1).mean(dim=-1)
