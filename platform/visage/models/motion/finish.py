"""From what the networks predict to what a face does: smoothing, blinks, lips, shoulders.

Every step looks at single frames, except for the filters, which carry their state; so frames may
come in chunks of any length (models.md A.4.3-A.4.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from visage.landmarks import JAW, MOUTH, POINTS
from visage.models.motion.blink import BlinkProcess, close_lids
from visage.models.motion.lips import part_lips
from visage.models.motion.smoothing import (
    Filter,
    GaussianFilter,
    causal_filter,
    gaussian_reach,
)
from visage.models.motion.torso import move_torso
from visage.specs.motion import MotionSpec, Smoothing

__all__ = ["Filters", "Finish", "Motion", "open_filters"]

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
    """What steadies (T, C) trajectories; each has its own state, and all give as many frames."""

    landmarks: Filter
    rotation: Filter
    translation: Filter
    ahead: int = 0
    """Frames that must be known after a frame before it is given."""


def open_filters(spec: MotionSpec, kind: Smoothing) -> Filters:
    """Fresh filters of a kind; the Gaussian ones wait for what the widest of them must see."""
    sigmas = (spec.landmark_sigma, spec.rotation_sigma, spec.translation_sigma)
    if kind == "gaussian":
        ahead = max(gaussian_reach(sigma) for sigma in sigmas)
        still, turned, moved = (GaussianFilter(sigma, ahead=ahead) for sigma in sigmas)
        return Filters(landmarks=still, rotation=turned, translation=moved, ahead=ahead)
    fresh = partial(causal_filter, kind, fps=spec.fps, beta=spec.one_euro_beta)
    landmarks, rotation, translation = sigmas
    return Filters(
        landmarks=fresh(sigma=landmarks),
        rotation=fresh(sigma=rotation, scale=_DEGREES),
        translation=fresh(sigma=translation),
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

    def __call__(self, displacement: Tensor, pose: Tensor, *, is_last: bool = False) -> Motion:
        """The frames that the next ones complete; all that are left after the last.

        Args:
            displacement: (T, 68, 3) from the mean shape.
            pose: (T, 6) in degrees and eye distances.
        """
        moving = (displacement * self._factors).flatten(1)
        steady = self._filters.landmarks(moving, is_last=is_last)
        landmarks = self._mean + steady.reshape(-1, POINTS, 3)
        turned = self._filters.rotation(pose[:, :3], is_last=is_last)
        moved = self._filters.translation(pose[:, 3:], is_last=is_last)
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
