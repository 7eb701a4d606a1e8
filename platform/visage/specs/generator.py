"""Specs of the style-aware generator: what it sees, how wide it is, what it is taught by.

Defaults are the published sizes (512 pixels, 16 input channels, batch 8, learning rate 1e-5); a
small preset sets smaller ones and runs the same code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from visage.specs.base import Spec
from visage.specs.places import PartPlace, Place
from visage.specs.train import OptimizerSpec, ScheduleSpec, TrainSpec

__all__ = [
    "INPUT_CHANNELS",
    "PATTERNS",
    "Composition",
    "FacialMapSpec",
    "GeneratorInput",
    "GeneratorLossSpec",
    "GeneratorSpec",
    "GeneratorTrainSpec",
    "JudgeSpec",
    "StyleLossSpec",
    "Upsampling",
]

GeneratorInput = Literal["map", "source", "warped", "isp"]
Upsampling = Literal["nearest", "bilinear", "transposed"]
Norm = Literal["batch", "instance"]
Composition = Literal["painted", "masked"]

PATTERNS = 4
"""Intermediate style patterns: one for each key motion template (None, M, R, O)."""
INPUT_CHANNELS: Mapping[GeneratorInput, int] = {
    "map": 1,
    "source": 3,
    "warped": 3,
    "isp": 3 * PATTERNS,
}


class FacialMapSpec(Spec):
    """How landmarks are drawn for the network; training and rendering must agree."""

    thickness_px: float = Field(2.0, gt=0.0, le=16.0)
    antialias: bool = False
    """Smooth lines at sub-pixel positions; false = published, ends cut to whole pixels."""
    torso: bool = False
    """Draw the shoulder lines where they are known."""
    mouth_fill: float = Field(0.0, ge=0.0, le=1.0)
    """Brightness of the opening between the lips; 0 = lines alone, as published. In small pictures
    two lines say little about whether they are apart."""

    @model_validator(mode="after")
    def _hard_lines_are_two_pixels(self) -> FacialMapSpec:
        if not self.antialias and self.thickness_px != 2:
            raise ValueError("thickness_px must be 2 unless antialias is true")
        if not self.antialias and self.mouth_fill > 0:
            raise ValueError("mouth_fill needs antialias")
        return self


class GeneratorSpec(Spec):
    """A U-Net from facial map, source picture and style patterns to a frame (models.md A.8)."""

    variant: Literal["small", "normal", "large"] = "normal"
    """small = pix2pix; normal, large = one and two residual blocks at each level."""
    size: int = Field(512, ge=32, le=2048)
    """Side of the square pictures."""
    widths: tuple[int, ...] = Field((64, 128, 256, 512, 512, 512, 512, 512), min_length=2)
    """Channels after each halving."""
    inputs: tuple[GeneratorInput, ...] = ("map", "source", "isp")
    """What is stacked: 1 + 3 + 12 = 16 channels; [map, isp] has the 13 of live speech portraits.
    warped = the source once more, pulled by its landmarks to the frame's (not published)."""
    upsampling: Upsampling | None = None
    """null = the variant's own: transposed convolutions for small, nearest for the others."""
    norm: Norm = "batch"
    """batch wants four samples or more at a time on each worker; instance does not care."""
    composition: Composition = "painted"
    """painted = the network makes every pixel (published); masked = it also says where it paints,
    and elsewhere source or warped source show through: what only moves need not be learnt."""
    map: FacialMapSpec = FacialMapSpec()

    @property
    def input_channels(self) -> int:
        """Channels of the stacked inputs."""
        return sum(INPUT_CHANNELS[name] for name in self.inputs)

    @property
    def shown(self) -> tuple[GeneratorInput, ...]:
        """The inputs that may show through what is painted."""
        return tuple(one for one in self.inputs if one in ("source", "warped"))

    def channels_of(self, name: GeneratorInput) -> slice:
        """Where an input lies among the stacked ones."""
        first = sum(INPUT_CHANNELS[one] for one in self.inputs[: self.inputs.index(name)])
        return slice(first, first + INPUT_CHANNELS[name])

    @model_validator(mode="after")
    def _fits(self) -> GeneratorSpec:
        step = 2 ** len(self.widths)
        if self.size % step or self.size < 2 * step:
            raise ValueError(
                f"size must be a multiple of {step} and at least {2 * step}: widths names "
                f"{len(self.widths)} halvings; name fewer, or choose another size"
            )
        if min(self.widths) < 1:
            raise ValueError("widths must be at least 1")
        if len(set(self.inputs)) != len(self.inputs) or not {"map"} <= set(self.inputs):
            raise ValueError("inputs must name map, and each input once")
        if self.composition == "masked" and not self.shown:
            raise ValueError(
                "composition masked shows source or warped beside what it paints; "
                "inputs names neither"
            )
        return self


