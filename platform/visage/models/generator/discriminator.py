"""The judge: do frame and conditions belong together, patch by patch, at several scales?

The multi-scale PatchGAN of pix2pixHD (Wang et al., 2018): the same stack of 4x4 convolutions looks
at the picture and at halved copies of it; its inner features serve the feature matching loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visage.models.generator.unet import normalization, start_as_pix2pix
from visage.specs.generator import JudgeSpec

__all__ = ["Judge", "Judgement"]

_WIDEST = 8  # times the first layer's width


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one scale says, from the full size to the smallest."""

    logits: Tensor
    """(N, 1, h, w); 1 = real, 0 = made."""
    features: tuple[Tensor, ...]
    """Outputs of the layers before, from the first."""


class Judge(nn.Module):
    """Conditions and picture to one judgement a scale."""

    def __init__(self, spec: JudgeSpec, *, condition_channels: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            _stack(spec, condition_channels + 3) for _ in range(spec.scales)
        )
        start_as_pix2pix(self)

    def forward(self, conditions: Tensor, picture: Tensor) -> tuple[Judgement, ...]:
        """(N, C, S, S) and (N, 3, S, S) in [-1, 1] to the judgement of each scale."""
        x = torch.cat((conditions, picture), 1)
        found = []
        for index, stack in enumerate(self.scales):
            if index:
                x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
            features = [x]
            for layer in stack.children():
                features.append(layer(features[-1]))
            found.append(Judgement(logits=features[-1], features=tuple(features[1:-1])))
        return tuple(found)


def _stack(spec: JudgeSpec, inputs: int) -> nn.Sequential:
    """Layers that give a feature map each; the last gives the logits."""
    width = spec.width
    layers: list[nn.Module] = [
        nn.Sequential(nn.Conv2d(inputs, width, 4, 2, 2), nn.LeakyReLU(0.2, inplace=True))
    ]
    for level in range(1, spec.layers + 1):
        wider = spec.width * min(_WIDEST, 1 << level)
        stride = 2 if level < spec.layers else 1
        layers.append(
            nn.Sequential(
                nn.Conv2d(width, wider, 4, stride, 2, bias=False),
                normalization(spec.norm, wider),
                nn.LeakyReLU(0.2, inplace=True),
            )
        )
        width = wider
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 4, 1, 2))
