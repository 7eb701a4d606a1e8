"""Specs of the emotion model: its classes, its inputs and its layers (models.md part B)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from visage.specs.base import Spec

__all__ = ["EMOTIONS", "EmotionInputSpec", "EmotionModelSpec", "MaskMode"]

EMOTIONS: tuple[str, ...] = ("Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
"""The seven classes of CAER in the order of the published model's outputs."""

MaskMode = Literal["black", "mean", "noise", "none"]
"""What hides the face in the context: zeros (published), the image's mean, noise, or nothing (fC)."""


class EmotionInputSpec(Spec):
    """The geometry of the two input pictures; the same for training, evaluation and serving."""

    face_size: int = Field(96, ge=16, le=512)
    """Side of the square face crop in pixels (aspect not kept, as published)."""
    context_height: int = Field(128, ge=16, le=1024)
    """Height of the resized whole picture."""
    context_width: int = Field(171, ge=16, le=1024)
    """Width of the resized whole picture."""
    context_crop: int = Field(112, ge=16, le=1024)
    """Side of the square cut from the context: random in training, centred in evaluation."""

    @model_validator(mode="after")
    def _crop_fits(self) -> EmotionInputSpec:
        if self.context_crop > min(self.context_height, self.context_width):
            raise ValueError(
                f"context_crop {self.context_crop} does not fit into the context "
                f"{self.context_height}x{self.context_width}; make the context larger"
            )
        return self


class EmotionModelSpec(Spec):
    """GLAMOR-Net, its ablations and CAER-Net-S; every switch of models.md B.6."""

    family: Literal["glamor", "caer-net-s"] = "glamor"
    """Which published network; caer-net-s ignores `attention` (it is CA) and `fusion`."""
    backbone: Literal["cnn5", "resnet18"] = "cnn5"
    """Encoder of each branch: five convolutions (published) or ResNet-18 trunks."""
    widths: tuple[int, int, int, int, int] = (32, 64, 128, 256, 256)
    """Filters of the five convolutions of cnn5."""
    inputs: Literal["F", "mC", "fC", "F+mC", "F+fC"] = "F+mC"
    """F = face, mC = context with the face masked, fC = full context."""
    attention: Literal["none", "CA", "GLA"] = "GLA"
    """none = mean over cells; CA = context alone decides; GLA = the face guides (published)."""
    fusion: Literal["adaptive", "concat"] = "adaptive"
    """adaptive = two learned branch weights (published); concat = plain concatenation."""
    mask: MaskMode = "black"
    """How mC hides the face."""
    normalize: Literal["none", "imagenet"] = "imagenet"
    """Done inside the model, on inputs in [0, 1]; `none` as in the official release."""
    dropout: float = Field(0.5, ge=0.0, lt=1.0)
    """Dropout before the last layer."""
    bn_eps: float = Field(1e-3, gt=0.0)
    """Batch-norm epsilon (Keras' default, as in the release)."""
    bn_momentum: float = Field(0.01, gt=0.0, le=1.0)
    """Batch-norm momentum in torch's convention (Keras' 0.99)."""
    pretrained: str | None = None
    """Path of torchvision-named ResNet-18 weights; never downloaded."""
    input: EmotionInputSpec = EmotionInputSpec()
    """Geometry of the input pictures."""

    @property
    def uses_face(self) -> bool:
        """Whether the face branch feeds the classifier."""
        return "F" in self.inputs.split("+")

    @property
    def uses_context(self) -> bool:
        """Whether the context branch feeds the classifier."""
        return self.inputs != "F"

    @property
    def masks_face(self) -> bool:
        """Whether the face is hidden in the context."""
        return "mC" in self.inputs.split("+") and self.mask != "none"
