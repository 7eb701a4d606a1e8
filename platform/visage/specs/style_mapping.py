"""Specs of style mapping: the networks that put a style reference's motion on a neutral picture.

Defaults are the published sizes (one-shot free-view synthesis at 256 pixels); a small preset sets
smaller ones and runs the same code.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from visage.specs.base import Spec
from visage.specs.places import Place
from visage.specs.train import OptimizerSpec, ScheduleSpec, TrainSpec

__all__ = [
    "AppearanceSpec",
    "CanonicalSpec",
    "DenseMotionSpec",
    "DiscriminatorSpec",
    "HeadExpressionSpec",
    "PictureDecoderSpec",
    "StyleMappingLossSpec",
    "StyleMappingSpec",
    "StyleMappingTrainSpec",
    "StylePart",
]

StylePart = Literal["rotation", "translation", "expression"]
"""What a reference can impose: R, τ and ε of C_k = c_k · R + τ + ε_k."""


class CanonicalSpec(Spec):
    """The canonical keypoint extractor: picture to K points that neither turn nor speak."""

    shrink: int = Field(4, ge=1, le=16)
    """Anti-aliased reduction of the picture before anything else."""
    width: int = Field(32, ge=1)
    """Level i of the hourglass has min(width · 2^(i+1), widest) channels."""
    widest: int = Field(1024, ge=1)
    levels: int = Field(5, ge=1, le=7)
    """How often the picture is halved, and the volume doubled again."""


class HeadExpressionSpec(Spec):
    """Head pose and expression: a residual network with bottlenecks."""

    widths: tuple[int, ...] = Field((256, 512, 1024, 2048), min_length=1)
    """Channels of the stages; each stage after the first halves the picture."""
    blocks: tuple[int, ...] = Field((3, 4, 6, 3), min_length=1)
    """Bottlenecks of each stage, the halving one included."""
    stem: int = Field(64, ge=1)
    """Channels of the 7x7 stem."""

    @model_validator(mode="after")
    def _stages_pair_up(self) -> HeadExpressionSpec:
        if len(self.widths) != len(self.blocks) or min(self.blocks) < 1:
            raise ValueError("blocks needs one number, at least 1, for each of widths")
        if any(width < 4 or width % 4 for width in self.widths):
            raise ValueError("widths must be multiples of 4: a bottleneck is a quarter as wide")
        return self


class AppearanceSpec(Spec):
    """The appearance volume: picture to features (channels, depth, S / 4, S / 4)."""

    width: int = Field(64, ge=1)
    """Of the stem; doubled at each of the two halvings."""
    channels: int = Field(32, ge=1)
    """Of the volume."""
    blocks: int = Field(6, ge=0)
    """3-D residual blocks."""


class DenseMotionSpec(Spec):
    """From two sets of keypoints to one flow: a 3-D hourglass that weighs sparse flows."""

    compress: int = Field(4, ge=1)
    """Channels of the volume that are warped along each sparse flow."""
    width: int = Field(32, ge=1)
    widest: int = Field(1024, ge=1)
    levels: int = Field(5, ge=1, le=7)
    kernel: Literal[3, 5, 7] = 7
    """Of the convolution that gives the masks."""
    heatmap_variance: float = Field(0.01, gt=0.0)
    """Of the Gaussian at each keypoint, in squared units of [-1, 1]."""
    local_motion: Literal["shift", "rotation"] = "shift"
    """shift = each sparse flow is a translation (released); rotation = it turns with the head."""


class PictureDecoderSpec(Spec):
    """From the warped volume back to a picture."""

    width: int = Field(512, ge=1)
    """Middle blocks of `spade`; `plain` keeps the width of the features."""
    blocks: int = Field(6, ge=0)
    hidden: int = Field(128, ge=1)
    """Channels between the features and the modulation they give (`spade`)."""


class StyleMappingSpec(Spec):
    """One-shot free-view motion transfer from style references to a neutral picture."""

    size: int = Field(256, ge=32, le=1024)
    """Side of the square pictures inside the networks."""
    output_size: int | None = Field(512, ge=32, le=2048)
    """Side of the patterns handed on, by bicubic enlargement; null = as computed."""
    keypoints: int = Field(15, ge=4, le=128)
    depth: int = Field(16, ge=2, le=64)
    """Slices of every volume."""
    bins: int = Field(66, ge=6, le=360)
    """Classes of an angle: bin i stands for 3 · i - 1.5 · bins degrees, 66 bins for [-99, 96]."""
    temperature: float = Field(0.1, gt=0.0)
    """Of the softmax whose mean is a canonical keypoint."""
    occlusion: bool = True
    """Fade out what the source picture does not show."""
    align_corners: bool = True
    """How a volume is sampled. True matches the coordinates (standing still is exact).

    False is the released code's mismatch: coordinates for True, sampling for False.
    """
    decoder: Literal["spade", "plain"] = "spade"
    """spade = features modulate every block (101.0 M with the motion); plain = 53.1 M."""
    mode: Literal["absolute", "relative"] = "absolute"
    """absolute = the reference's motion as it is (publication); relative = its change."""
    style_parts: tuple[StylePart, ...] = ("rotation", "translation", "expression")
    """What a reference imposes; the rest stays the neutral picture's."""
    canonical: CanonicalSpec = CanonicalSpec()
    head: HeadExpressionSpec = HeadExpressionSpec()
    appearance: AppearanceSpec = AppearanceSpec()
    motion: DenseMotionSpec = DenseMotionSpec()
    picture: PictureDecoderSpec = PictureDecoderSpec()

    @model_validator(mode="after")
    def _sizes_fit(self) -> StyleMappingSpec:
        step = self.canonical.shrink * 2**self.canonical.levels
        if self.size % step:
            raise ValueError(
                f"size must be a multiple of {step}: the keypoint extractor shrinks it "
                f"{self.canonical.shrink} times and halves it {self.canonical.levels} times"
            )
        step = 4 * 2**self.motion.levels
        if self.size % step:
            raise ValueError(
                f"size must be a multiple of {step}: the volume has a quarter of it and is halved "
                f"motion.levels = {self.motion.levels} times"
            )
        if len(set(self.style_parts)) != len(self.style_parts) or not self.style_parts:
            raise ValueError("style_parts must name at least one part, each once")
        return self


