"""The HTTP face of the services: routes and error bodies, and nothing else.

Any `EmotionService` and any `Heads` can stand behind it; the tests put ones there that need neither
Ray nor weights. Every answer that is not a success has the body of `ErrorBody`.
"""

from __future__ import annotations

import asyncio
import logging
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from visage import __version__
from visage.errors import VisageError
from visage.specs.serve import ServeSpec
from visage_serve.admission import Admission
from visage_serve.emotion import EmotionService
from visage_serve.head_api import add_head_routes
from visage_serve.heads import Heads
from visage_serve.intake import PICTURE_TYPES, Submission, read_submission
from visage_serve.refusal import Refusal
from visage_serve.wire import (
    EmotionReply,
    EmotionRequest,
    ErrorBody,
    ErrorDetail,
    Health,
    ServiceReply,
)

__all__ = ["build_api"]

log = logging.getLogger(__name__)

PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src blob: data:; media-src blob:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The request is malformed."},
    404: {"description": "No emotion model is served here."},
    408: {"description": "The body did not arrive in time."},
    413: {"description": "The body is too large, or holds too many pictures."},
    415: {"description": "The Content-Type or Content-Encoding is not accepted."},
    422: {"description": "The one picture of the request cannot be used; `code` says why."},
    429: {"description": "Too much is in flight; Retry-After says when to come back."},
    500: {"description": "A fault of this service."},
    503: {"description": "Not ready, or no answer in time; Retry-After says when to come back."},
}
NOT_SERVED = "no emotion model is served here; start with `visage serve --model MODEL`"
REQUEST_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {
                    "image": {"type": "array", "items": {"type": "string", "format": "binary"}},
                    "boxes": {
                        "type": "string",
                        "description": "JSON: for each picture a list of [x1, y1, x2, y2], or null",
                    },
                },
            },
            "encoding": {"image": {"contentType": ", ".join(PICTURE_TYPES)}},
        },
        "application/json": {"schema": EmotionRequest.model_json_schema()},
        **{name: {"schema": {"type": "string", "format": "binary"}} for name in PICTURE_TYPES},
    },
}


def build_api(
    spec: ServeSpec, *, emotion: EmotionService | None = None, heads: Heads | None = None
) -> FastAPI:
    """The ASGI application over one or both services."""
    api = FastAPI(
        title="Visage",
        version=__version__,
        description="Reads the emotion of each person in a picture, from face and surroundings, "
        "and makes portraits speak.",
        docs_url=None,  # the bundled viewers load scripts from elsewhere
        redoc_url=None,
    )
    page = resources.files("visage_serve").joinpath("page.html").read_text("utf-8")
    _answer_errors(api)

    @api.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": PAGE_POLICY})

    @api.get("/healthz", summary="The process is alive")
    async def alive() -> Health:
        return Health()

    @api.get(
        "/readyz",
        summary="A real inference of each model succeeded just now",
        responses={503: {"model": ErrorBody, **REFUSALS[503]}},
    )
    async def ready() -> Health:
        try:
            for service in (emotion, heads):
                if service is not None:
                    await service.prove()
        except VisageError as err:
            raise Refusal(503, "not_ready", str(err), headers={"Retry-After": "5"}) from None
        return Health()

    @api.get("/v1/models", summary="Which models answer here, and what a request may bring")
    async def models() -> ServiceReply:
        said = ServiceReply() if emotion is None else emotion.describe()
        return said.model_copy(update={"talking_head": None if heads is None else heads.model})

    _add_emotion_route(api, spec, emotion)
    add_head_routes(api, heads)
    return api


def _add_emotion_route(api: FastAPI, spec: ServeSpec, service: EmotionService | None) -> None:
    admission = Admission(spec.in_flight)

    @api.post(
        "/v1/emotion",
        summary="The emotion of each face in one or several pictures",
        responses={status: {"model": ErrorBody, **entry} for status, entry in REFUSALS.items()},
        openapi_extra={"requestBody": REQUEST_BODY},
    )
    async def emotion(request: Request, overlay: bool = False) -> EmotionReply:
        if service is None:
            raise Refusal(404, "not_served", NOT_SERVED)
        with admission.enter():
            submission = await read_submission(request, spec.limits)
            return await _classify(service, admission, submission, overlay=overlay)


async def _classify(
    service: EmotionService, admission: Admission, submission: Submission, *, overlay: bool
) -> EmotionReply:
    """The reply within the deadline; a lone picture's error becomes the error of the answer."""
    deadline_s = service.spec.request_timeout_s
    try:
        async with asyncio.timeout(deadline_s):
            reply = await service.classify(submission, overlay=overlay)
    except TimeoutError:
        raise Refusal(
            503,
            "timeout",
            f"no answer within {deadline_s:g} s; send fewer pictures, or come back later",
            headers={"Retry-After": str(admission.retry_after_s())},
        ) from None
    except Exception:
        log.exception("a request failed inside the service")
        raise Refusal(500, "internal", "the service failed on this request; see its log") from None
    if len(reply.images) == 1 and reply.images[0].error is not None:
        fault = reply.images[0].error
        raise Refusal(422, fault.code, fault.message, field=fault.field)
    return reply


def _answer_errors(api: FastAPI) -> None:
    """Give every refusal, including the framework's own, the one error body."""

    @api.exception_handler(Refusal)
    async def refused(_: Request, err: Refusal) -> JSONResponse:
        return _answer(err.status, err.detail, err.headers)

    @api.exception_handler(RequestValidationError)
    async def invalid(_: Request, err: RequestValidationError) -> JSONResponse:
        problem = err.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        return _answer(400, ErrorDetail(code="bad_parameter", message=problem["msg"], field=field))

    @api.exception_handler(HTTPException)
    async def unknown(request: Request, err: HTTPException) -> JSONResponse:
        codes = {404: "no_such_path", 405: "method_not_allowed"}
        detail = ErrorDetail(
            code=codes.get(err.status_code, "http_error"),
            message=f"{request.method} {request.url.path[:80]}: {err.detail}; see /openapi.json",
        )
        return _answer(err.status_code, detail, dict(err.headers or {}))


def _answer(
    status: int, detail: ErrorDetail, headers: dict[str, str] | None = None
) -> JSONResponse:
    return JSONResponse(ErrorBody(error=detail).model_dump(), status_code=status, headers=headers)
