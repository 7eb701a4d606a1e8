"""Specs of the audio encoder: the mel front end, the APC network, the projection, the training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from visage.specs.base import Spec
from visage.specs.places import Place
from visage.specs.train import OptimizerSpec, ScheduleSpec, TrainSpec

__all__ = ["AudioEncoderSpec", "AudioEncoderTrainSpec", "AudioFrontSpec", "ManifoldSpec"]


class AudioFrontSpec(Spec):
    """From samples to log-mel frames, two of them for every video frame (models.md A.1).

    The rates belong together: a network trained at 120 mel frames a second means something else at
    another rate, so other video rates are made by resampling motion, not by changing these.
    """

    sample_rate: int = Field(16_000, ge=1_000, le=384_000)
    """Samples a second of mono sound in [-1, 1]."""
    fps: int = Field(60, ge=1, le=240)
    """Video frames a second."""
    mels: int = Field(80, ge=1, le=512)
    fft: int = Field(512, ge=2, le=16_384)
    """Length of the Fourier transform; the window lies inside it."""
    low_hz: float = Field(90.0, ge=0.0)
    high_hz: float = Field(7600.0, gt=0.0)
    floor: float = Field(1e-5, gt=0.0, lt=1.0)
    """Smallest magnitude that counts: silence is exactly 0 after normalisation."""
    taper: Literal["mirrored", "plain"] = "mirrored"
    """What a frame hears of the video-frame-long clip that starts at its place.

    plain = all of it under one Hann window. mirrored = as the released code pads each clip: the
    window starts a quarter earlier, on the clip's own beginning mirrored (66 samples at 16 kHz),
    and ends a quarter earlier; the published weights were trained with it.
    """

    @property
    def window_samples(self) -> int:
        """Length of the Hann window: one video frame, rounded down (266)."""
        return self.sample_rate // self.fps

    @model_validator(mode="after")
    def _fits(self) -> AudioFrontSpec:
        if not 4 <= self.window_samples <= self.fft:
            raise ValueError(
                f"sample_rate / fps gives a window of {self.window_samples} samples; it must be "
                f"at least 4 and fit into fft {self.fft}"
            )
        if not self.low_hz < self.high_hz <= self.sample_rate / 2:
            raise ValueError("the mel bands need low_hz < high_hz <= sample_rate / 2")
        return self


class AudioEncoderSpec(Spec):
    """APC: stacked one-way GRUs that predict the mel frame `n_future` ahead (models.md A.2)."""

    front: AudioFrontSpec = AudioFrontSpec()
    layers: int = Field(3, ge=1, le=16)
    width: int = Field(512, ge=1, le=8192)
    """Of every layer; the last one's state is the feature."""
    n_future: int = Field(3, ge=1, le=120)
    """How many mel frames ahead the post-net predicts in training (25 ms)."""
    residual: bool = False
    """Add a layer's input to its output, for every layer but the first and the last."""
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Between layers, in training."""


class ManifoldSpec(Spec):
    """Projection of features onto those of a person or style (models.md A.3); inference only."""

    neighbours: int = Field(10, ge=1, le=256)
    """K: rows of the bank that rebuild a feature."""
    percent: float = Field(1.0, ge=0.0, le=1.0)
    """How much of the projection is mixed in; 0 = features as they are."""
    ridge: float = Field(1e-3, ge=0.0)
    """Regularisation, as a share of the mean eigenvalue; it keeps equal neighbours harmless."""
    min_bank_s: float = Field(30.0, ge=0.0)
    """A bank of less sound is not used: it holds too few phonemes."""
    max_rows: int = Field(65_536, ge=1)
    """A longer bank is thinned evenly to so many rows (9 minutes; 134 MB at width 512)."""


class AudioEncoderTrainSpec(TrainSpec):
    """Recipe `audio-encoder`: APC on the sound of any corpus; no labels are needed."""

    recipe: Literal["audio-encoder"] = "audio-encoder"
    model: AudioEncoderSpec = AudioEncoderSpec()
    window: int = Field(720, ge=8)
    """Mel frames of one training sample (6 s); shorter recordings are padded and masked."""
    pretrained: Place | None = None
    """Path of published APC weights to start from; never downloaded."""
    optimizer: OptimizerSpec = OptimizerSpec(name="adam", lr=1e-4, weight_decay=0.0)
    schedule: ScheduleSpec = ScheduleSpec(name="constant")
    epochs: float = Field(160.0, gt=0.0)
    global_batch: int = Field(64, ge=1)
    micro_batch: int = Field(64, ge=1)

    @model_validator(mode="after")
    def _predicts_inside(self) -> AudioEncoderTrainSpec:
        if self.window <= 2 * self.model.n_future:
            raise ValueError(
                f"window {self.window} is too short to predict {self.model.n_future} frames ahead"
            )
        return self
