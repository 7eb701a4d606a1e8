"""The motion generator: speech features in, landmarks, head pose and shoulders out (models.md A.4).

`MotionGenerator` ties the landmark LSTM and the head-pose WaveNet together for training, and makes
motion for a whole clip or, through `MotionStream`, as the sound comes in. A clip is a stream that
is fed at once, so the two agree wherever nothing looks into the future.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from visage.landmarks import POINTS
from visage.models.motion.finish import Finish, Motion, open_filters
from visage.models.motion.head_pose import HeadPoseNet
from visage.models.motion.landmark_lstm import LandmarkLstm
from visage.models.motion.losses import MotionPrediction
from visage.models.motion.stream import MotionTracks
from visage.specs.motion import MotionSpec, Smoothing

__all__ = ["MotionGenerator"]


class MotionGenerator(nn.Module):
    """Landmark net and pose net; they share nothing but their input."""

    def __init__(self, spec: MotionSpec) -> None:
        super().__init__()
        self.spec = spec
        self.landmarks = LandmarkLstm(spec)
        self.pose = HeadPoseNet(spec)

    def displacements(self, features: Tensor) -> Tensor:
        """What the landmark net alone predicts, differentiable.

        Args:
            features: (N, 2T, F).

        Returns:
            (N, T - landmark_look_ahead, 68, 3) from the mean shape; row t is frame t.
        """
        rows, _ = self.landmarks(features)
        known: Tensor = rows[:, self.spec.landmark_look_ahead :]
        return known.reshape(*known.shape[:2], POINTS, 3)

    def forward(self, features: Tensor, sway: Tensor, *, lead_in: int = 0) -> MotionPrediction:
        """The prediction for training, the true pose given frame by frame.

        Args:
            features: (N, 2(lead_in + T), F).
            sway: (N, lead_in + T, 6), the true pose as `self.pose.sway(pose, rest)` gives it.
            lead_in: Frames in front that only the pose net hears; the landmark net begins after
                them with a fresh state, as it does at the beginning of a clip.

        Returns:
            Displacements of the T frames after the lead-in, poses of all frames; each less its
            look-ahead.
        """
        return MotionPrediction(
            self.displacements(features[:, 2 * lead_in :]), self.pose(features, sway)
        )

    @torch.no_grad()
    def generate(
        self,
        features: Tensor,
        mean: Tensor,
        *,
        rest: Tensor,
        seed: int,
        smoothing: Smoothing | None = None,
        torso: Tensor | None = None,
    ) -> Motion:
        """The motion of a whole clip, in evaluation mode and without gradients.

        Args:
            features: (2T, F); a last one without a partner is left out.
            mean: The shape that the displacements are added to, (68, 3).
            rest: The pose that the head sways about, (6,).
            seed: Of poses and blinks.
            smoothing: Another kind than the spec's.
            torso: Shoulders in camera space while the head is at rest, (18, 3), or None; not used
                if the spec's torso is off.

        Returns:
            T frames.
        """
        kind = self.spec.smoothing if smoothing is None else smoothing
        was_training = self.training
        self.eval()
        try:
            tracks = MotionTracks(self, seed=seed)
            parts = [tracks.push(features), tracks.flush()]
            finish = Finish(
                self.spec, mean, rest=rest, seed=seed, filters=open_filters(self.spec, kind),
                torso=torso,
            )  # fmt: skip
            displacement, sway = (torch.cat(both) for both in zip(*parts, strict=True))
            return finish(displacement, self.pose.posed(sway, rest), is_last=True)
        finally:
            self.train(was_training)
