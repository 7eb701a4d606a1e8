"""ResNet-18 up to its last stage, under torchvision's parameter names.

The names make public ImageNet or face weights fit as they are; torchvision itself is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from visage.errors import SpecError

__all__ = ["ResNet18", "load_trunk"]

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
"""(channels, stride of the first block) of layer1 … layer4, two blocks each."""


class ResNet18(nn.Module):
    """The trunk without pooling and classifier: (B, 3, S, S) to (B, 512, S / 32, S / 32)."""

    channels = STAGES[-1][0]

    def __init__(self, *, bn_eps: float = 1e-5, bn_momentum: float = 0.1) -> None:
        super().__init__()
        self._norm = (bn_eps, bn_momentum)
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = _norm(64, self._norm)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        width = 64
        for index, (channels, stride) in enumerate(STAGES, start=1):
            blocks = (
                _Block(width, channels, stride=stride, norm=self._norm),
                _Block(channels, channels, stride=1, norm=self._norm),
            )
            self.add_module(f"layer{index}", nn.Sequential(*blocks))
            width = channels
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def cells(self, size: int) -> int:
        """Side of the grid for a picture of `size` pixels: five halvings, rounded up."""
        return -(-size // 32)

    def forward(self, picture: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, 512, h, w)."""
        cells: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(picture))))
        for index in range(1, len(STAGES) + 1):
            cells = self.get_submodule(f"layer{index}")(cells)
        return cells


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(
        self, width_in: int, width_out: int, *, stride: int, norm: tuple[float, float]
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = _norm(width_out, norm)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1, bias=False)
        self.bn2 = _norm(width_out, norm)
        self.downsample: nn.Module | None = None
        if stride != 1 or width_in != width_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(width_in, width_out, 1, stride=stride, bias=False),
                _norm(width_out, norm),
            )

    def forward(self, cells: Tensor) -> Tensor:
        """(B, width_in, h, w) to (B, width_out, h / stride, w / stride)."""
        shortcut: Tensor = cells if self.downsample is None else self.downsample(cells)
        inner: Tensor = F.relu(self.bn1(self.conv1(cells)))
        inner = self.bn2(self.conv2(inner))
        return F.relu(inner + shortcut)


def load_trunk(trunk: ResNet18, weights: Mapping[str, Tensor]) -> None:
    """Copy torchvision-named weights into the trunk; a classifier (`fc.*`) in them is ignored.

    Raises:
        SpecError: names or shapes are not those of ResNet-18.
    """
    given = {name: value for name, value in weights.items() if not name.startswith("fc.")}
    own = trunk.state_dict()
    # files older than torch 0.4.1 hold no batch counters; they are not weights
    missing = [n for n in own if n not in given and not n.endswith("num_batches_tracked")]
    unknown = [name for name in given if name not in own]
    shapes = [n for n in given if n in own and given[n].shape != own[n].shape]
    for words, names in (("lack", missing), ("have unknown", unknown), ("differ in", shapes)):
        if names:
            raise SpecError(
                f"pretrained: not ResNet-18 weights in torchvision's names: they {words} "
                f"{', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
            )
    trunk.load_state_dict(given, strict=False)


def _norm(channels: int, norm: tuple[float, float]) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=norm[0], momentum=norm[1])
