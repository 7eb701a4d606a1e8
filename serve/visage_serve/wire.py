"""What goes over the wire: replies, the JSON request and the one error body.

`schema` names the version of the reply; a field may be added under the same version, never removed
or given another meaning. Boxes are x1, y1, x2, y2 in pixels of the picture after its EXIF rotation,
x2 and y2 exclusive.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "REPLY_SCHEMA",
    "BoxValues",
    "EmotionReply",
    "EmotionRequest",
    "ErrorBody",
    "ErrorDetail",
    "FaceReply",
    "HeadReply",
    "Health",
    "ImageReply",
    "ModelReply",
    "ServiceReply",
    "StyleReply",
    "StylesReply",
    "Timing",
    "WireModel",
]

REPLY_SCHEMA: Literal["visage.emotion/1"] = "visage.emotion/1"

Coordinate = Annotated[int, Field(ge=-(1 << 24), le=1 << 24)]
BoxValues = tuple[Coordinate, Coordinate, Coordinate, Coordinate]
"""x1, y1, x2, y2 in pixels."""


class WireModel(BaseModel):
    """Closed and documented: what is not written here is not on the wire."""

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, frozen=True, protected_namespaces=()
    )


class ErrorDetail(WireModel):
    """What went wrong."""

    code: str
    """Stable and machine-readable, for example `too_large` or `bad_boxes`."""
    message: str
    """For people: what, where, what to do."""
    field: str | None = None
    """The part of the request that is at fault, for example `images[1]`."""


class ErrorBody(WireModel):
    """The body of every answer that is not a success."""

    error: ErrorDetail


class EmotionRequest(WireModel):
    """The JSON form of a request."""

    images: list[str] = Field(min_length=1)
    """Each picture as base64 of a JPEG, PNG or WebP file."""
    boxes: list[list[BoxValues] | None] | None = None
    """For each picture its face boxes, or null to have the faces found."""


class FaceReply(WireModel):
    """One face and what was read from it and from around it."""

    box: BoxValues
    """Where the face is."""
    score: float
    """The detector's score of the face; 1.0 where the request stated the box."""
    label: str
    """The most probable emotion."""
    probabilities: dict[str, float]
    """Probability of every class; they sum to 1."""
    branch_weights: dict[str, float]
    """How much the decision rests on `face` and on `context`; they sum to 1."""
    attention: list[list[float]]
    """Where in the context the model looked: rows of cells, summing to 1 over all cells."""
    attention_box: BoxValues
    """The part of the picture that the attention grid covers."""


class ImageReply(WireModel):
    """The answer for one picture; `error` stands in place of everything else."""

    width: int | None = None
    """Pixels, after EXIF rotation."""
    height: int | None = None
    """Pixels, after EXIF rotation."""
    faces: list[FaceReply] = []
    """Surest first, or in the order of the request's boxes."""
    note: str | None = None
    """Why there are no faces, or that some were left out."""
    overlay_jpeg: str | None = None
    """Base64 of the picture with boxes, labels and attention drawn in, when asked for."""
    error: ErrorDetail | None = None
    """Why this picture of several could not be used; the others are not affected."""


class ModelReply(WireModel):
    """Which weights answered."""

    name: str
    """Name in the registry, or the last part of the artefact's URI."""
    version: str | None
    """Version in the registry; null for an artefact that was named by its URI."""
    digest: str
    """Identity of the weights, verified when they were loaded."""
    classes: list[str]
    """The emotions in the order of the network's outputs."""


class Timing(WireModel):
    """Where the time went, in milliseconds, from the end of the upload."""

    prepare: float
    """Waiting, decoding, finding faces and cropping, for the slowest picture."""
    forward: float
    """Waiting for a batch and the forward pass, for the slowest face."""
    total: float
    """Everything, overlay included."""


class EmotionReply(WireModel):
    """The answer of `POST /v1/emotion`."""

    version: Literal["visage.emotion/1"] = Field(REPLY_SCHEMA, alias="schema")
    """The version of this reply."""
    images: list[ImageReply]
    """One entry for each picture, in the order of the request."""
    model: ModelReply
    """Which weights answered."""
    timing_ms: Timing
    """Where the time went."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        frozen=True,
        protected_namespaces=(),
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


class Health(WireModel):
    """The body of `/healthz` and `/readyz`."""

    status: Literal["ok"] = "ok"


class HeadReply(WireModel):
    """Which talking head makes the videos."""

    name: str
    """Name in the registry, or the last part of the artefact's URI."""
    version: str | None
    """Version in the registry; null for an artefact that was named by its URI."""
    digest: str
    """Identity of the model, verified when it was loaded."""
    limits: dict[str, int | float]
    """What one request may bring and ask for."""


class StyleReply(WireModel):
    """One style that a video can have."""

    name: str
    """What the field `style` of a request says."""
    origin: Literal["model", "made"]
    """Whether it came with the model or from a clip (`visage transfer-style`)."""


class StylesReply(WireModel):
    """The body of `/v1/styles`."""

    styles: list[StyleReply]
    """The model's first."""
    default: str
    """The style of a request that names none."""


class ServiceReply(WireModel):
    """The body of `/v1/models`: what runs here and what it accepts."""

    model: ModelReply | None = None
    """Which weights answer `/v1/emotion`; null where that is not served."""
    detector: str | None = None
    """What finds the faces of pictures without boxes."""
    detector_licence: str | None = None
    """Licence of the detector's code and weights."""
    limits: dict[str, int | float] = {}
    """What one emotion request may bring."""
    batches: dict[str, int] = {}
    """Forward passes of this replica so far by the number of faces in them."""
    talking_head: HeadReply | None = None
    """What answers `/v1/talking-head`; null where that is not served."""
