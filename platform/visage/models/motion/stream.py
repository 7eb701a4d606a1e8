"""Motion while the sound comes in: chunks of features in, finished frames out.

A frame can be given once the sound `look_ahead` frames after it is known: 300 ms at the published
settings, to which the sound of the mel frame itself (17 ms) is added, and what the smoothing costs:
a causal filter is late (`visage.models.motion.smoothing.delay_frames`), a Gaussian looks ahead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from visage.errors import SpecError
from visage.landmarks import POINTS
from visage.models.motion.finish import Finish, Motion, open_filters
from visage.models.motion.frames import FEATURES_PER_FRAME, paired
from visage.models.motion.head_pose import POSE, PoseSampler
from visage.models.motion.landmark_lstm import DISPLACEMENTS, LstmState
from visage.seeds import seed_of
from visage.specs.motion import Smoothing

if TYPE_CHECKING:
    from visage.models.motion.motion import MotionGenerator

__all__ = ["MotionStream", "MotionTracks"]


class MotionTracks:
    """Raw predictions as the sound comes in: displacements and sway, before any finish.

    The state that is carried (LSTM, WaveNet memories, frames waiting for their look-ahead) has a
    fixed size, whatever the length of the sound. Computed in fp32, also under autocast: errors of a
    pose that is fed back add up.
    """

    def __init__(self, model: MotionGenerator, *, seed: int) -> None:
        """model: in evaluation mode; its weights must not change while the tracks run."""
        if model.training:
            raise SpecError("motion is generated in evaluation mode; call model.eval() first")
        self._model = model
        generator = torch.Generator().manual_seed(seed_of(seed, "pose"))
        self._sampler = PoseSampler(
            model.pose, generator=generator, sigma_scale=model.spec.sigma_scale
        )
        self._state: LstmState | None = None
        self._half: Tensor | None = None  # a feature whose partner has not come yet
        self._latest: Tensor | None = None
        self._landmarks = _Delayed(model.spec.landmark_look_ahead)
        self._sway = _Delayed(model.spec.pose_look_ahead)
        self._is_open = True

    @torch.no_grad()
    def push(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The frames that the next features (K, F), K any number, complete.

        Returns:
            Displacements (T, 68, 3) and sway (T, 6) in the pose network's units.
        """
        if not self._is_open:
            raise SpecError("the stream was finished; begin a new one for more sound")
        features = features.float()
        whole = features if self._half is None else torch.cat([self._half, features])
        even = len(whole) // FEATURES_PER_FRAME * FEATURES_PER_FRAME
        self._half = whole[even:]
        if even:
            self._latest = whole[even - 1 : even]
            self._hear_landmarks(whole[None, :even])
            self._hear_pose(whole[None, :even])
        return self._ready(features)

    @torch.no_grad()
    def flush(self) -> tuple[Tensor, Tensor]:
        """The last frames: the last feature is repeated in place of the sound that never came."""
        self._is_open = False
        latest = self._latest
        if latest is None:
            return self._ready(next(self._model.parameters()))
        for hear, frames in (
            (self._hear_landmarks, self._model.spec.landmark_look_ahead),
            (self._hear_pose, self._model.spec.pose_look_ahead),
        ):
            if frames:
                hear(latest.expand(FEATURES_PER_FRAME * frames, -1)[None])
        return self._ready(latest)

    def _hear_landmarks(self, features: Tensor) -> None:
        with torch.autocast(features.device.type, enabled=False):
            rows, self._state = self._model.landmarks(features, self._state)
        self._landmarks.add(rows[0])

    def _hear_pose(self, features: Tensor) -> None:
        # delayed before sampling: what frame 0 is drawn from is the sound at the look-ahead
        with torch.autocast(features.device.type, enabled=False):
            condition = self._sway.passed(self._model.pose.audio(paired(features))[0])
            if len(condition):
                self._sway.queue(self._sampler(condition[None])[0])

    def _ready(self, like: Tensor) -> tuple[Tensor, Tensor]:
        count = min(len(self._landmarks), len(self._sway))
        displacement = self._landmarks.take(count, like.new_zeros(0, DISPLACEMENTS))
        return displacement.reshape(-1, POINTS, 3), self._sway.take(count, like.new_zeros(0, POSE))


class MotionStream:
    """Finished motion as the sound comes in; equal to `MotionGenerator.generate` of the whole."""

    def __init__(
        self,
        model: MotionGenerator,
        mean: Tensor,
        *,
        rest: Tensor,
        seed: int,
        smoothing: Smoothing | None = None,
        torso: Tensor | None = None,
    ) -> None:
        """Arguments as of `MotionGenerator.generate`.

        Raises:
            SpecError: the model is in training mode.
        """
        kind = model.spec.smoothing if smoothing is None else smoothing
        self._pose, self._rest = model.pose, rest
        filters = open_filters(model.spec, kind)
        self._finish = Finish(model.spec, mean, rest=rest, seed=seed, filters=filters, torso=torso)
        self._tracks = MotionTracks(model, seed=seed)
        self.latency_frames = model.spec.look_ahead + filters.ahead
        """Frames of sound after a frame that must have come before it is given."""

    def push(self, features: Tensor) -> Motion:
        """The frames that the next features (K, F) complete; K any number, T may be 0."""
        return self._finished(self._tracks.push(features), is_last=False)

    def finish(self) -> Motion:
        """The frames still waiting for sound that will not come; the stream then is closed."""
        return self._finished(self._tracks.flush(), is_last=True)

    @torch.no_grad()
    def _finished(self, tracks: tuple[Tensor, Tensor], *, is_last: bool) -> Motion:
        displacement, sway = tracks
        return self._finish(displacement, self._pose.posed(sway, self._rest), is_last=is_last)


class _Delayed:
    """Rows in the order they came, the first `delay` dropped."""

    def __init__(self, delay: int) -> None:
        self._to_drop = delay
        self._rows: list[Tensor] = []

    def __len__(self) -> int:
        return sum(len(one) for one in self._rows)

    def passed(self, rows: Tensor) -> Tensor:
        """What is left of the next rows."""
        dropped = min(self._to_drop, len(rows))
        self._to_drop -= dropped
        return rows[dropped:]

    def queue(self, rows: Tensor) -> None:
        """Keep rows as they are."""
        self._rows.append(rows)

    def add(self, rows: Tensor) -> None:
        """Keep what is left of the next rows."""
        self.queue(self.passed(rows))

    def take(self, count: int, empty: Tensor) -> Tensor:
        """The first `count` rows, no longer kept; `empty` names shape and type of none."""
        rows = torch.cat([empty, *self._rows])
        self._rows = [rows[count:]]
        return rows[:count]
