"""What style mapping learns from: seven terms, each a pure function, each in fp32.

Weights are published as 10 perceptual, 1 adversarial, 10 feature matching, 10 equivariance, 10
keypoint prior, 20 head pose, 5 expression (models.md A.7; Wang, Mallya and Liu, 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from visage.models.perceptual import feature_distance
from visage.models.style_mapping.blocks import full_precision

__all__ = [
    "FeatureNetwork",
    "equivariance",
    "expression_size",
    "feature_matching",
    "head_pose_error",
    "hinge_discriminator",
    "hinge_generator",
    "keypoint_prior",
    "perceptual_pyramid",
]

FeatureNetwork = Callable[[Tensor], Sequence[Tensor]]
"""Pictures (N, 3, H, W) in [-1, 1] to features; a `visage.models.perceptual.PerceptualNet`."""

LEAST_SIDE_PX = 16
"""What five levels of VGG need."""


def perceptual_pyramid(
    network: FeatureNetwork, ours: Tensor, theirs: Tensor, *, scales: Sequence[float]
) -> Tensor:
    """Σ over scales and layers of mean |φ_l(ours ↓ s) - φ_l(theirs ↓ s)|.

    Scales that leave fewer than 16 pixels are passed over; the network cannot see so little.

    Args:
        network: Frozen; gradients reach `ours` alone.
        ours: (N, 3, S, S) in [-1, 1].
        theirs: (N, 3, S, S) in [-1, 1].
        scales: In (0, 1].
    """
    total = ours.new_zeros((), dtype=torch.float32)
    for scale in scales:
        side = round(ours.shape[-1] * scale)
        if side < LEAST_SIDE_PX:
            continue
        small, target = _reduced(ours, side), _reduced(theirs, side)
        with torch.no_grad():
            wanted = network(target)
        total = total + feature_distance(network(small), wanted)
    return total


def hinge_discriminator(real: Tensor, made: Tensor) -> Tensor:
    """mean max(0, 1 - D(real)) + mean max(0, 1 + D(made)), of logits of any shape."""
    with full_precision(real):
        return F.relu(1 - real.float()).mean() + F.relu(1 + made.float()).mean()


def hinge_generator(made: Tensor) -> Tensor:
    """-mean D(made)."""
    with full_precision(made):
        return -made.float().mean()


def feature_matching(made: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Σ over the discriminator's layers of mean |made - real|; no gradient reaches `real`."""
    with full_precision(made[0]):
        terms = [
            F.l1_loss(one.float(), other.detach().float())
            for one, other in zip(made, real, strict=True)
        ]
        return torch.stack(terms).sum()


def equivariance(points: Tensor, warped_back: Tensor) -> Tensor:
    """mean |x - T(x')| in the picture plane: points move as the picture does.

    Args:
        points: x, of the picture, (N, K, 2 or 3).
        warped_back: T(x') of the points x' found in the picture warped by T, (N, K, 2 or 3).
    """
    with full_precision(points):
        return F.l1_loss(points[..., :2].float(), warped_back[..., :2].float())


def keypoint_prior(points: Tensor, *, least_distance: float, mean_depth: float) -> Tensor:
    """Points keep apart, and their mean depth keeps its place.

    mean over samples of Σ_{i ≠ j} max(0, D - |x_i - x_j|²) + |mean z - z₀|. A point is no
    neighbour of itself (the released code counts it, a constant K · D).

    Args:
        points: (N, K, 3).
        least_distance: D, a squared distance.
        mean_depth: z₀.
    """
    with full_precision(points):
        points = points.float()
        # (N, K, 1, 3) - (N, 1, K, 3) → (N, K, K)
        squared = (points[:, :, None] - points[:, None]).square().sum(dim=-1)
        others = 1 - torch.eye(points.shape[1], device=points.device)
        crowding = (F.relu(least_distance - squared) * others).sum(dim=(1, 2))
        depth = (points[..., 2].mean(dim=1) - mean_depth).abs()
        return (crowding + depth).mean()


def head_pose_error(angles_deg: Tensor, truth_deg: Tensor) -> Tensor:
    """mean over samples of Σ |angle - truth| in degrees, both (N, 3), the short way round."""
    with full_precision(angles_deg):
        apart = angles_deg.float() - truth_deg.float()
        return (torch.remainder(apart + 180, 360) - 180).abs().sum(dim=-1).mean()


def expression_size(expression: Tensor) -> Tensor:
    """mean |ε|, (N, K, 3): what pose can explain, expression should not."""
    with full_precision(expression):
        return expression.float().abs().mean()


def _reduced(pictures: Tensor, side: int) -> Tensor:
    if side == pictures.shape[-1]:
        return pictures
    return F.interpolate(
        pictures.float(), size=(side, side), mode="bilinear", align_corners=False, antialias=True
    )
