"""I_m and W of the style-aware loss: which style pattern a frame should look like, and where.

The publication says "the best-matched image" by a deep extractor, and leaves open which images, of
which frame, and how they come to lie on one another (models.md A.8, 1-4). Here: the patterns the
generator sees, each brought to the target frame by the similarity between their landmarks; the one
whose deep features within the face agree best; W from the target's regions, 0 where the pattern
shows something else there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from visage.models.generator.alignment import fit_similarity, warped
from visage.models.generator.losses import best_match, region_weights
from visage.models.perceptual import PerceptualNet
from visage.specs.generator import StyleLossSpec

__all__ = ["Patterns", "StyleMatch", "match_style"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """The style patterns of each sample."""

    pictures: Tensor
    """(N, K, 3, S, S) in [-1, 1]."""
    points: Tensor
    """Landmarks in pixels, (N, K, 68, 2)."""
    regions: Tensor
    """Labels, uint8 (N, K, S, S)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleMatch:
    """What L_sp compares a made frame with."""

    picture: Tensor
    """I_m, (N, 3, S, S)."""
    weights: Tensor
    """W, (N, 1, S, S)."""
    index: Tensor
    """Which pattern it is, (N,)."""


@torch.no_grad()
def match_style(
    target: Tensor,
    patterns: Patterns,
    *,
    points: Tensor,
    regions: Tensor,
    network: PerceptualNet,
    spec: StyleLossSpec,
) -> StyleMatch:
    """Find I_m and W for each target frame.

    Args:
        target: The true frames, (N, 3, S, S) in [-1, 1].
        patterns: Candidates for I_m.
        points: The frames' landmarks in pixels, (N, 68, 2).
        regions: The frames' region labels (`visage.faces.regions`), uint8 (N, S, S).
        network: Its last layer tells how alike two faces are.
        spec: Weights of the regions; `matched` off gives the target itself.
    """
    table = torch.tensor((spec.rest, spec.skin, spec.eyes, spec.mouth), device=target.device)
    count, kinds = patterns.pictures.shape[:2]
    if not spec.matched:
        weights = region_weights(regions, regions, table)
        index = torch.zeros(count, dtype=torch.long, device=target.device)
        return StyleMatch(picture=target, weights=weights, index=index)
    # (N, K, ...) -> (N · K, ...)
    pictures, labels = patterns.pictures.flatten(0, 1), patterns.regions.flatten(0, 1)[:, None]
    if spec.aligned:
        onto = points[:, None].expand(-1, kinds, -1, -1).flatten(0, 1)
        similarity = fit_similarity(patterns.points.flatten(0, 1), onto)
        pictures = warped(pictures, similarity)
        labels = warped(labels, similarity, nearest=True, outside="zeros").to(torch.uint8)
    face = (regions > 0)[:, None].float()
    ours = _deep(target * face, network, spec.match_size)
    theirs = _deep(pictures * face.repeat_interleave(kinds, 0), network, spec.match_size)
    index = best_match(ours, theirs.view(count, kinds, *theirs.shape[1:]))
    # rows of the flat batch
    chosen = torch.arange(count, device=target.device) * kinds + index
    weights = region_weights(regions, labels[chosen, 0], table)
    return StyleMatch(picture=pictures[chosen], weights=weights, index=index)


def _deep(pictures: Tensor, network: PerceptualNet, size: int) -> Tensor:
    if pictures.shape[-1] > size:
        pictures = F.interpolate(pictures, (size, size), mode="area")
    features: tuple[Tensor, ...] = network(pictures)
    return features[-1]
