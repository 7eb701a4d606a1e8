"""Where in the context to look: from a grid of cells to one vector and the weights that made it.

Every attention maps cells (B, D, h, w) and a guide (B, D) or None to (vector (B, D), weights
(B, h, w)); the weights are in fp32, never negative, and sum to 1 over the grid.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visage.models.encoders import glorot

__all__ = [
    "Attention",
    "ContextAttention",
    "GlobalLocalAttention",
    "MeanAttention",
    "attend",
    "over_cells",
]

HIDDEN = 128


class MeanAttention(nn.Module):
    """No attention: every cell counts the same. Has no parameters."""

    def forward(self, cells: Tensor, guide: Tensor | None) -> tuple[Tensor, Tensor]:
        """Ignores the guide."""
        return attend(cells, torch.zeros_like(cells[:, 0]))


class ContextAttention(nn.Module):
    """CA: the context alone decides, as in CAER-Net, by two 3x3 convolutions.

    `relu_scores` is the port's habit of batch norm and ReLU on the scores themselves, which bounds
    them from below; the published text has none.
    """

    def __init__(
        self, channels: int, *, bn_eps: float, bn_momentum: float, relu_scores: bool = False
    ) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(channels, HIDDEN, 3, padding=1)
        self.norm = nn.BatchNorm2d(HIDDEN, eps=bn_eps, momentum=bn_momentum)
        self.score = nn.Conv2d(HIDDEN, 1, 3, padding=1)
        self.score_norm = (
            nn.BatchNorm2d(1, eps=bn_eps, momentum=bn_momentum) if relu_scores else None
        )
        glorot(self)

    def forward(self, cells: Tensor, guide: Tensor | None) -> tuple[Tensor, Tensor]:
        """Ignores the guide."""
        scores: Tensor = self.score(F.relu(self.norm(self.hidden(cells))))  # (B, 1, h, w)
        if self.score_norm is not None:
            scores = F.relu(self.score_norm(scores))
        return attend(cells, scores[:, 0])


class GlobalLocalAttention(nn.Module):
    """GLA: the face vector is compared with every cell of the context.

    Published: Dense(128) and ReLU on [guide; cell], batch norm, ReLU again, Dense(1), softmax over
    the cells. The dense layer is evaluated as W_a guide + W_b cell, which is the same sum without
    repeating the guide for every cell.
    """

    def __init__(self, channels: int, *, bn_eps: float, bn_momentum: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(2 * channels, HIDDEN)
        self.norm = nn.BatchNorm1d(HIDDEN, eps=bn_eps, momentum=bn_momentum)
        self.score = nn.Linear(HIDDEN, 1)
        glorot(self)

    def forward(self, cells: Tensor, guide: Tensor | None) -> tuple[Tensor, Tensor]:
        """The guide is required."""
        return attend(cells, self.scores(cells, guide))

    def scores(self, cells: Tensor, guide: Tensor | None) -> Tensor:
        """Scores before the softmax, fp32 (B, h, w)."""
        if guide is None:
            raise TypeError("global-local attention needs the face vector as its guide")
        batch, channels, height, width = cells.shape
        local = cells.flatten(2).transpose(1, 2)  # (B, h * w, D)
        of_guide = F.linear(guide, self.hidden.weight[:, :channels], self.hidden.bias)
        of_local = F.linear(local, self.hidden.weight[:, channels:])
        hidden = F.relu(of_guide[:, None] + of_local)  # (B, h * w, 128)
        # the statistics run over pictures and cells alike, as batch norm on the last axis does
        hidden = F.relu(self.norm(hidden.flatten(0, 1)))
        with torch.autocast(cells.device.type, enabled=False):
            scores = F.linear(hidden.float(), self.score.weight.float(), self.score.bias.float())
        return scores.view(batch, height, width)


Attention = MeanAttention | ContextAttention | GlobalLocalAttention


def attend(cells: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax the scores over the grid and sum the cells with these weights, all in fp32.

    Returns:
        The vector (B, D) and the weights (B, h, w).
    """
    with torch.autocast(cells.device.type, enabled=False):
        weights = over_cells(scores)
        vector = torch.bmm(cells.float().flatten(2), weights.flatten(1)[:, :, None])
    return vector[:, :, 0], weights


def over_cells(scores: Tensor) -> Tensor:
    """Softmax over the grid in fp32: (B, h, w) to (B, h, w), each picture summing to 1."""
    return scores.float().flatten(1).softmax(dim=1).view(scores.shape)
