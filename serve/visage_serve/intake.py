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
from typing import TYPE_CHECKING, Literal

from pydantic import TypeAdapter, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from visage.faces.provider import Box
from visage.specs.serve import RequestLimits
from visage_serve.limits import check_boxes, check_picture_count, read_body
from visage_serve.refusal import Refusal
from visage_serve.wire import BoxValues, EmotionRequest

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

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
    media_type, options = parse_options_header(content_type)
    name = media_type.decode("latin-1").lower()
    if name == "multipart/form-data":
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise Refusal(
                400, "bad_multipart", "multipart without a boundary", field="Content-Type"
            )
        return "multipart", boundary
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
    collector = _Collector(limits)
    try:
        parser = MultipartParser(boundary, collector.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as err:
        raise Refusal(400, "bad_multipart", f"the multipart body is malformed: {err}") from None
    if not collector.is_complete:
        raise Refusal(400, "bad_multipart", "the multipart body ends before its last boundary")
    check_picture_count(len(collector.pictures), limits)
    boxes = _parsed_boxes(collector.boxes) if collector.boxes is not None else None
    return Submission(
        pictures=tuple(collector.pictures),
        boxes=check_boxes(boxes, pictures=len(collector.pictures), limits=limits),
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


class _Collector:
    """Gathers the parts of one body; refuses the first part that is not expected."""

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self._header_name = b""
        self._header_value = b""
        self._part_name: str | None = None
        self._data = bytearray()
        self.pictures: list[bytes] = []
        self.boxes: bytes | None = None
        self.is_complete = False

    def callbacks(self) -> MultipartCallbacks:
        """What the parser calls; the bounds hold while it runs, not after."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_piece,
            "on_header_end": self._header_end,
            "on_part_data": self._piece,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._part_name = None
        self._data = bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_piece(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            _, options = parse_options_header(self._header_value)
            self._part_name = options.get(b"name", b"").decode("utf-8", "replace")
        self._header_name = self._header_value = b""

    def _piece(self, data: bytes, start: int, end: int) -> None:
        if self._part_name == "boxes" and len(self._data) + end - start > MOST_BOXES_BYTES:
            raise Refusal(
                413, "too_large", f"boxes are larger than {MOST_BOXES_BYTES} bytes", field="boxes"
            )
        self._data += data[start:end]

    def _end(self) -> None:
        if self._part_name == "image":
            check_picture_count(len(self.pictures) + 1, self._limits)
            self.pictures.append(bytes(self._data))
        elif self._part_name == "boxes":
            if self.boxes is not None:
                raise Refusal(400, "bad_boxes", "the part `boxes` stands twice", field="boxes")
            self.boxes = bytes(self._data)
        else:
            name = (self._part_name or "")[:80]
            raise Refusal(
                400,
                "unknown_field",
                f"a part is named {name!r}; the parts are `image` (one or more) and `boxes`",
                field=name or None,
            )

    def _finish(self) -> None:
        self.is_complete = True
