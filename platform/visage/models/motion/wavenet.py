"""A conditioned WaveNet: dilated causal convolutions with gates, whole sequences or step by step.

Before the first frame every layer has seen zeros. That makes the two forms equal: `forward` pads
each layer with zeros on the left, `WaveNetSteps` begins with empty memories (models.md A.4.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visage.models.motion.frames import LEAK
from visage.specs.motion import PoseNetSpec

__all__ = ["WaveNet", "WaveNetSteps"]

KERNEL = 2


class WaveNet(nn.Module):
    """History and conditioning in, one output vector a frame.

    The last layer has no residual projection: nothing would read it, and weights without a gradient
    stop distributed training. The published count includes it (channels · (channels + 1) more).
    """

    def __init__(self, spec: PoseNetSpec, *, inputs: int, conditions: int, outputs: int) -> None:
        super().__init__()
        channels, skip = spec.channels, spec.skip_channels
        self.dilations = spec.dilations
        self.first = nn.Sequential(
            nn.Conv1d(inputs, channels, 1), nn.LeakyReLU(LEAK), nn.Conv1d(channels, channels, 1)
        )
        last = len(self.dilations) - 1
        self.layers = nn.ModuleList(
            _Layer(channels, conditions, skip, dilation=dilation, is_last=index == last)
            for index, dilation in enumerate(self.dilations)
        )
        self.last = nn.Sequential(
            nn.LeakyReLU(LEAK), nn.Conv1d(skip, outputs, 1),
            nn.LeakyReLU(LEAK), nn.Conv1d(outputs, outputs, 1),
        )  # fmt: skip

    def forward(self, history: Tensor, condition: Tensor) -> Tensor:
        """(N, inputs, T) and (N, conditions, T) to (N, outputs, T); column t sees up to t."""
        hidden: Tensor = self.first(history)
        skips: Tensor | None = None
        for layer in self.layers:
            residual, skip = layer(hidden, condition)
            skips = skip if skips is None else skips + skip
            hidden = hidden if residual is None else hidden + residual
        outputs: Tensor = self.last(skips)
        return outputs


class _Layer(nn.Module):
    """tanh(filter) · sigmoid(gate) of the dilated past and the condition; residual and skip out.

    Filter and gate are halves of one convolution, residual and skip parts of another.
    """

    def __init__(
        self, channels: int, conditions: int, skip: int, *, dilation: int, is_last: bool
    ) -> None:
        super().__init__()
        self.channels, self.dilation, self.is_last = channels, dilation, is_last
        self.past = nn.Conv1d(channels, 2 * channels, KERNEL, dilation=dilation)
        self.condition = nn.Conv1d(conditions, 2 * channels, 1)
        self.out = nn.Conv1d(channels, skip if is_last else channels + skip, 1)

    def forward(self, hidden: Tensor, condition: Tensor) -> tuple[Tensor | None, Tensor]:
        gates = self.past(F.pad(hidden, (self.dilation, 0))) + self.condition(condition)
        return self.split(self.out(_gated(gates, dim=1)), dim=1)

    def split(self, out: Tensor, *, dim: int) -> tuple[Tensor | None, Tensor]:
        """The residual (None in the last layer) and the skip part of an output."""
        if self.is_last:
            return None, out
        residual, skip = torch.split(out, [self.channels, out.shape[dim] - self.channels], dim=dim)
        return residual, skip


def _gated(gates: Tensor, *, dim: int) -> Tensor:
    wave, gate = gates.chunk(2, dim=dim)
    return wave.tanh() * gate.sigmoid()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Memory:
    """One layer's weights as matrices and what it has seen, newest overwriting oldest."""

    layer: _Layer
    past: Tensor  # (2C, 2C): rows for the old and for the new input
    past_bias: Tensor  # (2C,)
    out: Tensor  # (C, C + skip); of the last layer (C, skip)
    out_bias: Tensor
    ring: Tensor  # (dilation, N, C)


class WaveNetSteps:
    """The same network one frame at a time, each layer remembering as much as it needs.

    A step costs what one frame of `forward` costs, while recomputing the receptive field would cost
    255 times that. The weights are read once, when the run begins.
    """

    def __init__(self, net: WaveNet, *, count: int) -> None:
        """count: sequences that run side by side (N)."""
        self._net = net
        self._memories = [
            _memory(layer, count) for layer in net.layers if isinstance(layer, _Layer)
        ]
        self._at = 0

    def conditioned(self, condition: Tensor) -> Tensor:
        """(N, T, conditions) to (T, layers, N, 2C): what the steps need of it, all at once."""
        parts = [
            F.linear(condition, _matrix(one.layer.condition), one.layer.condition.bias)
            + one.past_bias
            for one in self._memories
        ]
        # (layers, N, T, 2C) -> (T, layers, N, 2C)
        return torch.stack(parts).permute(2, 0, 1, 3)

    def step(self, history: Tensor, conditioned: Tensor) -> Tensor:
        """The outputs (N, outputs) of one frame, from its (N, inputs) and (layers, N, 2C)."""
        hidden = _pointwise(self._net.first, history)
        skips: Tensor | None = None
        for memory, condition in zip(self._memories, conditioned, strict=True):
            layer, slot = memory.layer, self._at % memory.layer.dilation
            both = torch.cat([memory.ring[slot], hidden], dim=1)
            memory.ring[slot] = hidden
            gates = torch.addmm(condition, both, memory.past)
            out = torch.addmm(memory.out_bias, _gated(gates, dim=1), memory.out)
            residual, skip = layer.split(out, dim=1)
            skips = skip if skips is None else skips + skip
            hidden = hidden if residual is None else hidden + residual
        self._at += 1
        if skips is None:
            raise TypeError("a WaveNet has at least one layer")
        return _pointwise(self._net.last, skips)


def _memory(layer: _Layer, count: int) -> _Memory:
    taps = layer.past.weight  # (2C, C, 2): tap 0 meets the older input
    return _Memory(
        layer=layer,
        past=torch.cat([taps[..., 0], taps[..., 1]], dim=1).T.contiguous(),
        past_bias=_bias(layer.past),
        out=_matrix(layer.out).T.contiguous(),
        out_bias=_bias(layer.out),
        ring=taps.new_zeros(layer.dilation, count, layer.channels),
    )


def _matrix(conv: nn.Conv1d) -> Tensor:
    """The weight of a convolution of width 1 as (out, in)."""
    return conv.weight[..., 0]


def _bias(conv: nn.Conv1d) -> Tensor:
    if conv.bias is None:
        raise TypeError("a WaveNet's convolutions have biases")
    return conv.bias


def _pointwise(layers: nn.Sequential, values: Tensor) -> Tensor:
    """Layers that act on each frame alone, applied to (N, C)."""
    for layer in layers:
        if isinstance(layer, nn.Conv1d):
            values = F.linear(values, _matrix(layer), layer.bias)
        else:
            values = layer(values)
    return values
