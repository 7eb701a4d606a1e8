"""Specs of the motion generator: landmarks and head pose from speech, and how it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from visage.specs.base import Spec
from visage.specs.places import PartPlace
from visage.specs.train import OptimizerSpec, ScheduleSpec, TrainSpec

__all__ = [
    "MEL_CHANNELS",
    "LandmarkNetSpec",
    "MotionSpec",
    "MotionTrainSpec",
    "PoseNetSpec",
    "Smoothing",
]

MEL_CHANNELS = 80
"""Features of a motion generator that hears mel frames instead of an audio encoder."""

Smoothing = Literal["none", "gaussian", "ema", "one-euro"]
"""gaussian looks both ways (offline only); ema and one-euro are causal and may be streamed."""


class LandmarkNetSpec(Spec):
    """The LSTM that moves the 68 points (models.md A.4.1)."""

    mlp_width: int = Field(default=512, ge=1)
    """Of the two layers that read a pair of audio features."""
    lstm_width: int = Field(default=256, ge=1)
    lstm_layers: int = Field(default=3, ge=1)
    head_width: int = Field(default=512, ge=1)
    """Of the two hidden layers between LSTM and displacements."""


class PoseNetSpec(Spec):
    """The WaveNet that moves the head (models.md A.4.2)."""

    mlp_width: int = Field(default=512, ge=1)
    """Of the two layers that read a pair of audio features."""
    channels: int = Field(default=128, ge=1)
    """Width of the residual path and of the gated convolutions."""
    skip_channels: int = Field(default=256, ge=1)
    blocks: int = Field(default=2, ge=1)
    """Times that the dilations begin anew at 1."""
    layers: int = Field(default=7, ge=1, le=12)
    """Layers of a block; their dilations are 1, 2, 4, …"""
    input_dropout: float = Field(default=0.5, ge=0.0, lt=1.0)
    """Whole channels of the history hidden in training, so that the sound is heeded."""
    sigma_floor: float = Field(default=0.03, gt=0.0)
    """Smallest standard deviation, in the units below; keeps the likelihood finite."""
    rotation_unit_deg: float = Field(default=1.0, gt=0.0)
    """Inside the network an angle is counted in this unit."""
    translation_unit: float = Field(default=0.02, gt=0.0)
    """Inside the network a distance is counted in this unit; 0.02 eye distances is about what the
    front of a head travels when it turns by one degree."""
    limit: float = Field(default=60.0, gt=0.0)
    """Samples stay within this many units around the rest pose, whatever the network says."""

    @property
    def dilations(self) -> tuple[int, ...]:
        """Of all layers in order."""
        return tuple(2**layer for layer in range(self.layers)) * self.blocks

    @property
    def receptive_field(self) -> int:
        """Frames of history that one prediction sees; 255 at the published depth."""
        return 1 + sum(self.dilations)


class MotionSpec(Spec):
    """The motion generator as a whole; published values are the defaults (models.md A.4)."""

    feature_channels: int = Field(default=512, ge=1)
    """Of one 120-Hz audio feature: the width of the audio encoder, or 80 for mel frames."""
    fps: int = Field(default=60, ge=1)
    """Frames a second; two audio features belong to each."""
    norm: Literal["batch", "layer"] = "batch"
    """batch = published; layer = no statistics over the batch, the same in training and use."""
    landmark_look_ahead: int = Field(default=18, ge=0)
    """Frames of sound after a frame that its landmarks may depend on (300 ms)."""
    pose_look_ahead: int = Field(default=15, ge=0)
    """The same for the head pose (250 ms)."""
    landmark_net: LandmarkNetSpec = LandmarkNetSpec()
    pose_net: PoseNetSpec = PoseNetSpec()
    sigma_scale: float = Field(default=0.3, ge=0.0)
    """Factor on the standard deviation when poses are drawn; 0 = always the mean."""
    blink_rate_hz: float = Field(default=0.27, ge=0.0, le=2.0)
    """Blinks a second (a Poisson process); 0 = only what the network predicts."""
    blink_shortest_s: float = Field(default=0.1, gt=0.0, le=1.0)
    blink_longest_s: float = Field(default=0.3, gt=0.0, le=1.0)
    smoothing: Smoothing = "gaussian"
    """What steadies the predicted trajectories; a stream needs a causal kind or none."""
    landmark_sigma: float = Field(default=1.0, ge=0.0)
    """Spread of the smoothing in frames; causal filters are given the same strength."""
    rotation_sigma: float = Field(default=3.0, ge=0.0)
    translation_sigma: float = Field(default=9.0, ge=0.0)
    one_euro_beta: float = Field(default=2.0, ge=0.0)
    """How fast the one-euro filter opens with speed: hertz a unit (or 100 degrees) a second."""
    torso: Literal["off", "flow"] = "off"
    """flow = shoulder points, found in the first frame, that follow the head half way."""
    torso_amplitude: float = Field(default=0.5, ge=0.0)
    """Share of the head's translation that the shoulders make."""
    keep_jaw: bool = True
    """False = the chin stays at the mean face, as in the published demo."""
    amplitude: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors on the x, y, z displacement of mouth and jaw after prediction (1.5-2 is common).

    Metrics of style are very sensitive to it, so state it beside them.
    """

    @model_validator(mode="after")
    def _makes_sense(self) -> MotionSpec:
        if self.blink_longest_s < self.blink_shortest_s:
            raise ValueError("blink_longest_s must not be below blink_shortest_s")
        return self

    @property
    def look_ahead(self) -> int:
        """Frames of sound that must be known before a frame can be given."""
        return max(self.landmark_look_ahead, self.pose_look_ahead)


class MotionTrainSpec(TrainSpec):
    """Recipe `motion`: both networks side by side, each on its own terms of L_mg."""

    recipe: Literal["motion"] = "motion"
    audio_encoder: PartPlace | None = None
    """URI of a trained audio encoder; None = the networks read pairs of mel frames."""
    model: MotionSpec = MotionSpec()
    optimizer: OptimizerSpec = OptimizerSpec(
        name="adam", lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0
    )
    schedule: ScheduleSpec = ScheduleSpec(name="milestones", milestones_epochs=(250.0,), gamma=0.2)
    epochs: float = Field(500.0, gt=0.0)
    global_batch: int = Field(64, ge=1)
    micro_batch: int = Field(64, ge=1)
    window: int = Field(240, ge=2)
    """Frames of a training sample."""
    lead_in: int | None = Field(None, ge=0)
    """Frames before the window that warm up audio encoder and pose history; None = the receptive
    field of the pose network."""
    lambda_pose: float = Field(1.0, ge=0.0)
    """Weight of the negative log-likelihood of the head pose."""
    lambda_velocity: float = Field(0.0, ge=0.0)
    """Weight of the velocity error; 0 = faithful, 0.5 is a good first try."""
    lambda_laplacian: float = Field(0.0, ge=0.0)
    """Weight of the Laplacian error on the graph of the 68 points; 0 = faithful."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: object) -> object:
        """Without an audio encoder the networks read mel frames, if nothing else is stated."""
        if not isinstance(values, Mapping) or values.get("audio_encoder") is not None:
            return values
        model = values.get("model", {})
        if isinstance(model, Mapping) and "feature_channels" not in model:
            return {**values, "model": {**model, "feature_channels": MEL_CHANNELS}}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> MotionTrainSpec:
        if self.schedule.floor_lr > self.optimizer.lr:
            raise ValueError("schedule.floor_lr must not be above optimizer.lr")
        if self.audio_encoder is None and self.model.feature_channels != MEL_CHANNELS:
            raise ValueError(
                f"model.feature_channels is {self.model.feature_channels}, but without "
                f"audio_encoder the features are mel frames of {MEL_CHANNELS}; name an "
                "audio_encoder or leave feature_channels out"
            )
        if self.window <= self.model.look_ahead:
            raise ValueError(
                f"window {self.window} must be longer than the look-ahead of "
                f"{self.model.look_ahead} frames; nothing would be left to compare"
            )
        return self

    @property
    def lead_in_frames(self) -> int:
        """The resolved lead-in."""
        return self.model.pose_net.receptive_field if self.lead_in is None else self.lead_in
