"""Projection of audio features onto those of a person or a style, by locally linear embedding.

A feature h is rebuilt from its K nearest rows f_1 … f_K of a bank, f_1 the nearest:

    A = [f_2 - f_1, …, f_K - f_1]            (width, K - 1)
    (AᵀA + λI) w = Aᵀ(h - f_1),              λ = ridge · trace(AᵀA) / (K - 1) + EPSILON
    w_1 = 1 - Σ_{k>1} w_k,                   projected = f_1 + A w = Σ w_k f_k
    result = (1 - percent) · h + percent · projected

A w is a damped projection of h - f_1, so the result is never farther from f_1 than h was, however
close the neighbours lie to each other: in silence, where they coincide, it is f_1. A row of the
bank is rebuilt exactly. Source: models.md A.3 (the published form has no λ, and is singular there).
"""

from __future__ import annotations

import torch
from torch import Tensor

from visage.errors import DataError, SpecError
from visage.specs.audio import AudioFrontSpec, ManifoldSpec

__all__ = ["FeatureBank", "barycentric_weights", "nearest_rows"]

EPSILON = 1e-8
"""Squared distance below which neighbours count as one place."""
SPARE = 4
"""Candidates for one neighbour, which are then compared exactly."""
BLOCK_VALUES = 1 << 24
"""Distances and candidates' values held at a time (64 MiB in fp32)."""


class FeatureBank:
    """Features of a person's or a style's sound, to project others onto; of bounded size."""

    def __init__(
        self, features: Tensor, spec: ManifoldSpec, front: AudioFrontSpec | None = None
    ) -> None:
        """Keep the features (M, width) of a recording, thinned evenly to `spec.max_rows`.

        `front` says how many there are to a second; the default spec's 120 if not given.

        Raises:
            DataError: not of shape (M, width), or NaN or infinity among them.
            SpecError: fewer rows than `spec.neighbours`, though the bank is long enough in seconds.
        """
        if features.ndim != 2 or not bool(torch.isfinite(features).all()):
            raise DataError(
                f"feature bank: need finite features (M, width), not {tuple(features.shape)} "
                "or NaN among them"
            )
        rate = 2 * (front or AudioFrontSpec()).fps
        self.spec = spec
        self.seconds = len(features) / rate
        step = max(1, -(-len(features) // spec.max_rows))
        self.rows = features[::step].float().clone()
        if self.is_used and len(self.rows) < spec.neighbours:
            raise SpecError(
                f"feature bank: {len(self.rows)} rows for {spec.neighbours} neighbours; give a "
                "longer recording, or lower manifold.neighbours"
            )

    @property
    def is_used(self) -> bool:
        """Whether features are projected; a short bank, or percent 0, leaves them as they are."""
        return self.spec.percent > 0 and self.seconds >= self.spec.min_bank_s

    @torch.no_grad()
    def project(self, features: Tensor) -> Tensor:
        """Features (T, width) pulled onto the bank by `spec.percent`; same shape, fp32.

        Memory is bounded apart from the result; every frame is on its own, so a stream may be
        projected piece by piece.
        """
        if not self.is_used:
            return features.float()
        made = torch.empty_like(features, dtype=torch.float32)
        values = len(self.rows) + SPARE * self.spec.neighbours * self.rows.shape[1]
        block = max(1, BLOCK_VALUES // values)
        for start in range(0, len(features), block):
            part = features[start : start + block].float()
            made[start : start + block] = torch.lerp(part, self._rebuilt(part), self.spec.percent)
        return made

    def _rebuilt(self, queries: Tensor) -> Tensor:
        index = nearest_rows(queries, self.rows, self.spec.neighbours)
        neighbours = self.rows[index]  # (T, K, width)
        weights = barycentric_weights(queries, neighbours, ridge=self.spec.ridge)
        # f_1 + A w, so that weights of exactly (1, 0, …) give exactly f_1
        spans = neighbours[:, 1:] - neighbours[:, :1]
        return neighbours[:, 0] + torch.einsum("tk,tkd->td", weights[:, 1:], spans)


def nearest_rows(queries: Tensor, rows: Tensor, count: int) -> Tensor:
    """Indices (T, count) of the nearest rows (M, width) to each query (T, width), nearest first.

    The distances of all rows come from one matrix product, which rounds; the best few candidates
    are then measured exactly. M must be at least `count`; holds (T, M) distances.
    """
    centre = rows.mean(0)  # small numbers round less
    centred_rows, centred = rows - centre, queries - centre
    # |q - r|² - |q|² = |r|² - 2 q·r
    rough = torch.addmm(centred_rows.square().sum(1), centred, centred_rows.T, alpha=-2.0)
    candidates = rough.topk(min(SPARE * count, len(rows)), largest=False).indices
    exact = (rows[candidates] - queries[:, None]).square().sum(-1)  # (T, candidates)
    best = exact.topk(count, largest=False).indices
    return candidates.gather(1, best)


def barycentric_weights(queries: Tensor, neighbours: Tensor, *, ridge: float) -> Tensor:
    """Weights (T, K) that sum to 1 and rebuild queries (T, width) from neighbours (T, K, width).

    The first neighbour must be the nearest one. Solved in fp64.
    """
    if neighbours.shape[1] == 1:
        return torch.ones_like(neighbours[:, :, 0])
    first = neighbours[:, 0].double()
    spans = neighbours[:, 1:].double() - first[:, None]  # (T, K - 1, width)
    gram = spans @ spans.transpose(1, 2)
    damping = ridge * gram.diagonal(dim1=1, dim2=2).mean(1) + EPSILON
    damped = gram + torch.diag_embed(damping[:, None].expand(-1, gram.shape[1]))
    wanted = torch.einsum("tkd,td->tk", spans, queries.double() - first)
    rest = torch.linalg.solve(damped, wanted)
    return torch.cat([1 - rest.sum(1, keepdim=True), rest], dim=1).to(neighbours.dtype)
