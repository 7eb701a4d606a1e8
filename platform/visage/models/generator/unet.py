"""The generator: a U-Net that turns a facial map into a frame, seeing a source and style patterns.

`normal` and `large` follow live speech portraits (Lu et al., 2021): strided 3x3 convolutions down,
enlargement and 3x3 convolutions up, one or two residual blocks at each level. `small` is the U-Net
of pix2pix (Isola et al., 2017) with 4x4 convolutions. Skips join equal sizes; the last layer is a
tanh (models.md A.8). Beside what is published, the network may paint over the source through masks
of its own, as GANimation does (Pumarola et al., 2018), the source standing still or warped to the
face that the frame shall show.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visage.errors import SpecError
from visage.models.generator.composition import Layers, composed
from visage.models.generator.face_warp import FacePlaces, FaceWarp, face_warp, warped_by
from visage.specs.generator import INPUT_CHANNELS, GeneratorSpec, Upsampling

__all__ = ["Generator", "normalization", "start_as_pix2pix"]

_RESIDUAL_BLOCKS = {"normal": 1, "large": 2}


class Generator(nn.Module):
    """Facial map, source picture and patterns to a picture in [-1, 1]."""

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        self.spec = spec
        masked = spec.composition == "masked"
        self._shown = [spec.channels_of(one) for one in spec.shown] if masked else []
        last = len(spec.widths) - 1
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        outer = spec.input_channels
        for level, width in enumerate(spec.widths):
            down.append(_down(spec, outer, width, is_first=level == 0, is_last=level == last))
            inputs = width if level == last else 2 * width
            outputs = spec.widths[level - 1] if level else 3 + len(self._shown)
            up.append(_up(spec, inputs, outputs, is_outermost=level == 0))
            outer = width
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        start_as_pix2pix(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, input_channels, S, S) as `stacked` makes them to (N, 3, S, S) in [-1, 1]."""
        layers = self.layers(inputs)
        if not self._shown:
            return layers.painted
        return composed(layers, [inputs[:, one] for one in self._shown])

    def layers(self, inputs: Tensor) -> Layers:
        """The painted picture, and its share of each pixel beside what shows through."""
        skips = []
        x = inputs
        for level in self.down:
            x = level(x)
            skips.append(x)
        x = self.up[-1](skips.pop())
        for level in reversed(self.up[:-1]):
            x = level(torch.cat((skips.pop(), x), 1))
        painted = torch.tanh(x[:, :3])
        # (N, 1 + shown, S, S): what is painted, and each that shows through it
        shares = F.pad(x[:, 3:], (0, 0, 0, 0, 1, 0)).softmax(1)
        return Layers(painted=painted, shares=shares)

    def warp_to(self, places: FacePlaces) -> FaceWarp | None:
        """How the source must be pulled, if this generator looks at a warped one."""
        return face_warp(places, self.spec.size) if "warped" in self.spec.inputs else None

    def stacked(
        self,
        *,
        facial_map: Tensor,
        source: Tensor,
        patterns: Tensor,
        warp: FaceWarp | None = None,
    ) -> Tensor:
        """The spec's inputs, one above the other in its order.

        Args:
            facial_map: (N, 1, S, S) in [0, 1].
            source: (N, 3, S, S) in [-1, 1].
            patterns: (N, 4, 3, S, S) in [-1, 1].
            warp: From the source's face to the frame's, as `warp_to` gives it.

        Raises:
            SpecError: an input has another size or number of channels, or the warp is missing.
        """
        given = {"map": facial_map, "source": source, "isp": patterns.flatten(1, 2)}
        if "warped" in self.spec.inputs:
            if warp is None:
                raise SpecError("generator input warped needs the warp of the face")
            given["warped"] = warped_by(source, warp)
        for name in self.spec.inputs:
            wanted = (INPUT_CHANNELS[name], self.spec.size, self.spec.size)
            if given[name].shape[1:] != wanted:
                raise SpecError(
                    f"generator input {name} has shape {tuple(given[name].shape[1:])}; "
                    f"this generator takes {wanted}"
                )
        return torch.cat([given[name] for name in self.spec.inputs], 1)


class _Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut, then ReLU."""

    def __init__(self, width: int, norm: str) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            normalization(norm, width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            normalization(norm, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, h, w) to the same shape."""
        return F.relu(x + self.inner(x))


def _down(
    spec: GeneratorSpec, inputs: int, outputs: int, *, is_first: bool, is_last: bool
) -> nn.Sequential:
    """Half the size; the first and the last level are not normalised."""
    is_normed = not (is_first or is_last)
    norm = [normalization(spec.norm, outputs)] if is_normed else []
    if spec.variant == "small":
        before = [] if is_first else [nn.LeakyReLU(0.2)]
        return nn.Sequential(
            *before, nn.Conv2d(inputs, outputs, 4, 2, 1, bias=not is_normed), *norm
        )
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, 2, 1, bias=not is_normed),
        *norm,
        nn.ReLU(inplace=True),
        *_residuals(spec, outputs),
    )


def _up(spec: GeneratorSpec, inputs: int, outputs: int, *, is_outermost: bool) -> nn.Sequential:
    """Twice the size; the outermost level gives the picture before its tanh."""
    small = spec.variant == "small"
    enlarged = _enlarging(
        spec.upsampling or ("transposed" if small else "nearest"), inputs, outputs, is_outermost
    )
    before: list[nn.Module] = [nn.ReLU()] if small else []
    if is_outermost:
        return nn.Sequential(*before, *enlarged)
    after = [] if small else [nn.ReLU(inplace=True), *_residuals(spec, outputs)]
    return nn.Sequential(*before, *enlarged, normalization(spec.norm, outputs), *after)


def _enlarging(how: Upsampling, inputs: int, outputs: int, bias: bool) -> list[nn.Module]:
    if how == "transposed":
        return [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=bias)]
    return [
        nn.Upsample(scale_factor=2, mode=how),
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias),
    ]


def _residuals(spec: GeneratorSpec, width: int) -> list[nn.Module]:
    return [_Residual(width, spec.norm) for _ in range(_RESIDUAL_BLOCKS[spec.variant])]


def normalization(norm: str, width: int) -> nn.Module:
    """Batch normalisation, or instance normalisation with scale and shift."""
    if norm == "instance":
        return nn.InstanceNorm2d(width, affine=True)
    return nn.BatchNorm2d(width)


def start_as_pix2pix(network: nn.Module) -> None:
    """Weights from N(0, 0.02²), scales from N(1, 0.02²), shifts and biases 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d | nn.InstanceNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
