"""Head pose and expression of a picture, relative to its canonical keypoints.

A residual network with bottlenecks in the manner of ResNet-50, whose stages widen before they
halve, and five outputs: three angles as distributions over bins, τ, and ε_k (models.md A.7).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visage.models.style_mapping.transforms import HeadMotion, expected_angle
from visage.specs.style_mapping import StyleMappingSpec

__all__ = ["HeadExpression"]

OUTPUT_GAIN = 0.1
"""First weights of τ and ε, smaller than usual: keypoints start near the canonical ones."""


class HeadExpression(nn.Module):
    """R (as angles), τ and ε_k of a picture."""

    def __init__(self, spec: StyleMappingSpec) -> None:
        super().__init__()
        net = spec.head
        self._points = spec.keypoints
        self.stem = nn.Sequential(
            nn.Conv2d(3, net.stem, 7, stride=2, padding=3),
            nn.BatchNorm2d(net.stem),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        layers: list[nn.Module] = []
        for index, (width, blocks) in enumerate(zip(net.widths, net.blocks, strict=True)):
            narrow = net.widths[index - 1] if index else net.stem
            layers += [nn.Conv2d(narrow, width, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            layers.append(Bottleneck(width, stride=2 if index else 1))
            layers += [Bottleneck(width) for _ in range(blocks - 1)]
        self.stages = nn.Sequential(*layers)
        self.angles = nn.ModuleList(nn.Linear(net.widths[-1], spec.bins) for _ in range(3))
        self.translation = nn.Linear(net.widths[-1], 3)
        self.expression = nn.Linear(net.widths[-1], 3 * spec.keypoints)
        with torch.no_grad():
            for layer in (self.translation, self.expression):
                layer.weight.mul_(OUTPUT_GAIN)
                layer.bias.zero_()

    def forward(self, pictures: Tensor) -> HeadMotion:
        """Pictures (N, 3, S, S) in [-1, 1] to angles (N, 3), τ (N, 3) and ε (N, K, 3)."""
        features = self.stages(self.stem(pictures)).mean(dim=(2, 3))
        logits = torch.stack([layer(features) for layer in self.angles], dim=1)  # (N, 3, bins)
        return HeadMotion(
            angles_deg=expected_angle(logits),
            translation=self.translation(features).float(),
            expression=self.expression(features).float().unflatten(1, (self._points, 3)),
        )


class Bottleneck(nn.Module):
    """1x1 to a quarter, 3x3, 1x1 back, beside a shortcut."""

    def __init__(self, width: int, *, stride: int = 1) -> None:
        super().__init__()
        inner = width // 4
        self.inner = nn.Sequential(
            nn.Conv2d(width, inner, 1),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, inner, 3, stride=stride, padding=1),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, width, 1),
            nn.BatchNorm2d(width),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(width, width, 1, stride=stride), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to (N, width, H / stride, W / stride)."""
        return F.relu(self.inner(x) + self.shortcut(x))
