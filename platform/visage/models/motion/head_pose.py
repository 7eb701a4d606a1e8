"""Speech to head pose: a WaveNet that draws the next pose from what it heard and did (A.4.2).

A pose is counted from a rest pose and in the units of the spec ("sway"). Input and output are the
sway and its velocity, 12 numbers; the output is one Gaussian over them. Frame t is drawn from the
frames before it and from the sound up to frame t + pose_look_ahead.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from visage.models.motion.frames import FEATURES_PER_FRAME, FrameMlp, paired
from visage.models.motion.wavenet import WaveNet, WaveNetSteps
from visage.specs.motion import MotionSpec

__all__ = ["POSE", "STATE", "Gaussian", "HeadPoseNet", "PoseSampler", "draw", "with_velocity"]

POSE = 6
"""Pitch, yaw, roll and translation."""
STATE = 2 * POSE
"""A pose and its velocity."""
_OUTPUTS = 1 + 2 * STATE
"""A mixture weight, kept as published though one Gaussian needs none; means; -log sigmas."""


class Gaussian(NamedTuple):
    """A diagonal Gaussian over pose and velocity, in the network's units."""

    mean: Tensor
    """(N, T, 12)."""
    neg_log_sigma: Tensor
    """(N, T, 12); at most ln(1 / sigma_floor)."""


class HeadPoseNet(nn.Module):
    """Audio MLP (0.79 M parameters) and WaveNet (3.46 M)."""

    def __init__(self, spec: MotionSpec) -> None:
        super().__init__()
        net = spec.pose_net
        self.look_ahead = spec.pose_look_ahead
        self.ceiling = math.log(1 / net.sigma_floor)
        self.limit = net.limit
        self.audio = FrameMlp(
            (FEATURES_PER_FRAME * spec.feature_channels, net.mlp_width, net.mlp_width),
            norm=spec.norm,
        )
        self.dropout = nn.Dropout1d(net.input_dropout)
        self.wavenet = WaveNet(net, inputs=STATE, conditions=net.mlp_width, outputs=_OUTPUTS)
        self.units = (net.rotation_unit_deg,) * 3 + (net.translation_unit,) * 3

    def sway(self, pose: Tensor, rest: Tensor) -> Tensor:
        """Poses (..., T, 6) in degrees and eye distances, from the rest pose (..., 6), in units."""
        return (pose - rest[..., None, :]) / pose.new_tensor(self.units)

    def posed(self, sway: Tensor, rest: Tensor) -> Tensor:
        """The inverse of `sway`."""
        return sway * sway.new_tensor(self.units) + rest[..., None, :]

    def forward(self, features: Tensor, sway: Tensor) -> Gaussian:
        """With the true past given (teacher forcing): the distribution of every frame.

        Args:
            features: (N, 2T, F).
            sway: (N, T, 6), the truth; frame t is only seen by later frames.

        Returns:
            Of frames 0 … T - 1 - pose_look_ahead: the sound of later ones ends too early.
        """
        known = sway.shape[1] - self.look_ahead
        state = with_velocity(sway)[:, : known - 1]
        # (N, T, 12) -> (N, 12, T), one frame late: frame t sees up to t - 1
        history = nn.functional.pad(state.transpose(1, 2), (1, 0))
        condition = self.audio(paired(features))[:, self.look_ahead :]
        outputs = self.wavenet(self.dropout(history), condition.transpose(1, 2))
        return self.gaussian(outputs.transpose(1, 2))

    def gaussian(self, outputs: Tensor) -> Gaussian:
        """The WaveNet's outputs (..., 25) read as a distribution, in fp32."""
        _, mean, neg_log_sigma = torch.split(outputs.float(), [1, STATE, STATE], dim=-1)
        return Gaussian(mean, neg_log_sigma.clamp(max=self.ceiling))


class PoseSampler:
    """One running autoregression; may be fed in chunks of any length.

    Noise is drawn frame by frame from the generator, so that neither the chunks nor what else is
    random in the process changes the poses.
    """

    def __init__(
        self, net: HeadPoseNet, *, generator: torch.Generator, sigma_scale: float, count: int = 1
    ) -> None:
        """The run keeps `net`'s weights as they are now; `net` must be in evaluation mode."""
        self._net, self._generator, self._sigma_scale = net, generator, sigma_scale
        self._steps = WaveNetSteps(net.wavenet, count=count)
        self._state: Tensor | None = None

    @torch.no_grad()
    def __call__(self, condition: Tensor) -> Tensor:
        """The next frames' sway (N, T, 6) from their conditioning (N, T, mlp_width)."""
        if self._state is None:
            self._state = condition.new_zeros(len(condition), STATE)
        frames = []
        for conditioned in self._steps.conditioned(condition):
            gaussian = self._net.gaussian(self._steps.step(self._state, conditioned))
            self._state = draw(
                gaussian, self._generator, sigma_scale=self._sigma_scale, limit=self._net.limit
            )
            frames.append(self._state[:, :POSE])
        if not frames:
            return condition.new_zeros(len(condition), 0, POSE)
        return torch.stack(frames, dim=1)


def draw(
    gaussian: Gaussian, generator: torch.Generator, *, sigma_scale: float, limit: float
) -> Tensor:
    """One sample (N, 12) of distributions (N, 12), its deviation scaled, within ± limit."""
    mean, neg_log_sigma = gaussian
    # drawn on the generator's device, so that a CPU seed gives the same head on every machine
    noise = torch.randn(mean.shape, generator=generator, device=generator.device).to(mean.device)
    return (mean + sigma_scale * neg_log_sigma.neg().exp() * noise).clamp(-limit, limit)


def with_velocity(sway: Tensor) -> Tensor:
    """(N, T, 6) to (N, T, 12): beside each pose its change since the frame before, first 0."""
    change = torch.diff(sway, dim=1, prepend=sway[:, :1])
    return torch.cat([sway, change], dim=-1)
