"""From an HTTP request to an order for one video: a portrait, a sound, and how it shall be.

    multipart/form-data      parts `portrait` and `audio` (files), and optionally the fields
                             `style`, `fps`, `size`, `seed`

Nothing is written to disk and nothing is decoded here.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from pydantic import Field, ValidationError
from starlette.requests import Request

from visage.specs.serve import HeadLimits
from visage_serve.limits import read_body
from visage_serve.multipart import boundary_of, media_type_of, read_parts
from visage_serve.refusal import Refusal
from visage_serve.wire import WireModel

__all__ = ["FIELDS", "FILES", "AnimationFields", "Order", "parse_order", "read_order"]

FILES = ("portrait", "audio")
MOST_FIELD_BYTES = 256
EXPECTED = "`portrait` and `audio` (one file each), `style`, `fps`, `size` and `seed`"


class AnimationFields(WireModel):
    """What a request may say beside its two files."""

    style: str | None = Field(None, min_length=1)
    """A name of `GET /v1/styles`; without it the model's default."""
    fps: float = Field(30.0, ge=24.0, le=60.0)
    """Frames a second."""
    size: int | None = Field(None, ge=64, le=2048, multiple_of=2)
    """Side of the video in pixels; without it the model's own, 256 at least."""
    seed: int = Field(0, ge=-(1 << 53), le=1 << 53)
    """Of head motion and blinks."""


FIELDS = tuple(AnimationFields.model_fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One video to make; portrait and sound are still encoded, and anybody's."""

    portrait: bytes
    audio: bytes
    fields: AnimationFields = field(default_factory=AnimationFields)


async def read_order(request: Request, limits: HeadLimits) -> Order:
    """Read and check one request; Refusal with a typed 4xx if it cannot be used."""
    content_type = request.headers.get("content-type", "")
    name = media_type_of(content_type)
    if name != "multipart/form-data":
        raise Refusal(
            415,
            "unsupported_content_type",
            f"Content-Type {name[:80]!r} is not accepted; use multipart/form-data with the parts "
            f"{EXPECTED}",
            field="Content-Type",
        )
    boundary = boundary_of(content_type)
    body = await read_body(request, limits)
    # megabytes are searched for boundaries: not in the thread that others wait for
    return await asyncio.to_thread(parse_order, body, boundary, limits)


def parse_order(body: bytes, boundary: bytes, limits: HeadLimits) -> Order:
    """The order in a multipart body.

    Raises:
        Refusal: 400 `bad_multipart`, `unknown_field`, `repeated_part`, `missing_part`, `bad_field`;
            413 `too_large` for a field that is none, or a video larger than the limits.
    """
    parts: dict[str, bytes] = {}

    def take(name: str, data: bytes) -> None:
        if name in parts:
            raise Refusal(400, "repeated_part", f"the part `{name}` stands twice", field=name)
        parts[name] = data

    bounds = {**dict.fromkeys(FILES, None), **dict.fromkeys(FIELDS, MOST_FIELD_BYTES)}
    read_parts(body, boundary, bounds=bounds, expected=EXPECTED, take=take)
    for name in FILES:
        if name not in parts:
            raise Refusal(
                400, "missing_part", f"there is no part `{name}`; the parts are {EXPECTED}",
                field=name,
            )  # fmt: skip
    return Order(
        portrait=parts["portrait"],
        audio=parts["audio"],
        fields=_fields({name: parts[name] for name in FIELDS if name in parts}, limits),
    )


def _fields(given: dict[str, bytes], limits: HeadLimits) -> AnimationFields:
    values = {name: text.decode("utf-8", "replace").strip() for name, text in given.items()}
    try:
        # an empty field of a form is one that was not filled in
        fields = AnimationFields.model_validate({k: v for k, v in values.items() if v})
    except ValidationError as err:
        problem = err.errors(include_url=False, include_input=False, include_context=False)[0]
        name = str(problem["loc"][0])
        raise Refusal(400, "bad_field", f"{name}: {problem['msg']}", field=name) from None
    if fields.size is not None and fields.size > limits.side_px:
        raise Refusal(
            413,
            "too_large",
            f"size {fields.size}: videos of at most {limits.side_px} pixels a side are made here",
            field="size",
        )
    return fields
