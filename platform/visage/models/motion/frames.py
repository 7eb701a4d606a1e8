"""What both motion networks share: pairs of audio features, and layers that act on each frame.

Audio features come at 120 Hz, motion at 60: two features in a row are one frame's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["FEATURES_PER_FRAME", "LEAK", "FrameMlp", "paired"]

FEATURES_PER_FRAME = 2
LEAK = 0.2
"""Slope of every leaky ReLU of the motion generator."""


def paired(features: Tensor) -> Tensor:
    """Features (N, 2T, F) to frames (N, T, 2F)."""
    count, length, channels = features.shape
    return features.reshape(count, length // FEATURES_PER_FRAME, FEATURES_PER_FRAME * channels)


class FrameMlp(nn.Module):
    """Linear layers with normalisation and leaky ReLU between them, each frame on its own.

    Batch normalisation takes its statistics over all frames of the batch; in evaluation mode, and
    with layer normalisation always, a frame's output depends on that frame alone.
    """

    def __init__(self, widths: Sequence[int], *, norm: Literal["batch", "layer"]) -> None:
        """widths: of the input, of each hidden layer and of the output."""
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(widths[:-1]):
            normalise = nn.BatchNorm1d(after) if norm == "batch" else nn.LayerNorm(after)
            layers += [nn.Linear(before, after), normalise, nn.LeakyReLU(LEAK)]
        layers.append(nn.Linear(widths[-2], widths[-1]))
        self.layers = nn.Sequential(*layers)

    def quieten(self, factor: float) -> None:
        """Scale the untrained last layer, and with it the outputs."""
        last = self.layers[-1]
        with torch.no_grad():
            for parameter in last.parameters():
                parameter.mul_(factor)

    def forward(self, frames: Tensor) -> Tensor:
        """(N, T, widths[0]) to (N, T, widths[-1])."""
        # (N, T, C) -> (N·T, C): batch normalisation knows no time
        flat: Tensor = self.layers(frames.flatten(0, 1))
        return flat.reshape(*frames.shape[:2], -1)
