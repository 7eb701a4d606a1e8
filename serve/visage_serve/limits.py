"""The bounds of a request, enforced before the thing they bound is held in memory.

The size is checked against Content-Length first and against the bytes that really arrive second, so
neither a large upload nor a chunked one without a length is ever buffered beyond the limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.requests import ClientDisconnect, Request

from visage.faces.provider import Box
from visage.specs.serve import BodyLimits, RequestLimits
from visage_serve.refusal import Refusal

__all__ = ["check_boxes", "check_picture_count", "read_body"]


async def read_body(request: Request, limits: BodyLimits) -> bytes:
    """The whole body, never empty.

    Raises:
        Refusal: 413 above the size, 408 above the upload time, 415 if compressed, 400 if empty or
            if the client left.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise Refusal(
            415,
            "unsupported_encoding",
            f"Content-Encoding {encoding!r} is not accepted; media are compressed already",
            field="Content-Encoding",
        )
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdecimal() and _exceeds(declared, limits.body_bytes):
        raise _too_large(limits)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.upload_timeout_s):
            async for chunk in request.stream():
                if len(body) + len(chunk) > limits.body_bytes:
                    raise _too_large(limits)
                body += chunk
    except TimeoutError:
        raise Refusal(
            408,
            "upload_timeout",
            f"the body did not arrive within {limits.upload_timeout_s:g} s",
            headers={"Connection": "close"},
        ) from None
    except ClientDisconnect:
        raise Refusal(400, "client_left", "the client closed the connection") from None
    if not body:
        raise Refusal(400, "empty", "the body is empty; send the files in it")
    return bytes(body)


def check_picture_count(count: int, limits: RequestLimits) -> None:
    """Refuse no pictures (400) and too many (413)."""
    if count == 0:
        raise Refusal(400, "no_image", "no picture in the request; name the part `image`")
    if count > limits.pictures:
        raise Refusal(
            413,
            "too_many_images",
            f"more than {limits.pictures} pictures in one request; send several requests",
            field="images",
        )


def check_boxes(
    boxes: Sequence[Sequence[Box] | None] | None, *, pictures: int, limits: RequestLimits
) -> tuple[tuple[Box, ...] | None, ...]:
    """One entry for each picture: its face boxes, or None to have the faces found.

    Raises:
        Refusal: 400 `bad_boxes` naming the entry, for a wrong number of entries, an entry without
            boxes or with too many, or a box without area.
    """
    if boxes is None:
        return (None,) * pictures
    if len(boxes) != pictures:
        raise _bad_boxes(f"{len(boxes)} entries for {pictures} pictures; one for each", "boxes")
    for index, entry in enumerate(boxes):
        where = f"boxes[{index}]"
        if entry is None:
            continue
        if not entry:
            raise _bad_boxes("an empty list; use null to have the faces found", where)
        if len(entry) > limits.faces:
            raise _bad_boxes(f"{len(entry)} boxes, at most {limits.faces} are allowed", where)
        for place, (x1, y1, x2, y2) in enumerate(entry):
            if x2 <= x1 or y2 <= y1:
                raise _bad_boxes(
                    f"[{x1}, {y1}, {x2}, {y2}] has no area; write [x1, y1, x2, y2] in pixels",
                    f"{where}[{place}]",
                )
    return tuple(None if entry is None else tuple(entry) for entry in boxes)


def _bad_boxes(message: str, field: str) -> Refusal:
    return Refusal(400, "bad_boxes", message, field=field)


def _too_large(limits: BodyLimits) -> Refusal:
    return Refusal(
        413,
        "too_large",
        f"the body is larger than {limits.body_bytes} bytes; send fewer or smaller files",
        headers={"Connection": "close"},
    )


def _exceeds(digits: str, limit: int) -> bool:
    # more digits than the limit has is more than the limit: no need to parse a megabyte of them
    digits = digits.lstrip("0")
    return len(digits) > len(str(limit)) or int(digits or "0") > limit
