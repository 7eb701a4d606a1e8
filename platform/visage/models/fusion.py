"""From branch vectors to logits: the fusions and the classifier.

Every fusion maps (face (B, D) or None, context (B, D) or None) to (fused (B, dim), branch weights
(B, 2) in fp32, face first). The weights sum to 1: learned for adaptive fusion, one half each for
concatenation (it prefers neither), 1 and 0 for a single branch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visage.models.encoders import glorot

__all__ = ["AdaptiveFusion", "Classifier", "ConcatFusion", "Fusion", "SingleBranch"]

HIDDEN = 128


class AdaptiveFusion(nn.Module):
    """Two small networks score the branches; the softmax of the scores scales the vectors."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dim = 2 * channels
        self.face = _scorer(channels)
        self.context = _scorer(channels)
        glorot(self)

    def forward(self, face: Tensor | None, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Both branches are required."""
        face, context = _both(face, context)
        scores = torch.cat([self.face(face), self.context(context)], dim=1)
        weights = scores.float().softmax(dim=1)
        fused = torch.cat([face * weights[:, :1], context * weights[:, 1:]], dim=1)
        return fused, weights


class ConcatFusion(nn.Module):
    """Plain concatenation; has no parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dim = 2 * channels

    def forward(self, face: Tensor | None, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Both branches are required."""
        face, context = _both(face, context)
        fused = torch.cat([face.float(), context.float()], dim=1)
        return fused, torch.full((len(face), 2), 0.5, device=face.device)


class SingleBranch(nn.Module):
    """Passes on the one vector there is; has no parameters."""

    def __init__(self, channels: int, *, is_face: bool) -> None:
        super().__init__()
        self.dim = channels
        self._is_face = is_face

    def forward(self, face: Tensor | None, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Ignores the other branch."""
        vector = face if self._is_face else context
        if vector is None:
            raise TypeError("the vector of the only branch is missing")
        weights = torch.tensor([1.0, 0.0] if self._is_face else [0.0, 1.0], device=vector.device)
        return vector, weights.expand(len(vector), 2)


Fusion = AdaptiveFusion | ConcatFusion | SingleBranch


class Classifier(nn.Module):
    """Dense(128), ReLU, dropout, Dense(K): fused (B, dim) to logits (B, K)."""

    def __init__(self, dim: int, *, class_count: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, HIDDEN)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(HIDDEN, class_count)
        glorot(self)

    def forward(self, fused: Tensor) -> Tensor:
        """Logits, before any softmax."""
        logits: Tensor = self.out(self.dropout(F.relu(self.hidden(fused))))
        return logits


def _scorer(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))


def _both(face: Tensor | None, context: Tensor | None) -> tuple[Tensor, Tensor]:
    if face is None or context is None:
        raise TypeError("fusion needs the vectors of both branches")
    return face, context
