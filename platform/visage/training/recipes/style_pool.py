"""The style as a recipe sees it: frames to draw from, frames to watch, a clip to compare with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visage.data.style_clips import StyleClip, load_style_clips
from visage.errors import DataError
from visage.landmarks import OUTER_EYE_CORNERS
from visage.metrics.style_distances import StyleScores, Windows, style_scores
from visage.models.style_transfer import registered
from visage.seeds import rng_of
from visage.specs.style_transfer import StyleTransferTrainSpec

__all__ = ["StyleDraws", "StylePool"]

_PROBES = 128
_STILL = 1e-6
"""A variance of registered landmarks below which nothing moves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleDraws:
    """What is random about one training sample."""

    phi: Tensor
    """Style frames, (T, 68, 3)."""
    gamma: Tensor
    """(T,)."""
    normal: Tensor
    """Standard normal, (width,); the direction of the projection."""


class StylePool:
    """Registered landmarks of all frames of the style clips, thinned evenly to a bound."""

    def __init__(self, spec: StyleTransferTrainSpec) -> None:
        """Raises DataError if the clips do not show the style, or do not move.

        What is compared with is of the validation split, which is not learnt from, where that one
        shows the style for long enough; else it is of the training split.
        """
        self._spec = spec
        clips = load_style_clips(spec.style_clips, spec.style)
        whole = torch.cat([_registered(clip) for clip in clips])
        if float(whole.var(dim=0).sum()) < _STILL:
            raise DataError(f"{spec.style_clips}: the landmarks do not move; they show no style")
        keep = np.linspace(0, len(whole) - 1, min(len(whole), spec.style_frames)).round()
        self.phi = whole[keep.astype(np.int64)]  # (M, 68, 3)
        learnt = _longest(clips)
        if len(learnt.landmarks) < spec.compare_window:
            raise DataError(
                f"{spec.style_clips}: the longest style clip has {len(learnt.landmarks)} frames, "
                f"fewer than compare_window={spec.compare_window}"
            )
        held_out = [
            clip
            for clip in load_style_clips(spec.style_clips, spec.style, split="val")
            if len(clip.landmarks) >= spec.compare_window
        ]
        compared = _longest(held_out) if held_out else learnt
        self.learnt = self._middle(learnt)  # (n, 68, 3)
        self.clip = self._middle(compared)  # (n, 68, 3)
        self.mean = _in_eye_distances(compared.mean)  # (68, 3)

    def probes(self) -> Tensor:
        """Frames on which f is watched, the same on every rank, (P, 68, 3)."""
        places = np.linspace(0, len(self.phi) - 1, min(len(self.phi), _PROBES)).round()
        return self.phi[places.astype(np.int64)]

    def draws(self, step: int, sample: int, *, frames: int, width: int) -> StyleDraws:
        """The draws of one sample at one step, a function of their numbers and the seed."""
        rng = rng_of(self._spec.seed, "style", step, sample)
        places = rng.integers(len(self.phi), size=frames)
        gamma = rng.random(frames, np.float32)
        if isinstance(self._spec.gamma, float):
            gamma = np.full(frames, self._spec.gamma, np.float32)
        return StyleDraws(
            phi=self.phi[places],
            gamma=torch.from_numpy(gamma),
            normal=torch.from_numpy(rng.standard_normal(width, np.float32)),
        )

    def distances(self, phi: Tensor) -> StyleScores:
        """SLD, SLV and SMD of generated displacements (T, 68, 3) from the style clip.

        Both are put on the same mean shape, so that identity is no distance.
        """
        size = min(self._spec.compare_window, len(phi), len(self.clip))
        return style_scores(
            self._on_mean(self.clip), self._on_mean(phi), windows=Windows(size=size)
        )

    def _middle(self, clip: StyleClip) -> Tensor:
        start = max(0, len(clip.landmarks) - self._spec.compare_frames) // 2
        return _registered(clip)[start : start + self._spec.compare_frames]

    def _on_mean(self, phi: Tensor) -> NDArray[np.float64]:
        return (self.mean + phi.detach().float().cpu()).double().numpy()


def _longest(clips: list[StyleClip]) -> StyleClip:
    return max(clips, key=lambda clip: len(clip.landmarks))


def _registered(clip: StyleClip) -> Tensor:
    return registered(
        torch.from_numpy(clip.landmarks.copy()), torch.from_numpy(clip.mean.copy())
    )  # fmt: skip


def _in_eye_distances(mean: NDArray[np.float32]) -> Tensor:
    first, second = OUTER_EYE_CORNERS
    return torch.from_numpy(mean / np.linalg.norm(mean[first] - mean[second]))