class JudgeSpec(Spec):
    """The discriminator: patches judged at several scales."""

    scales: int = Field(2, ge=1, le=4)
    width: int = Field(64, ge=1)
    """Of the first layer; doubled at each of the next up to eight times."""
    layers: int = Field(3, ge=1, le=6)
    """Halvings at each scale."""
    norm: Norm = "batch"


class StyleLossSpec(Spec):
    """The style-aware photometric loss L_sp = |W · (I' - I_m)| (models.md A.8)."""

    weight: float = Field(10.0, ge=0.0)
    """λ_sp; 0 leaves the loss out."""
    mouth: float = Field(5.0, ge=0.0)
    eyes: float = Field(3.0, ge=0.0)
    skin: float = Field(1.0, ge=0.0)
    rest: float = Field(0.0, ge=0.0)
    warmup_steps: int = Field(1000, ge=0)
    """The weight rises linearly from 0 over so many steps: before, I' is no face yet."""
    matched: bool = True
    """I_m = the pattern most like the target; false = the target itself (an ablation)."""
    aligned: bool = True
    """Bring I_m to I' by the similarity between their landmarks first."""
    match_size: int = Field(128, ge=16, le=1024)
    """Largest side at which deep features are compared to find I_m."""

    @model_validator(mode="after")
    def _some_region_counts(self) -> StyleLossSpec:
        if self.weight > 0 and max(self.mouth, self.eyes, self.skin, self.rest) == 0:
            raise ValueError("one of mouth, eyes, skin, rest must be above 0; or set weight 0")
        return self


class GeneratorLossSpec(Spec):
    """Weights of the terms, and what they measure (models.md A.8)."""

    gan: float = Field(1.0, ge=0.0)
    """Least squares (LSGAN)."""
    real_weight: float = Field(2.0, gt=0.0)
    """How often a real picture counts in the discriminator's loss (2 as released)."""
    l1: float = Field(100.0, ge=0.0)
    mouth_l1: float = Field(0.0, ge=0.0)
    """Mean absolute error within the mouth and a narrow band around it, whatever its size.

    0 = as published: the released code has the term, switched off. A mouth of ten pixels has no say
    in a mean over the picture, so small pictures want it.
    """
    perceptual: float = Field(10.0, ge=0.0)
    gram: float = Field(10.0, ge=0.0)
    """Texture: Gram matrices of the perceptual features."""
    gram_scale: float = Field(1e4, gt=0.0)
    """Multiplies the squared differences of Gram matrices, which are divided by C · H · W; the
    released 3e7 belongs to pictures that were not normalised."""
    feature_matching: float = Field(10.0, ge=0.0)
    perceptual_weights: Place | None = None
    """File of the feature network's weights; null = fixed random filters."""
    perceptual_network: Literal["vgg19", "vgg16"] = "vgg19"
    perceptual_width: int = Field(64, ge=1)
    """Of the first block; anything but VGG's 64 is for random filters alone."""
    perceptual_size: int | None = Field(None, ge=32)
    """Pictures are reduced to this side first: 256 saves three quarters of the dearest term."""
    style: StyleLossSpec = StyleLossSpec()


class GeneratorTrainSpec(TrainSpec):
    """Recipe `generator`: a frame from its facial map, another frame and the style patterns."""

    recipe: Literal["generator"] = "generator"
    model: GeneratorSpec = GeneratorSpec()
    judge: JudgeSpec = JudgeSpec()
    losses: GeneratorLossSpec = GeneratorLossSpec()
    style_mapping: PartPlace | None = None
    """Artefact that makes the style patterns; null = the four reference pictures themselves."""
    foreign_patterns: float = Field(0.0, ge=0.0, le=1.0)
    """Share of training samples that see another sample's patterns.

    What a face looks like must then come from the source; L_sp leaves these samples out.
    """
    optimizer: OptimizerSpec = OptimizerSpec(
        name="adam", lr=1e-5, betas=(0.5, 0.999), weight_decay=0.0
    )
    schedule: ScheduleSpec = ScheduleSpec(name="constant")
    judge_optimizer: OptimizerSpec = OptimizerSpec(
        name="adam", lr=1e-5, betas=(0.5, 0.999), weight_decay=0.0
    )
    judge_schedule: ScheduleSpec = ScheduleSpec(name="constant")
    global_batch: int = Field(8, ge=1)
    micro_batch: int = Field(8, ge=1)
    lmd_frames: int = Field(0, ge=0, le=100_000)
    """Look for the mouth in so many generated frames of each validation, and report how far it is
    from the true one: a measure that no weight of a loss touches. A tenth of a second a frame."""
    report_cpbd: bool = True
    """Log how sharp generated and true frames are at each validation (sides of 64 and more)."""
