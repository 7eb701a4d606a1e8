"""From what the networks predict to what a face does: smoothing, blinks, lips, shoulders.

Every step looks at single frames, except for the filters; so with causal filters, which carry their
state, frames may come in chunks of any length (models.md A.4.3-A.4.5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from visage.landmarks import JAW, MOUTH, POINTS
from visage.models.motion.blink import BlinkProcess, close_lids
from visage.models.motion.lips import part_lips
from visage.models.motion.smoothing import causal_filter, gaussian_smooth
from visage.models.motion.torso import move_torso
from visage.specs.motion import MotionSpec, Smoothing

__all__ = ["Filters", "Finish", "Motion", "causal_filters", "whole_filters"]

_DEGREES = 100.0
"""The one-euro filter counts the speed of a turn in units of so many degrees a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """Some frames of motion."""

    landmarks: Tensor
    """Object coordinates, (T, 68, 3)."""
    pose: Tensor
    """Pitch, yaw, roll in degrees and translation, (T, 6)."""
    torso: Tensor | None
    """Shoulder points in camera space, (T, 18, 3), or None."""

    def __len__(self) -> int:
        """Frames."""
        return len(self.landmarks)


class Filters(NamedTuple):
    """What steadies (T, C) trajectories; each has a state of its own."""

    landmarks: Callable[[Tensor], Tensor]
    rotation: Callable[[Tensor], Tensor]
    translation: Callable[[Tensor], Tensor]


def whole_filters(spec: MotionSpec, kind: Smoothing) -> Filters:
    """Filters for a clip that is given at once; of any kind."""
    if kind != "gaussian":
        return causal_filters(spec, kind)
    sigmas = (spec.landmark_sigma, spec.rotation_sigma, spec.translation_sigma)
    return Filters(*(partial(gaussian_smooth, sigma=sigma) for sigma in sigmas))


def causal_filters(spec: MotionSpec, kind: Smoothing) -> Filters:
    """Filters for a clip that comes in chunks; SpecError for a kind that looks ahead."""
    fresh = partial(causal_filter, kind, fps=spec.fps, beta=spec.one_euro_beta)
    return Filters(
        landmarks=fresh(sigma=spec.landmark_sigma),
        rotation=fresh(sigma=spec.rotation_sigma, scale=_DEGREES),
        translation=fresh(sigma=spec.translation_sigma),
    )


class Finish:
    """Turns the next frames' predictions into motion; counts the frames it has seen."""

    def __init__(
        self,
        spec: MotionSpec,
        mean: Tensor,
        *,
        rest: Tensor,
        seed: int,
        filters: Filters,
        torso: Tensor | None,
    ) -> None:
        """mean: (68, 3); rest: the pose (6,) at which the shoulders are at `torso` (18, 3)."""
        self._spec, self._mean, self._rest, self._filters = spec, mean, rest, filters
        self._torso = None if spec.torso == "off" else torso
        self._factors = _factors(spec).to(mean)
        self._blinks = BlinkProcess(
            seed=seed, rate_hz=spec.blink_rate_hz,
            shortest_s=spec.blink_shortest_s, longest_s=spec.blink_longest_s,
        )  # fmt: skip
        self._frames = 0

    def __call__(self, displacement: Tensor, pose: Tensor) -> Motion:
        """The next frames.

        Args:
            displacement: (T, 68, 3) from the mean shape.
            pose: (T, 6) in degrees and eye distances.
        """
        steady = self._filters.landmarks((displacement * self._factors).flatten(1))
        landmarks = self._mean + steady.reshape(-1, POINTS, 3)
        turned = self._filters.rotation(pose[:, :3])
        moved = self._filters.translation(pose[:, 3:])
        torso = None
        if self._torso is not None:
            torso = move_torso(
                self._torso, moved, self._rest[3:], amplitude=self._spec.torso_amplitude
            )
        return Motion(
            landmarks=part_lips(close_lids(landmarks, self._closure(len(landmarks)))),
            pose=torch.cat([turned, moved], dim=1),
            torso=torso,
        )

    def _closure(self, count: int) -> Tensor:
        """How far the lids are closed in the next frames."""
        frames = np.arange(self._frames, self._frames + count, dtype=np.float64)
        self._frames += count
        return torch.from_numpy(self._blinks.closure(frames / self._spec.fps))


def _factors(spec: MotionSpec) -> Tensor:
    """What each displacement is multiplied by, (68, 3)."""
    factors = torch.ones(POINTS, 3)
    spoken = torch.from_numpy(np.concatenate([JAW, MOUTH]))
    factors[spoken] = torch.tensor(spec.amplitude)
    if not spec.keep_jaw:
        factors[torch.from_numpy(JAW)] = 0.0
    return factors
