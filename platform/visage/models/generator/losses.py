"""What teaches the generator, each loss a pure function (models.md A.8).

All of them compute in fp32 whatever the networks ran in, and all are means over the samples, so
that a batch may be cut up and put together again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.amp.autocast_mode import autocast
from torch.nn import functional as F

from visage.models.generator.discriminator import Judgement

__all__ = [
    "best_match",
    "feature_matching",
    "gram_distance",
    "gram_matrix",
    "lsgan_generator",
    "lsgan_judge",
    "region_weights",
    "style_photometric",
    "weighted_l1",
]


def lsgan_generator(made: Sequence[Judgement]) -> Tensor:
    """Σ_scales mean (D(made) - 1)²: least squares instead of log-likelihood (Mao et al., 2017)."""
    return torch.stack([(one.logits.float() - 1).square().mean() for one in made]).sum()


def lsgan_judge(
    real: Sequence[Judgement], made: Sequence[Judgement], *, real_weight: float = 1.0
) -> Tensor:
    """Σ_scales ½ (w · mean (D(real) - 1)² + mean D(made)²)."""
    of_real = torch.stack([(one.logits.float() - 1).square().mean() for one in real]).sum()
    of_made = torch.stack([one.logits.float().square().mean() for one in made]).sum()
    return (real_weight * of_real + of_made) / 2


def feature_matching(made: Sequence[Judgement], real: Sequence[Judgement]) -> Tensor:
    """Σ_scales Σ_layers 4 / (L + 1) / scales · mean|D_l(made) - D_l(real)| (pix2pixHD).

    L + 1 is the number of inner layers; no gradient reaches the real side.
    """
    terms = []
    for ours, theirs in zip(made, real, strict=True):
        share = 4 / len(ours.features) / len(made)
        terms += [
            share * (a.float() - b.detach().float()).abs().mean()
            for a, b in zip(ours.features, theirs.features, strict=True)
        ]
    return torch.stack(terms).sum()


def gram_matrix(features: Tensor) -> Tensor:
    """F · Fᵀ / (C · H · W) of features (N, C, H, W), fp32 (N, C, C) (Gatys et al., 2016)."""
    with autocast(features.device.type, enabled=False):
        flat = features.float().flatten(2)  # (N, C, H · W)
        # divided before the product: a sum of squares over a large picture leaves what fp16 holds
        return flat / flat[0].numel() @ flat.transpose(1, 2)


def gram_distance(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    """Σ_layers mean (G(a) - G(b))²: whether two pictures have the same texture, wherever it is."""
    return torch.stack([
        (gram_matrix(a) - gram_matrix(b)).square().mean()
        for a, b in zip(ours, theirs, strict=True)
    ]).sum()  # fmt: skip


def region_weights(target: Tensor, matched: Tensor, table: Tensor) -> Tensor:
    """W of L_sp: the weight of a pixel's region where both pictures show that region, else 0.

    Args:
        target: Region labels of the target, (N, S, S), whole numbers.
        matched: Region labels of I_m, brought to the target, same shape.
        table: Weight of each label.

    Returns:
        fp32 (N, 1, S, S).
    """
    return (table.float()[target.long()] * (target == matched))[:, None]


def style_photometric(made: Tensor, matched: Tensor, weights: Tensor) -> Tensor:
    """L_sp of each sample: the weighted L1 of I' and I_m, which no gradient reaches, (N,)."""
    return weighted_l1(made, matched.detach(), weights)


def weighted_l1(made: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Σ W·|I' - I| / (3 · Σ W) of each sample, (N,); 0 where W is 0 everywhere.

    Args:
        made: I', (N, 3, S, S).
        wanted: I, same shape.
        weights: W, (N, 1, S, S).
    """
    with autocast(made.device.type, enabled=False):
        apart = (made.float() - wanted.float()).abs() * weights
        total = made.shape[1] * weights.flatten(1).sum(1)
        return apart.flatten(1).sum(1) / total.clamp_min(1e-6)


def best_match(target: Tensor, candidates: Tensor) -> Tensor:
    """Which candidate's deep features point most nearly where the target's do.

    Args:
        target: Features (N, C, h, w).
        candidates: Features (N, K, C, h, w).

    Returns:
        Index of the highest cosine, (N,); of equal ones the first.
    """
    with autocast(target.device.type, enabled=False):
        ours, theirs = target.float().flatten(1)[:, None], candidates.float().flatten(2)
        return F.cosine_similarity(ours, theirs, dim=2).argmax(1)
