"""Sound in, finished motion out, piece by piece: mel, audio features, motion.

Every state that is carried has a fixed size, so a recording may be of any length; the pieces in
which it comes change nothing but the rounding of sums (models.md A.10).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visage.inference.style_card import StyleCard
from visage.inference.talking_head import TalkingHead
from visage.models.audio.apc import FeatureStream
from visage.models.audio.mel import MelStream
from visage.models.motion import Motion, MotionStream
from visage.specs.motion import Smoothing

__all__ = ["SpeakingMotion"]


class SpeakingMotion:
    """The motion of one head that speaks one recording."""

    def __init__(
        self,
        head: TalkingHead,
        style: StyleCard,
        *,
        mean: NDArray[np.float32],
        rest: NDArray[np.float32],
        seed: int,
        smoothing: Smoothing | None = None,
    ) -> None:
        """Open a stream.

        Args:
            mean: The shape that displacements are added to, (68, 3) in eye distances.
            rest: The pose that the head sways about, (6,).

        Raises:
            SpecError: the style's motion belongs to another generator.
        """
        self._device = head.device
        self._mel = MelStream(head.front)
        self._features = None if head.audio_encoder is None else FeatureStream(head.audio_encoder)
        self._motion = MotionStream(
            head.motion_in(style), self._tensor(mean), rest=self._tensor(rest), seed=seed,
            smoothing=smoothing,
        )  # fmt: skip
        self.latency_frames = self._motion.latency_frames
        """Frames at 60 Hz between the sound that was pushed and the motion that is given."""

    def push(self, samples: NDArray[np.float32]) -> Motion:
        """The frames at 60 Hz that the next samples (16 kHz, mono) complete."""
        return self._motion.push(self._heard(self._mel.push(samples)))

    def finish(self) -> list[Motion]:
        """What is left; the stream then is closed."""
        return [self._motion.push(self._heard(self._mel.finish())), self._motion.finish()]

    def _heard(self, mel: NDArray[np.float32]) -> Tensor:
        frames = self._tensor(mel)
        return frames if self._features is None else self._features.push(frames)

    def _tensor(self, values: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(self._device)