class DiscriminatorSpec(Spec):
    """The judge of pictures: one scale, spectral norm."""

    width: int = Field(32, ge=1)
    """Block i has min(width · 2^(i+1), widest) channels."""
    widest: int = Field(512, ge=1)
    blocks: int = Field(4, ge=1, le=7)


class StyleMappingLossSpec(Spec):
    """Weights of the terms, and what they measure (models.md A.7)."""

    perceptual: float = Field(10.0, ge=0.0)
    perceptual_scales: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125)
    """Reductions of the two pictures at which features are compared."""
    perceptual_weights: Place | None = None
    """File of the feature network's weights; null = fixed random filters."""
    perceptual_network: Literal["vgg19", "vgg16"] = "vgg19"
    perceptual_width: int = Field(64, ge=1)
    """Of the first block; anything but VGG's 64 is for random filters alone."""
    gan: float = Field(1.0, ge=0.0)
    feature_matching: float = Field(10.0, ge=0.0)
    equivariance: float = Field(10.0, ge=0.0)
    keypoint_prior: float = Field(10.0, ge=0.0)
    head_pose: float = Field(20.0, ge=0.0)
    expression: float = Field(5.0, ge=0.0)
    pixel: float = Field(0.0, ge=0.0)
    """Plain L1 between the pictures; not published, what small runs live on."""
    least_distance: float = Field(0.1, gt=0.0)
    """Squared distance below which two keypoints repel each other."""
    mean_depth: float = 0.33
    """Where keypoints lie in depth on average."""
    affine_sigma: float = Field(0.05, ge=0.0)
    """Spread of the random affine map's entries."""
    bend_sigma: float = Field(0.005, ge=0.0)
    """Spread of the thin-plate spline's weights."""
    bend_points: int = Field(5, ge=1, le=16)
    """Control points along each side."""

    @model_validator(mode="after")
    def _scales_shrink(self) -> StyleMappingLossSpec:
        if any(not 0.0 < scale <= 1.0 for scale in self.perceptual_scales):
            raise ValueError("perceptual_scales must lie in (0, 1]")
        return self


class StyleMappingTrainSpec(TrainSpec):
    """Recipe `style-mapping`: pairs of frames of one person, source to driving."""

    recipe: Literal["style-mapping"] = "style-mapping"
    model: StyleMappingSpec = StyleMappingSpec()
    discriminator: DiscriminatorSpec = DiscriminatorSpec()
    losses: StyleMappingLossSpec = StyleMappingLossSpec()
    optimizer: OptimizerSpec = OptimizerSpec(
        name="adam", lr=1e-4, betas=(0.5, 0.999), weight_decay=0.0
    )
    schedule: ScheduleSpec = ScheduleSpec(name="constant")
    discriminator_optimizer: OptimizerSpec = OptimizerSpec(
        name="adam", lr=1e-4, betas=(0.5, 0.999), weight_decay=0.0
    )
    discriminator_schedule: ScheduleSpec = ScheduleSpec(name="constant")
    global_batch: int = Field(64, ge=1)
    flip: bool = True
    """Mirror half of the pairs; yaw, roll and sideways shift change their sign."""
    jitter: float = Field(0.1, ge=0.0, lt=1.0)
    """Most by which brightness, contrast and saturation of a pair change."""
    sample_rows: int = Field(4, ge=1, le=32)
    """Rows of the picture that is logged at each validation."""
