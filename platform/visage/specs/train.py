"""Specs of training: how long, how large, how often to save; shared by every recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from visage.specs.base import Spec
from visage.specs.emotion import EmotionModelSpec
from visage.specs.places import PartPlace

__all__ = ["EmotionTrainSpec", "OptimizerSpec", "ScheduleSpec", "TrainSpec"]


class OptimizerSpec(Spec):
    """One optimizer."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = Field(1e-2, gt=0.0)
    """Peak learning rate."""
    momentum: float = Field(0.9, ge=0.0, lt=1.0)
    nesterov: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(1e-4, ge=0.0)
    """Not applied to biases and normalisation parameters."""


class ScheduleSpec(Spec):
    """The learning rate as a function of the step; nothing about it is ever saved."""

    name: Literal["constant", "cosine", "milestones"] = "cosine"
    warmup_steps: int = Field(0, ge=0)
    """Linear rise from 0 before the schedule begins."""
    milestones_epochs: tuple[float, ...] = ()
    """For `milestones`: where the rate is multiplied by `gamma`."""
    gamma: float = Field(0.1, gt=0.0, le=1.0)
    floor_lr: float = Field(0.0, ge=0.0)
    """After the warm-up the rate never falls below this."""


class TrainSpec(Spec):
    """What every recipe shares."""

    seed: int = 0
    """Order, initial weights, augmentation and dropout are functions of it."""
    start_from: PartPlace | None = None
    """Trained part of the same sizes whose weights are the first ones: fine-tuning to a corpus."""
    epochs: float = Field(50.0, gt=0.0)
    """Passes over the training split; the last step may read a little more."""
    max_steps: int | None = Field(None, ge=1)
    """Stop earlier, after so many optimizer steps."""
    global_batch: int = Field(128, ge=1)
    """Samples per optimizer step over all workers; never changes when the cluster is resized."""
    micro_batch: int = Field(128, ge=1)
    """Most samples that one worker puts through the model at once; the rest is accumulated."""
    precision: Literal["auto", "fp32", "fp16"] = "auto"
    """auto = fp16 with a gradient scaler on a GPU, fp32 on a CPU."""
    channels_last: bool = True
    """Memory layout of convolutions (on a GPU; a CPU keeps its own)."""
    clip_norm: float | None = Field(None, gt=0.0)
    """Largest gradient norm, over all parameters of one optimizer."""
    ema_decay: float | None = Field(None, gt=0.0, lt=1.0)
    """Exponential moving average of the weights, used to validate and to export."""
    checkpoint_every_s: float = Field(120.0, gt=0.0)
    """Upper bound on lost work, in seconds of training."""
    checkpoint_every_steps: int | None = Field(None, ge=1)
    """Save at fixed steps as well."""
    keep_checkpoints: int = Field(2, ge=1)
    """How many of the newest checkpoints stay; the best one stays as well."""
    checkpoint_age_limit_s: float = Field(1800.0, gt=0.0)
    """Stop (exit 75) if no checkpoint could be published for so long."""
    validate_every_epochs: float = Field(1.0, gt=0.0)
    export: Literal["last", "best"] = "last"
    """Which weights become the model: those of the last step or of the best validation."""
    samples: int = Field(4, ge=0, le=16)
    """How many validation samples are shown (pictures, clips) where a recipe can; 0 for none."""
    feed_threads: int = Field(2, ge=1, le=64)
    feed_ahead: int = Field(2, ge=0, le=64)
    """Steps decoded ahead of use."""
    max_failures: int = Field(3, ge=0)
    """Worker-group restarts before the run is given up."""
    stall_limit_s: float = Field(120.0, gt=0.0)
    """A rank that makes no progress for so long is named, killed and restarted."""

    @model_validator(mode="after")
    def _saves_before_limit(self) -> TrainSpec:
        if self.checkpoint_age_limit_s <= self.checkpoint_every_s:
            raise ValueError("checkpoint_age_limit_s must be longer than checkpoint_every_s")
        return self


class EmotionTrainSpec(TrainSpec):
    """Recipe `emotion`: GLAMOR-Net and its ablations."""

    recipe: Literal["emotion"] = "emotion"
    model: EmotionModelSpec = EmotionModelSpec()
    optimizer: OptimizerSpec = OptimizerSpec()
    schedule: ScheduleSpec = ScheduleSpec()
    augment: Literal["none", "official", "modern"] = "modern"
    """official = face flip and rotation; modern = joint flip, rotation, jitter (models.md B.1)."""
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0)
    balance: Literal["none", "loss"] = "none"
    """loss = weigh classes by inverse frequency (CAER is long-tailed)."""

    @model_validator(mode="after")
    def _floor_below_peak(self) -> EmotionTrainSpec:
        if self.schedule.floor_lr > self.optimizer.lr:
            raise ValueError("schedule.floor_lr must not be above optimizer.lr")
        return self
