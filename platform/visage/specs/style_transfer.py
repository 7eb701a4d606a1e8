"""Specs of style transfer: the feature network f, and how a motion generator is fine-tuned."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from visage.specs.base import Spec
from visage.specs.places import PartPlace, Place
from visage.specs.train import OptimizerSpec, ScheduleSpec, TrainSpec

__all__ = ["StyleDeltaSpec", "StyleFeaturesSpec", "StyleTransferTrainSpec"]


class StyleFeaturesSpec(Spec):
    """The network f that compares ways of moving (models.md A.9)."""

    widths: tuple[int, ...] = (1024, 512, 256)
    """Of its layers; 866,048 parameters with these."""
    phi_scale: float = Field((1000.0 / 204) ** 0.5, gt=0.0)
    """Factor on landmarks before f. f hardly stretches lengths, so L_sc is about as large as what
    it reads, squared and summed; L_mg is 1000 times a mean over 204 coordinates. This factor brings
    both to one scale. 1 = literal."""

    @model_validator(mode="after")
    def _has_layers(self) -> StyleFeaturesSpec:
        if not self.widths or min(self.widths) < 1:
            raise ValueError("widths: at least one layer, each at least 1 wide")
        return self


class StyleDeltaSpec(Spec):
    """What a published style belongs to."""

    name: str = Field(min_length=1)
    """Of the style, for people and for the renderer."""
    base: str = Field(min_length=1)
    """Digest of the motion generator that it changes; it fits no other."""


class StyleTransferTrainSpec(TrainSpec):
    """Recipe `style-transfer`: L_transfer = L_mg + L_sc + L_r on a trained motion generator."""

    recipe: Literal["style-transfer"] = "style-transfer"
    motion: PartPlace
    """URI of the trained motion generator to start from."""
    audio_encoder: PartPlace | None = None
    """URI of the audio encoder that it was trained with; None if it hears mel frames."""
    style_clips: Place
    """URI of a prepared corpus (kind clips/1) whose training split shows the style; often that of
    the data themselves. Scores compare with its validation split, if that shows the style too."""
    style: str | None = None
    """Only clips with this in their `style` column; None = all of style_clips."""
    name: str | None = None
    """What the result is called; None = the style, or `style`."""
    features: StyleFeaturesSpec = StyleFeaturesSpec()

    mode: Literal["joint", "adversarial"] = "joint"
    """joint = generator and f both minimise; adversarial = f maximises L_sc, a phase of its own."""
    anchor: Literal["paired", "frozen"] = "paired"
    """What L_mg compares with. paired = where a clip of the data is of the style, its own landmarks
    and head pose, elsewhere as frozen; frozen = what the generator said before (self-distillation),
    which keeps the lips in time with any sound; the head-pose net then stays as it is."""
    gamma: float | Literal["uniform"] = "uniform"
    """Where between generated (0) and style (1) landmarks the gradient of f is held at 1."""
    constraint: Literal["window", "batch"] = "batch"
    """What L_sc averages features over before it compares: the frames of each sample, or all that
    go through the model at once (`micro_batch`), where what is said averages out."""
    penalty: Literal["projection", "critic", "paper_literal"] | None = None
    """Which scalar of f's vector is differentiated: a random unit projection; the projection onto
    what L_sc measures, as a Wasserstein critic has it; or the mean. None = projection in joint
    mode, critic in adversarial mode (a single direction may escape random projections)."""
    lambda_style: float = Field(1.0, ge=0.0)
    """Weight of L_sc."""
    lambda_penalty: float = Field(1.0, ge=0.0)
    """Weight of L_r."""
    lambda_pose: float = Field(1.0, ge=0.0)
    lambda_velocity: float = Field(0.0, ge=0.0)
    lambda_laplacian: float = Field(0.0, ge=0.0)

    collapse: Literal["stop", "reweigh", "off"] = "reweigh"
    """What to do when f no longer tells landmarks apart: end the run with an error, or let only L_r
    move f, with lambda_penalty times `collapse_boost`, until it does again. In joint mode f sooner
    or later goes blind to what L_sc measures: the norm of its gradient does not forbid that."""
    collapse_boost: float = Field(10.0, gt=1.0)
    least_spread: float = Field(0.4, ge=0.0)
    """Spread of f's features over that of its inputs, below which f has collapsed; a new f has
    about 0.7, by the slope of its leaky ReLUs."""
    least_gradient: float = Field(0.1, ge=0.0)
    """The same for the norm of f's gradient, which L_r holds at 1."""

    optimizer: OptimizerSpec = OptimizerSpec(
        name="adam", lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0
    )
    features_optimizer: OptimizerSpec = OptimizerSpec(
        name="adam", lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0
    )
    """Of f in adversarial mode; in joint mode there is one optimizer."""
    schedule: ScheduleSpec = ScheduleSpec(name="constant")
    epochs: float = Field(1e6, gt=0.0)
    """Counts only if it ends before max_steps."""
    max_steps: int | None = Field(1000, ge=1)
    global_batch: int = Field(64, ge=1)
    micro_batch: int = Field(64, ge=1)
    window: int = Field(240, ge=2)
    """Frames of a training sample."""
    lead_in: int | None = Field(None, ge=0)
    """Frames before the window; None = the receptive field of the pose network."""
    style_frames: int = Field(20_000, ge=1)
    """Most frames of the style kept in memory, thinned evenly."""
    compare_frames: int = Field(240, ge=20)
    """Frames of a style clip that validation compares with, one that is not learnt from if there is
    one."""
    compare_window: int = Field(20, ge=2)
    """Frames of the windows of SLD, SLV and SMD; fewer if fewer are generated."""

    @model_validator(mode="after")
    def _consistent(self) -> StyleTransferTrainSpec:
        if isinstance(self.gamma, float) and not 0.0 <= self.gamma <= 1.0:
            raise ValueError('gamma lies between 0 and 1, or is "uniform"')
        rates = (self.optimizer.lr, self.features_optimizer.lr)
        if self.schedule.floor_lr > min(rates):
            raise ValueError("schedule.floor_lr must not be above a learning rate")
        if self.compare_window > self.compare_frames:
            raise ValueError("compare_window must not be longer than compare_frames")
        return self

    @property
    def scalar(self) -> Literal["projection", "critic", "paper_literal"]:
        """The resolved penalty."""
        return self.penalty or ("projection" if self.mode == "joint" else "critic")

    @property
    def style_name(self) -> str:
        """The resolved name."""
        return self.name or self.style or "style"
