"""Specs of the emotion model: its classes, its inputs and its layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from visage.specs.base import Spec
from visage.specs.places import Place

__all__ = ["EMOTIONS", "EmotionInputSpec", "EmotionModelSpec", "MaskMode"]

EMOTIONS: tuple[str, ...] = ("Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
"""The seven classes of CAER in the order of the published model's outputs."""

MaskMode = Literal["black", "mean", "noise", "none"]
"""What hides the face in the context.

Zeros (published), the image's mean, noise, or nothing (fC).
"""


class EmotionInputSpec(Spec):
    """The geometry of the two input pictures; the same for training, evaluation and serving."""

    face_size: int = Field(default=96, ge=16, le=512)
    """Side of the square face crop in pixels (aspect not kept, as published)."""
    context_height: int = Field(default=128, ge=16, le=1024)
    """Height of the resized whole picture."""
    context_width: int = Field(default=171, ge=16, le=1024)
    """Width of the resized whole picture."""
    context_crop: int = Field(default=112, ge=16, le=1024)
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
    """GLAMOR-Net, its ablations and CAER-Net-S; every switch of the published ablation tables.

    Keys left out take the one value that makes sense beside the keys given: `inputs=F` alone means
    no attention, no fusion and no mask. A key that would be ignored is refused, so that two specs
    with different digests are two different networks.
    """

    family: Literal["glamor", "caer-net-s"] = "glamor"
    """Which published network; caer-net-s fixes attention CA, fusion adaptive, backbone cnn5."""
    backbone: Literal["cnn5", "resnet18"] = "cnn5"
    """Encoder of each branch: five convolutions (published) or ResNet-18 trunks."""
    widths: tuple[int, int, int, int, int] = (32, 64, 128, 256, 256)
    """Filters of the five convolutions of cnn5."""
    inputs: Literal["F", "mC", "fC", "F+mC", "F+fC"] = "F+mC"
    """F = face, mC = context with the face masked, fC = full context.

    With mC or fC alone and attention GLA, the face steers the attention and nothing else.
    """
    attention: Literal["none", "CA", "GLA"] = "GLA"
    """none = mean over cells; CA = context alone decides; GLA = the face guides (published)."""
    fusion: Literal["none", "adaptive", "concat"] = "adaptive"
    """adaptive = two learned branch weights (published); concat = plain; none = one branch only."""
    mask: MaskMode = "black"
    """How mC hides the face; none for inputs without mC."""
    normalize: Literal["none", "imagenet"] = "imagenet"
    """Done inside the model, on inputs in [0, 1]; `none` as in the official release."""
    dropout: float = Field(default=0.5, ge=0.0, lt=1.0)
    """Dropout before the last layer."""
    bn_eps: float = Field(default=1e-3, gt=0.0)
    """Batch-norm epsilon: Keras' default, as in the release; resnet18 takes torchvision's 1e-5."""
    bn_momentum: float = Field(default=0.01, gt=0.0, le=1.0)
    """Batch-norm momentum in torch's convention: Keras' 0.99; resnet18 takes torchvision's 0.1.

    At 0.01 the running statistics need some 500 steps to arrive; use 0.1 in short runs.
    """
    class_count: int = Field(default=len(EMOTIONS), ge=2, le=1000)
    """Outputs; the names of the classes travel with the data and the artefact."""
    pretrained: Place | None = None
    """Path of torchvision-named ResNet-18 weights for both trunks; never downloaded."""
    input: EmotionInputSpec = EmotionInputSpec()
    """Geometry of the input pictures; resnet18 takes 224 for face and context."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: object) -> object:
        return _completed(values) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _makes_sense(self) -> EmotionModelSpec:
        for problem in _contradictions(self):
            raise ValueError(problem)
        return self

    @property
    def uses_face(self) -> bool:
        """Whether the face branch feeds the classifier."""
        return "F" in self.inputs.split("+")

    @property
    def uses_context(self) -> bool:
        """Whether the context branch feeds the classifier."""
        return self.inputs != "F"

    @property
    def has_face_encoder(self) -> bool:
        """Whether a face encoder exists: it feeds the classifier, or guides the attention."""
        return self.uses_face or self.attention == "GLA"

    @property
    def masks_face(self) -> bool:
        """Whether the face is hidden in the context."""
        return "mC" in self.inputs.split("+") and self.mask != "none"


_RESNET_INPUT = {"face_size": 224, "context_height": 256, "context_width": 342, "context_crop": 224}


def _completed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fill the keys left out with what the given ones imply."""
    implied: dict[str, Any] = {}
    inputs = given.get("inputs", "F+mC")
    if inputs in ("F", "mC", "fC"):
        implied["fusion"] = "none"
    if inputs == "F":
        implied["attention"] = "none"
    if inputs in ("F", "fC", "F+fC"):
        implied["mask"] = "none"
    if given.get("family") == "caer-net-s":
        implied["attention"] = "CA"
    if given.get("backbone") == "resnet18":
        implied |= {"bn_eps": 1e-5, "bn_momentum": 0.1, "input": _RESNET_INPUT}
    values = {**implied, **given}
    if "input" in implied and isinstance(given.get("input"), Mapping):
        values["input"] = {**implied["input"], **given["input"]}
    return values


def _contradictions(spec: EmotionModelSpec) -> Iterator[str]:
    """Sentences for keys that contradict each other or would be ignored."""
    two_branches = spec.uses_face and spec.uses_context
    if spec.family == "caer-net-s" and not (
        two_branches and (spec.attention, spec.fusion, spec.backbone) == ("CA", "adaptive", "cnn5")
    ):
        yield (
            "caer-net-s is two branches of cnn5 with attention CA and fusion adaptive; "
            "use family=glamor for other combinations"
        )
    if not spec.uses_context and spec.attention != "none":
        yield f"inputs=F has no context to attend to; leave attention={spec.attention} out"
    if two_branches == (spec.fusion == "none"):
        yield (
            f"inputs={spec.inputs} has two branches; choose fusion adaptive or concat"
            if two_branches
            else f"inputs={spec.inputs} has one branch; leave fusion={spec.fusion} out"
        )
    if "mC" in spec.inputs and spec.mask == "none":
        yield "inputs with mC and mask=none are fC; say fC"
    if "mC" not in spec.inputs and spec.mask != "none":
        yield f"inputs={spec.inputs} masks nothing; leave mask={spec.mask} out"
    if (
        spec.backbone == "resnet18"
        and spec.widths != EmotionModelSpec.model_fields["widths"].default
    ):
        yield "widths belong to cnn5; ResNet-18 has its own"
    if spec.backbone == "cnn5" and spec.pretrained is not None:
        yield "pretrained names ResNet-18 weights; set backbone=resnet18 or leave it out"
    if any(width < 1 for width in spec.widths):
        yield f"widths {spec.widths}: every convolution needs at least one filter"
