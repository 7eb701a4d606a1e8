"""The mathematics of keypoints: C_k = c_k · R + τ + ε_k, and what of it a reference imposes.

Coordinates are x to the right, y down, z away from the camera, each in [-1, 1] over the picture or
volume. Points are rows, so R here is the transpose of `visage.models.projection.rotation_matrix`:
angles mean the same as everywhere else (yaw > 0 to the right edge, pitch > 0 up, roll > 0
clockwise). Everything computes in fp32 (models.md A.7; Wang, Mallya and Liu, 2021).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor

from visage.models.projection import rotation_matrix
from visage.models.style_mapping.blocks import full_precision
from visage.specs.style_mapping import StylePart

__all__ = [
    "DEGREES_PER_BIN",
    "HeadMotion",
    "expected_angle",
    "expected_position",
    "imposed",
    "place",
    "relative",
    "spread",
]

DEGREES_PER_BIN = 3.0


class HeadMotion(NamedTuple):
    """How a head stands and what the face does, relative to the canonical keypoints."""

    angles_deg: Tensor
    """Pitch, yaw, roll, shape (N, 3)."""
    translation: Tensor
    """τ, shape (N, 3)."""
    expression: Tensor
    """ε_k, shape (N, K, 3)."""


def expected_angle(logits: Tensor) -> Tensor:
    """Σ_i p_i · (3 i - 1.5 B) degrees over the last axis' B bins; with 66 bins, 3 i - 99."""
    with full_precision(logits):
        bins = logits.shape[-1]
        steps = torch.arange(bins, dtype=torch.float32, device=logits.device)
        degrees = DEGREES_PER_BIN * (steps - bins / 2)
        return (logits.float().softmax(dim=-1) * degrees).sum(dim=-1)


def expected_position(logits: Tensor, *, temperature: float) -> Tensor:
    """The mean of a softmax over space, one point a map.

    Args:
        logits: (N, K, D, H, W).
        temperature: What the logits are divided by.

    Returns:
        (N, K, 3): x, y, z in [-1, 1].
    """
    with full_precision(logits):
        shares = (logits.float() / temperature).flatten(2).softmax(dim=-1).view(logits.shape)
        depth, height, width = logits.shape[2:]
        marginals = (shares.sum(dim=(2, 3)), shares.sum(dim=(2, 4)), shares.sum(dim=(3, 4)))
        means = [
            marginal @ torch.linspace(-1, 1, side, device=logits.device)
            for marginal, side in zip(marginals, (width, height, depth), strict=True)
        ]
        return torch.stack(means, dim=-1)


def place(canonical: Tensor, motion: HeadMotion) -> Tensor:
    """C_k = c_k · R + τ + ε_k.

    Args:
        canonical: c_k, shape (N, K, 3); the neutral picture's for its references as well.
        motion: R (as angles), τ and ε_k of the picture whose keypoints are wanted.

    Returns:
        (N, K, 3).
    """
    with full_precision(canonical):
        rotation = rotation_matrix(motion.angles_deg.float()).transpose(-1, -2)
        turned = canonical.float() @ rotation  # (N, K, 3) @ (N, 3, 3)
        return turned + motion.translation.float()[:, None] + motion.expression.float()


def imposed(neutral: HeadMotion, reference: HeadMotion, parts: Collection[StylePart]) -> HeadMotion:
    """The reference's motion in the parts it imposes, the neutral picture's in the others."""
    return HeadMotion(
        angles_deg=(reference if "rotation" in parts else neutral).angles_deg,
        translation=(reference if "translation" in parts else neutral).translation,
        expression=(reference if "expression" in parts else neutral).expression,
    )


def relative(source: Tensor, driving: Tensor, initial: Tensor) -> Tensor:
    """source + s · (driving - initial): the change since the driver's first frame, not its pose.

    s = sqrt(area of source / area of initial), so that a large face moves as much as it should.

    Args:
        source: (N, K, 3).
        driving: (N, K, 3).
        initial: (N, K, 3), of the driver at rest.

    Returns:
        (N, K, 3).
    """
    with full_precision(source):
        source, driving, initial = source.float(), driving.float(), initial.float()
        scale = (spread(source) / spread(initial).clamp_min(1e-6)).sqrt()
        return source + scale[:, None, None] * (driving - initial)


def spread(points: Tensor) -> Tensor:
    """The area that points cover in the picture: sqrt(det of the covariance of x and y).

    Ratios of it equal ratios of convex hulls for point sets that an affine map relates, without the
    hull's jumps; it can be differentiated and needs no loop.

    Args:
        points: (N, K, 3).

    Returns:
        (N,).
    """
    centred = points[..., :2] - points[..., :2].mean(dim=1, keepdim=True)
    x, y = centred.unbind(dim=-1)
    # the determinant as a sum of squares (Cauchy and Binet): flat point sets cancel nothing
    crossed = x[:, :, None] * y[:, None] - y[:, :, None] * x[:, None]
    return crossed.square().mean(dim=(1, 2)).div(2).clamp_min(1e-12).sqrt()
