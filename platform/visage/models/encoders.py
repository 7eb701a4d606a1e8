"""From a picture to a grid of feature vectors, and the pieces that every network here shares.

An encoder maps (B, 3, S, S) to (B, D, h, w) and knows two numbers about itself: `channels` (D) and
`cells(S)` (h). Weights start as in the release: Glorot uniform, biases zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from visage.errors import SpecError
from visage.models.resnet import ResNet18
from visage.specs.emotion import EmotionModelSpec

__all__ = [
    "Cnn5",
    "Encoder",
    "Normalize",
    "glorot",
    "make_encoder",
    "picture_tensor",
    "spatial_mean",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def picture_tensor(pictures: Tensor) -> Tensor:
    """Bytes (B, S, S, 3) to fp32 (B, 3, S, S) in [0, 1], channels last in memory.

    Send the bytes to the device first: they are a quarter of the size.
    """
    return pictures.permute(0, 3, 1, 2).float().div_(255.0)


class Normalize(nn.Module):
    """Shift and scale RGB in [0, 1]; `none` passes it on. Nothing here is learned or saved."""

    mean: Tensor
    std: Tensor

    def __init__(self, mode: Literal["none", "imagenet"]) -> None:
        super().__init__()
        self._is_identity = mode == "none"
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, picture: Tensor) -> Tensor:
        """(B, 3, S, S) to the same shape."""
        return picture if self._is_identity else (picture - self.mean) / self.std


class Cnn5(nn.Module):
    """Five 3x3 convolutions with batch norm and ReLU; the first four halve the picture."""

    def __init__(self, widths: Sequence[int], *, bn_eps: float, bn_momentum: float) -> None:
        super().__init__()
        self.channels = widths[-1]
        layers: list[nn.Module] = []
        for index, (width_in, width_out) in enumerate(zip((3, *widths), widths, strict=False)):
            layers += [
                nn.Conv2d(width_in, width_out, 3, padding=1),
                nn.BatchNorm2d(width_out, eps=bn_eps, momentum=bn_momentum),
                nn.ReLU(inplace=True),
            ]
            if index < len(widths) - 1:
                layers.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*layers)
        glorot(self)

    def cells(self, size: int) -> int:
        """Side of the grid for a picture of `size` pixels."""
        return size >> 4

    def forward(self, picture: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, widths[-1], S // 16, S // 16)."""
        cells: Tensor = self.layers(picture)
        return cells


Encoder = Cnn5 | ResNet18


def make_encoder(spec: EmotionModelSpec) -> Encoder:
    """A fresh encoder of the spec's backbone; two calls share no weights."""
    if spec.backbone == "resnet18":
        return ResNet18(bn_eps=spec.bn_eps, bn_momentum=spec.bn_momentum)
    smallest = min(spec.input.face_size, spec.input.context_crop)
    if smallest < 16:
        raise SpecError(f"input: cnn5 halves four times, {smallest} pixels leave nothing; use 16+")
    return Cnn5(spec.widths, bn_eps=spec.bn_eps, bn_momentum=spec.bn_momentum)


def spatial_mean(cells: Tensor) -> Tensor:
    """Global average: (B, D, h, w) to (B, D)."""
    return cells.mean(dim=(2, 3))


def glorot(module: nn.Module) -> None:
    """Start every convolution and dense layer below `module` as Keras does."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
