"""How well a predicted mouth moves: figures that compare runs, whatever their losses weigh.

Distances are given in percent of the distance between the outer eye corners, the unit of object
coordinates (models.md A-M).
"""

from __future__ import annotations

import torch
from torch import Tensor

from visage.landmarks import MOUTH
from visage.models.motion.lips import mouth_opening

__all__ = ["mouth_error", "opening_correlation"]

_PERCENT = 100.0
_STILL = 1e-8
"""A mouth whose opening varies less than this (a variance) has no rhythm to compare."""


def mouth_error(predicted: Tensor, true: Tensor) -> Tensor:
    """Mean distance of the mouth's points, each frame's mouth moved to its own centre (LMD).

    Args:
        predicted: Landmarks or displacements (N, T, 68, 3).
        true: As predicted.

    Returns:
        (N,) in percent of the eye distance; 0 for equal mouths wherever they are.
    """
    # centring is linear: the difference may be centred in place of the two mouths
    apart = _centred((predicted.float() - true.float())[..., MOUTH, :])
    distances: Tensor = apart.norm(dim=-1)
    return _PERCENT * distances.mean(dim=(1, 2))


def opening_correlation(predicted: Tensor, true: Tensor) -> Tensor:
    """Pearson correlation over time of how far the mouth is open, (N, T, 68, 3) twice to (N,).

    1 = opens and closes with the truth whatever its amplitude; 0 if either mouth is still.
    """
    with torch.autocast(predicted.device.type, enabled=False):
        one, other = (mouth_opening(x.float()) for x in (predicted, true))
        one, other = (x - x.mean(dim=1, keepdim=True) for x in (one, other))
        variances = (one**2).mean(dim=1), (other**2).mean(dim=1)
        shared = (one * other).mean(dim=1)
        moves = (variances[0] > _STILL) & (variances[1] > _STILL)
        correlation = shared / (variances[0] * variances[1]).clamp(min=_STILL**2).sqrt()
        return torch.where(moves, correlation, 0.0)


def _centred(mouth: Tensor) -> Tensor:
    return mouth - mouth.mean(dim=-2, keepdim=True)
