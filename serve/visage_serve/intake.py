"""From an HTTP request to pictures and boxes, in each of the three forms a client may choose.

    multipart/form-data      parts `image` (one or more) and, optionally, `boxes` as JSON
    image/jpeg, png, webp    the body is the one picture
    application/json         {"images": [base64, ...], "boxes": [[[x1, y1, x2, y2]], null, ...]}

Nothing is written to disk and nothing is decoded here.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request

from visage.faces.provider import Box
from visage.specs.serve import RequestLimits
from visage_serve.limits import check_boxes, check_picture_count, read_body
from visage_serve.multipart import boundary_of, media_type_of, read_parts
from visage_serve.refusal import Refusal
from visage_serve.wire import BoxValues, EmotionRequest

__all__ = ["PICTURE_TYPES", "Submission", "read_submission"]

PICTURE_TYPES = ("image/jpeg", "image/png", "image/webp")
MOST_BOXES_BYTES = 1 << 20
Form = Literal["multipart", "picture", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a client sent, still encoded."""

    pictures: tuple[bytes, ...]
    boxes: tuple[tuple[Box, ...] | None, ...]
    """As many entries as pictures; None where the faces are to be found."""


async def read_submission(request: Request, limits: RequestLimits) -> Submission:
    """Read and check one request; Refusal with a typed 4xx if it cannot be used."""
    form, boundary = _form_of(request.headers.get("content-type", ""))
    body = await read_body(request, limits)
    if form == "picture":
        return Submission(pictures=(body,), boxes=(None,))
    if form == "json":
        return _from_json(body, limits)
    return _from_multipart(body, boundary, limits)


def _form_of(content_type: str) -> tuple[Form, bytes]:
    name = media_type_of(content_type)
    if name == "multipart/form-data":
        return "multipart", boundary_of(content_type)
    if name in PICTURE_TYPES:
        return "picture", b""
    if name == "application/json":
        return "json", b""
    raise Refusal(
        415,
        "unsupported_content_type",
        f"Content-Type {name[:80]!r} is not accepted; use multipart/form-data, application/json, "
        f"{', '.join(PICTURE_TYPES)}",
        field="Content-Type",
    )


def _from_json(body: bytes, limits: RequestLimits) -> Submission:
    try:
        asked = EmotionRequest.model_validate_json(body)
    except ValidationError as err:
        raise _explained(err, "bad_json", "") from None
    check_picture_count(len(asked.images), limits)
    pictures = tuple(_decoded(text, index) for index, text in enumerate(asked.images))
    return Submission(
        pictures=pictures, boxes=check_boxes(asked.boxes, pictures=len(pictures), limits=limits)
    )


def _decoded(text: str, index: int) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(
            400,
            "bad_base64",
            "not base64; send the file's bytes in standard base64, without a data: prefix",
            field=f"images[{index}]",
        ) from None


def _from_multipart(body: bytes, boundary: bytes, limits: RequestLimits) -> Submission:
    pictures: list[bytes] = []
    stated: list[bytes] = []

    def take(name: str, data: bytes) -> None:
        if name == "image":
            check_picture_count(len(pictures) + 1, limits)
            pictures.append(data)
        elif stated:
            raise Refusal(400, "bad_boxes", "the part `boxes` stands twice", field="boxes")
        else:
            stated.append(data)

    read_parts(
        body,
        boundary,
        bounds={"image": None, "boxes": MOST_BOXES_BYTES},
        expected="`image` (one or more) and `boxes`",
        take=take,
    )
    check_picture_count(len(pictures), limits)
    boxes = _parsed_boxes(stated[0]) if stated else None
    return Submission(
        pictures=tuple(pictures),
        boxes=check_boxes(boxes, pictures=len(pictures), limits=limits),
    )


def _parsed_boxes(text: bytes) -> list[list[BoxValues] | None]:
    try:
        return TypeAdapter(list[list[BoxValues] | None]).validate_json(text)
    except ValidationError as err:
        raise _explained(err, "bad_boxes", "boxes") from None


def _explained(err: ValidationError, code: str, root: str) -> Refusal:
    """The first problem of a validation, with its place written like `boxes[0][1]`."""
    problem = err.errors(include_url=False, include_input=False, include_context=False)[0]
    place = root
    for part in problem["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else part
    return Refusal(400, code, problem["msg"], field=place or None)
