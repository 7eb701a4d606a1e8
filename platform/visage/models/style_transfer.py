"""Style transfer between talking heads: the feature network f and its losses (models.md A.9).

    φ     landmarks as displacements from the mean shape, head motion and identity removed
    L_sc  = |mean_t f(φ_mg) - mean_t f(φ_s)|²          generated and style landmarks feel alike
    φ̂     = g φ_s + (1 - g) φ_mg                        g: gamma, drawn or fixed
    L_r   = (|∇_φ̂ f(φ̂)| - 1)²                          f neither flattens nor tears
    L_transfer = L_mg + L_sc + L_r

f is a vector, so a gradient's norm needs a scalar of it: vᵀf for a random unit v; vᵀf for the v
along which L_sc is measured (`critic_directions`: then L_sc is the square of a Wasserstein critic's
difference); or the mean of the components (literal, a 256 times harder pull). Everything here
computes in fp32 with autocast off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from visage.errors import CollapseError
from visage.landmarks import ANCHORS, JAW, MOUTH, OUTER_EYE_CORNERS, POINTS
from visage.specs.style_transfer import StyleFeaturesSpec

__all__ = [
    "CollapseGuard",
    "FeatureHealth",
    "StyleFeatures",
    "critic_directions",
    "gradient_penalty",
    "mean_direction",
    "mean_gap",
    "mixed",
    "registered",
    "scaled_only",
    "style_constraint",
    "unit_directions",
]

INPUTS = POINTS * 3
LEAK = 0.2
_LEAKY_RMS = ((1 + LEAK**2) / 2) ** 0.5
"""Root mean square slope of the leaky ReLU where half of its inputs are negative."""


class StyleFeatures(nn.Module):
    """f: linear layers with leaky ReLU between them, each frame on its own, no normalisation.

    Batch statistics would tie frames together and give their gradients another meaning. The first
    weights are orthogonal and scaled so that |∇ vᵀf| starts near 1, where L_r wants it.
    """

    def __init__(self, spec: StyleFeaturesSpec) -> None:
        super().__init__()
        self.phi_scale = spec.phi_scale
        self.width = spec.widths[-1]
        layers: list[nn.Module] = []
        before = INPUTS
        for index, after in enumerate(spec.widths):
            linear = nn.Linear(before, after)
            # the backward pass sees a projection onto `before` of `after` dimensions, and a ReLU
            gain = max(1.0, after / before) ** 0.5 / (_LEAKY_RMS if index else 1.0)
            nn.init.orthogonal_(linear.weight, gain=gain)
            nn.init.zeros_(linear.bias)
            layers += [nn.LeakyReLU(LEAK), linear] if layers else [linear]
            before = after
        self.layers = nn.Sequential(*layers)

    def forward(self, phi: Tensor) -> Tensor:
        """Registered landmarks (..., 68, 3) to features (..., width), in fp32."""
        with torch.autocast(phi.device.type, enabled=False):
            features: Tensor = self.layers(self.phi_scale * phi.float().flatten(-2))
            return features


def registered(landmarks: Tensor, mean: Tensor) -> Tensor:
    """Landmarks as style sees them: displacements from the mean shape, in outer eye distances.

    Each frame is turned and moved so that nine points that speech hardly moves lie on those of the
    mean shape (a rigid motion, the best in the least-squares sense). What remains is the same
    however head and camera moved, and does not tell whose face it is.

    Args:
        landmarks: (..., T, 68, 3).
        mean: The clip's mean shape (..., 68, 3).

    Returns:
        (..., T, 68, 3). Gradients pass as if rotation and place were constants.
    """
    with torch.autocast(landmarks.device.type, enabled=False):
        points, rest = landmarks.float(), mean.float()[..., None, :, :]
        anchors, wanted = points.detach()[..., ANCHORS, :], rest[..., ANCHORS, :]
        here, there = anchors.mean(dim=-2, keepdim=True), wanted.mean(dim=-2, keepdim=True)
        # (..., T, 3, 3): Kabsch
        left, _, right = torch.linalg.svd((anchors - here).mT @ (wanted - there))
        handed = torch.det(left @ right)[..., None]
        flip = torch.cat([torch.ones_like(handed).expand(*handed.shape[:-1], 2), handed], dim=-1)
        turn = (left * flip[..., None, :]) @ right
        aligned = (points - here) @ turn + there
        first, second = OUTER_EYE_CORNERS
        eyes = (mean[..., first, :] - mean[..., second, :]).float().norm(dim=-1)
        phi: Tensor = (aligned - rest) / eyes[..., None, None, None]
        return phi


def style_constraint(
    features: StyleFeatures, made: Tensor, style: Tensor, *, over: Literal["window", "batch"]
) -> Tensor:
    """L_sc: squared distance of mean features.

    A window's mean holds what was said as well as how; over the whole batch what was said averages
    out, at the price that the loss depends on how large a batch goes through at once.

    Args:
        features: f.
        made: φ_mg, (N, T, 68, 3).
        style: φ_s, (N, T', 68, 3).
        over: Means over the time of each sample, whose distances are averaged; or over all frames.
    """
    apart = mean_gap(features, made, style, over=over)
    loss: Tensor = apart.square().sum(dim=-1).mean()
    return loss


def mean_gap(
    features: StyleFeatures, made: Tensor, style: Tensor, *, over: Literal["window", "batch"]
) -> Tensor:
    """Mean style feature less mean generated feature, (N, width), or (1, width) over the batch."""
    dims = (1,) if over == "window" else (0, 1)
    gap: Tensor = features(style).mean(dim=dims) - features(made).mean(dim=dims)
    return gap if over == "window" else gap[None]


def mixed(made: Tensor, style: Tensor, gamma: Tensor) -> Tensor:
    """φ̂ between the generated and the style's landmarks, cut from the graph.

    Args:
        made: (N, T, 68, 3).
        style: (N, T, 68, 3).
        gamma: The style's share in each frame, (N, T).
    """
    return torch.lerp(made.float(), style.float(), gamma[..., None, None]).detach()


def gradient_penalty(features: StyleFeatures, phi: Tensor, directions: Tensor) -> Tensor:
    """L_r: how far the norm of f's gradient is from 1, squared, a mean over frames.

    With respect to what f's first layer reads (φ times its scale), as is every length in f. Can be
    differentiated again, with respect to f's weights.

    Args:
        features: f.
        phi: φ̂, (N, T, 68, 3).
        directions: What makes a scalar of f, (N, width): `unit_directions`, `critic_directions` or
            `mean_direction`.
    """
    return (gradient_norms(features, phi, directions, create_graph=True) - 1).square().mean()


def gradient_norms(
    features: StyleFeatures, phi: Tensor, directions: Tensor, *, create_graph: bool = False
) -> Tensor:
    """|∇ vᵀf| at each frame, (N, T)."""
    with torch.enable_grad(), torch.autocast(phi.device.type, enabled=False):
        leaf = phi.detach().float().requires_grad_(True)
        # frames do not see each other, so the gradient of the sum holds that of each frame
        scalar = (features(leaf) * directions[:, None].float()).sum()
        (gradient,) = torch.autograd.grad(scalar, leaf, create_graph=create_graph)
        # a small constant keeps the norm differentiable at 0
        norms: Tensor = (gradient.flatten(-2).square().sum(dim=-1) + 1e-12).sqrt()
        scaled: Tensor = norms / features.phi_scale
        return scaled


def unit_directions(normal: Tensor) -> Tensor:
    """Random unit vectors of standard normal draws (..., width)."""
    directions: Tensor = normal / normal.norm(dim=-1, keepdim=True)
    return directions


@torch.no_grad()
def critic_directions(
    features: StyleFeatures, made: Tensor, style: Tensor, *, over: Literal["window", "batch"]
) -> Tensor:
    """Unit vectors from generated to style features, (N, width): L_sc = (vᵀ Δ mean f)²."""
    gap = mean_gap(features, made, style, over=over)
    directions: Tensor = gap / gap.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return directions.expand(len(made), -1)


def mean_direction(count: int, width: int, device: torch.device) -> Tensor:
    """The vector that makes the mean component of f, (count, width)."""
    return torch.full((count, width), 1 / width, device=device)


def scaled_only(made: Tensor, style: Tensor) -> Tensor:
    """The baseline without any learning: jaw and mouth move as much as the style's do.

    Metrics of style reward amplitude alone, so a transfer must beat this.

    Args:
        made: φ_mg, (T, 68, 3).
        style: φ_s, (T', 68, 3).

    Returns:
        (T, 68, 3): jaw and mouth scaled about their mean over time by one factor.
    """
    moving = torch.from_numpy(_JAW_AND_MOUTH).to(made.device)

    def swing(phi: Tensor) -> Tensor:
        part = phi[:, moving]
        return (part - part.mean(dim=0)).square().mean().sqrt()

    factor = swing(style) / swing(made).clamp_min(1e-6)
    part, out = made[:, moving], made.clone()
    rest = part.mean(dim=0)
    out[:, moving] = rest + factor * (part - rest)
    return out


_JAW_AND_MOUTH = np.concatenate([JAW, MOUTH])


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureHealth:
    """Whether f still tells landmarks apart."""

    spread: float
    """Deviation of features over deviation of their inputs; near 1 for a new f."""
    gradient: float
    """Mean |∇ vᵀf|; L_r holds it at 1."""


class CollapseGuard:
    """Watches f on fixed landmarks, so that every rank sees the same and decides alike.

    If f and the generator both minimise L_sc, the cheapest f is a constant. L_r forbids it as long
    as its weight suffices.
    """

    def __init__(
        self, probes: Tensor, width: int, *, least_spread: float, least_gradient: float
    ) -> None:
        """probes: φ of frames that differ, (P, 68, 3)."""
        self._probes = probes.float()[:, None]  # (P, 1, 68, 3)
        draws = torch.Generator().manual_seed(0)
        normal = torch.randn(len(probes), width, generator=draws)
        self._directions = unit_directions(normal).to(probes.device)
        self._least = FeatureHealth(spread=least_spread, gradient=least_gradient)

    def look(self, features: StyleFeatures) -> FeatureHealth:
        """Measure f as it is now."""
        with torch.no_grad():
            made = features(self._probes).flatten(1)
            given = features.phi_scale * self._probes.flatten(1)
            ratio = made.var(dim=0).sum() / given.var(dim=0).sum().clamp_min(1e-12)
            # unit gradients into fewer dimensions keep that share of the variance
            spread = (ratio * INPUTS / features.width).sqrt()
        gradient = gradient_norms(features, self._probes, self._directions).mean()
        return FeatureHealth(spread=float(spread), gradient=float(gradient))

    def has_collapsed(self, health: FeatureHealth) -> bool:
        """Whether either measure is below what the spec allows."""
        return health.spread < self._least.spread or health.gradient < self._least.gradient

    def check(self, features: StyleFeatures) -> FeatureHealth:
        """Measure, and raise CollapseError if f has collapsed."""
        health = self.look(features)
        if self.has_collapsed(health):
            raise CollapseError(
                f"style transfer: the features have collapsed (spread {health.spread:.3f}, at "
                f"least {self._least.spread}; gradient {health.gradient:.3f}, at least "
                f"{self._least.gradient}), so L_sc says nothing any more. Raise lambda_penalty, "
                "lower the learning rate, use mode=adversarial, or set collapse=reweigh"
            )
        return health
