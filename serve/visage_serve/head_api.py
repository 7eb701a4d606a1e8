"""The routes of the talking head: an order comes in, a video goes out, and nothing else.

A client that leaves ends the rendering: nobody pays for a video that nobody will see.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from fastapi import FastAPI, Request, Response

from visage_serve.admission import Admission
from visage_serve.heads import Heads, Video
from visage_serve.orders import FILES, AnimationFields, read_order
from visage_serve.refusal import Refusal
from visage_serve.wire import ErrorBody, StylesReply

__all__ = ["add_head_routes"]

log = logging.getLogger(__name__)

T = TypeVar("T")
NOT_SERVED = "no talking head is served here; start with `visage serve --talking-head MODEL`"
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The request is malformed."},
    404: {"description": "There is no such style, or no talking head is served here."},
    408: {"description": "The body did not arrive in time."},
    413: {"description": "The body, the portrait, the sound or the wanted video is too large."},
    415: {"description": "A Content-Type or the format of a file is not accepted."},
    422: {"description": "A file cannot be used; `code` says why and `field` which."},
    429: {"description": "Too much is waiting; Retry-After says when to come back."},
    500: {"description": "A fault of this service."},
    503: {"description": "Not ready, or no video in time; Retry-After says when to come back."},
}
HEADERS = {
    "X-Visage-Model": "Name, version and the start of the digest of the model.",
    "X-Visage-Style": "The style of the video.",
    "X-Visage-Frames": "Number of frames.",
    "X-Visage-Note": "What a person should know, for example that the sound is silent.",
}
VIDEO: dict[str, Any] = {
    "description": "The video; its metadata says that it is synthetic and what it was made of.",
    "content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}},
    "headers": {
        name: {"description": told, "schema": {"type": "string"}} for name, told in HEADERS.items()
    },
}


def add_head_routes(api: FastAPI, heads: Heads | None) -> None:
    """Add `/v1/talking-head` and `/v1/styles`; without heads they say that none is served."""
    admission = None if heads is None else Admission(heads.spec.in_flight)
    askers = None if heads is None else Admission(heads.spec.in_flight)
    listing: _Shared[StylesReply] = _Shared()
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorBody, **entry} for status, entry in REFUSALS.items()
    }

    @api.get(
        "/v1/styles",
        summary="The styles that a video can have",
        responses={status: refusals[status] for status in (404, 429, 500, 503)},
    )
    async def styles() -> StylesReply:
        served = _served(heads)
        assert askers is not None
        with askers.enter():
            return await listing.of(lambda: _explained(served.styles()))

    @api.post(
        "/v1/talking-head",
        summary="A video of a portrait that says (or sings) a recording",
        response_class=Response,
        responses={200: VIDEO, **refusals},
        openapi_extra={"requestBody": _request_body()},
    )
    async def talking_head(request: Request) -> Response:
        served = _served(heads)
        assert admission is not None
        with admission.enter():
            order = await read_order(request, served.spec.limits)
            video = await _unless_left(request, _explained(served.animate(order)))
        return Response(video.body, media_type="video/mp4", headers=_headers(video))


class _Shared(Generic[T]):
    """One piece of work for all who ask while it is done."""

    def __init__(self) -> None:
        self._task: asyncio.Task[T] | None = None

    async def of(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Its result; begun if it is not under way. Whoever stops to wait does not end it."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(work())
        return await asyncio.shield(self._task)


def _served(heads: Heads | None) -> Heads:
    if heads is None:
        raise Refusal(404, "not_served", NOT_SERVED)
    return heads


async def _explained(work: Coroutine[Any, Any, T]) -> T:
    """The result; what is no refusal becomes one, and stands in the log.

    Not in the answer: an error names places of this machine, and one that comes from another
    process carries its whole trace.
    """
    try:
        return await work
    except Refusal:
        raise
    except Exception:
        log.exception("a request failed inside the talking head")
        raise Refusal(500, "internal", "the service failed on this request; see its log") from None


async def _unless_left(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result; the work ends when the client closes the connection."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Refusal(400, "client_left", "the client closed the connection")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    """Return when the client is gone; the body has been read, so nothing else can come."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _headers(video: Video) -> dict[str, str]:
    told = {
        "X-Visage-Model": video.model,
        "X-Visage-Style": video.style,
        "X-Visage-Frames": str(video.frames),
        "X-Visage-Note": video.note or "",
        "Content-Disposition": 'inline; filename="talking-head.mp4"',
        "Cache-Control": "no-store",
    }
    # a header is ASCII; the name of an artefact may be anything
    return {name: text.encode("ascii", "replace").decode() for name, text in told.items() if text}


def _request_body() -> dict[str, Any]:
    fields = AnimationFields.model_json_schema()["properties"]
    files = {name: {"type": "string", "format": "binary"} for name in FILES}
    schema = {"type": "object", "required": list(FILES), "properties": {**files, **fields}}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
