"""How alike two pictures look: features of a frozen VGG, or of a fixed random one.

VGG16 and VGG19 (Simonyan and Zisserman, 2015) as plain stacks with torchvision's names, so that its
weights load as they are. Weights come from a file that somebody else reads
(`visage.inference.artifact.read_weights`); nothing is ever downloaded.

Without weights the same stack takes fixed random filters. Random ReLU features are a usable though
weaker distance: a random convolution nearly keeps distances between patches, pooling forgives small
shifts, and depth widens the patch, so edges and texture out of place cost more than noise or a
change of brightness (He, Wang and Hopcroft, 2016; Ulyanov et al., 2018). They know nothing of what
matters in a face, as trained features do. Filters sum to zero: outputs of a ReLU share a positive
mean, and it would drown more of what differs with every layer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.amp.autocast_mode import autocast

from visage.errors import SpecError
from visage.models.encoders import IMAGENET_MEAN, IMAGENET_STD
from visage.seeds import seed_of

__all__ = ["LAYERS", "PerceptualNet", "PerceptualNetwork", "feature_distance"]

PerceptualNetwork = Literal["vgg19", "vgg16"]
LAYERS: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
"""The layers of the perceptual loss of pix2pixHD and its heirs, with equal weights."""

_CONVOLUTIONS: Mapping[PerceptualNetwork, tuple[int, ...]] = {
    "vgg19": (2, 2, 4, 4, 4),
    "vgg16": (2, 2, 3, 3, 3),
}  # convolutions in each block; a max-pool lies between blocks
_WIDTH = 64  # of the first block; the others are 2, 4, 8 and 8 times as wide
_GAIN = 1 / (0.5 - 0.5 / math.pi)
"""Variance of a Gaussian over that of its positive part: what a filter of zero sum must restore."""
_TRAINED_NAME = re.compile(r"features\.(\d+)\.(weight|bias)")


class PerceptualNet(nn.Module):
    """Named ReLU features of pictures; frozen, without state of its own beside its weights."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: PerceptualNetwork = "vgg19",
        *,
        layers: Sequence[str] = LAYERS,
        weights: Mapping[str, Tensor] | None = None,
        width: int = _WIDTH,
        seed: int = 0,
    ) -> None:
        """Build the stack as deep as the deepest layer asked for.

        Args:
            network: Which VGG.
            layers: Names such as `relu3_1`; their order is that of the features.
            weights: Torchvision's names (`features.0.weight` …), deeper ones and `classifier.*` are
                ignored. None takes random filters that are a function of `seed`.
            width: Channels of the first block (64 in VGG); a fraction of it makes random features
                cheap on a CPU, and trained weights need all of it.
            seed: Of the random filters.

        Raises:
            SpecError: an unknown layer, or weights that are not those of this network.
        """
        super().__init__()
        if width < 1 or (weights is not None and width != _WIDTH):
            raise SpecError(f"perceptual width {width}: trained weights need {_WIDTH}, others 1+")
        self.layers = tuple(layers)
        positions = _positions(network)
        unknown = [name for name in self.layers if name not in positions]
        if unknown or not self.layers:
            raise SpecError(f"{network} has no layers {unknown}; it has {', '.join(positions)}")
        self._taken = {positions[name]: name for name in self.layers}
        self.features = _stack(network, width, depth=max(self._taken) + 1)
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        if weights is None:
            _randomize(self.features, seed)
        else:
            _load(self.features, weights, network)
        self.requires_grad_(False)

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Pictures (N, 3, H, W) in [-1, 1], sides of 16 or more, to one (N, C, h, w) a layer.

        Gradients flow to the pictures, never to the weights.
        """
        x = ((pictures + 1) / 2 - self.mean) / self.std
        found: dict[str, Tensor] = {}
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self._taken:
                found[self._taken[index]] = x
        return tuple(found[name] for name in self.layers)


def feature_distance(
    ours: Sequence[Tensor], theirs: Sequence[Tensor], *, weights: Sequence[float] | None = None
) -> Tensor:
    """Scalar Σ_l w_l · mean|a_l - b_l| over layers l, in fp32; all w_l are 1 if none are given.

    The perceptual loss of Johnson et al. (2016) with L1; the target's features may be made under
    `torch.no_grad`.
    """
    factors = [1.0] * len(ours) if weights is None else weights
    with autocast(ours[0].device.type, enabled=False):
        return torch.stack([
            factor * (a.float() - b.float()).abs().mean()
            for factor, a, b in zip(factors, ours, theirs, strict=True)
        ]).sum()  # fmt: skip


def _positions(network: PerceptualNetwork) -> dict[str, int]:
    """Index of each ReLU in the stack by its name."""
    found: dict[str, int] = {}
    index = 0
    for block, count in enumerate(_CONVOLUTIONS[network], start=1):
        for number in range(1, count + 1):
            found[f"relu{block}_{number}"] = index + 1
            index += 2
        index += 1
    return found


def _stack(network: PerceptualNetwork, width: int, *, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = 3
    for block, count in enumerate(_CONVOLUTIONS[network]):
        outputs = width * min(8, 1 << block)
        for _ in range(count):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers[:depth])


def _randomize(stack: nn.Sequential, seed: int) -> None:
    """Filters of zero sum whose outputs keep the variance of their inputs (as He et al., 2015)."""
    for index, layer in enumerate(stack):
        if not isinstance(layer, nn.Conv2d) or layer.weight.is_meta:
            continue
        generator = torch.Generator().manual_seed(seed_of(seed, "perceptual", index))
        filters = torch.randn(layer.weight.shape, generator=generator)
        filters -= filters.mean((1, 2, 3), keepdim=True)
        with torch.no_grad():
            layer.weight.copy_(filters * (_GAIN / filters[0].numel()) ** 0.5)
            if layer.bias is not None:
                layer.bias.zero_()


def _load(stack: nn.Sequential, weights: Mapping[str, Tensor], network: PerceptualNetwork) -> None:
    """Copy torchvision-named weights; what lies deeper than the stack is not needed."""
    own = stack.state_dict()
    given = {
        f"{found[1]}.{found[2]}": value
        for name, value in weights.items()
        if (found := _TRAINED_NAME.fullmatch(name))
    }
    bad = [
        f"features.{name}"
        for name, value in own.items()
        if name not in given or given[name].shape != value.shape
    ]
    if bad:
        raise SpecError(
            f"perceptual weights: not {network} in torchvision's names: missing or of another "
            f"shape: {', '.join(bad[:3])}{' …' if len(bad) > 3 else ''}"
        )
    stack.load_state_dict({name: given[name] for name in own})
