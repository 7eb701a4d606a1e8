"""A typed client of the emotion endpoint.

    with EmotionClient("http://127.0.0.1:8000") as client:
        [reply] = client.emotion([Path("party.jpg").read_bytes()])
        print(reply.faces[0].label)

Asking twice gives the same answer, so what failed before the first byte of an answer came is asked
again, within one budget of time; what failed later is not.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import ClassVar, Self

import httpx
from pydantic import ValidationError

from visage.errors import EXIT_RETRY_LATER, VisageError
from visage.faces.provider import Box
from visage_serve.wire import EmotionReply, ErrorBody, ErrorDetail, ImageReply, ServiceReply

__all__ = ["EmotionClient", "EndpointError", "EndpointUnavailableError"]

MAY_PASS = frozenset({429, 502, 503, 504})
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 10.0


class EndpointError(VisageError):
    """The endpoint refused the request; `status` and `detail` say why."""

    def __init__(self, status: int, detail: ErrorDetail) -> None:
        where = f" ({detail.field})" if detail.field else ""
        super().__init__(f"{status} {detail.code}{where}: {detail.message}")
        self.status = status
        self.detail = detail


class EndpointUnavailableError(VisageError):
    """The endpoint did not answer within the retry budget."""

    exit_code: ClassVar[int] = EXIT_RETRY_LATER


class EmotionClient:
    """Keeps connections to one endpoint; close it, or use it in a `with`.

    Args:
        url: for example `http://127.0.0.1:8000`.
        timeout_s: of one try.
        budget_s: of all tries together, waits included.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 60.0,
        budget_s: float = 120.0,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._http = httpx.Client(
            base_url=url, timeout=timeout_s, transport=transport, trust_env=False
        )
        self._url = url
        self._budget_s = budget_s
        self._clock = clock
        self._sleep = sleep
        self._uniform = uniform

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def emotion(
        self,
        pictures: Sequence[bytes],
        boxes: Sequence[Sequence[Box] | None] | None = None,
        *,
        overlay: bool = False,
    ) -> list[ImageReply]:
        """One entry for each picture, in order.

        Args:
            pictures: the bytes of JPEG, PNG or WebP files.
            boxes: for each picture its face boxes, or None to have the faces found.
            overlay: whether each entry brings the picture with the result drawn in.

        Raises:
            EndpointError: the request was refused. Of several pictures one that cannot be used
                raises nothing: its entry has `error`.
            EndpointUnavailableError: no answer within the budget.
        """
        return self.ask(pictures, boxes, overlay=overlay).images

    def ask(
        self,
        pictures: Sequence[bytes],
        boxes: Sequence[Sequence[Box] | None] | None = None,
        *,
        overlay: bool = False,
    ) -> EmotionReply:
        """Like `emotion`, with the model and the timing beside the entries."""
        files = [("image", ("picture", data, "application/octet-stream")) for data in pictures]
        form = {} if boxes is None else {"boxes": json.dumps(boxes)}
        request = self._http.build_request(
            "POST",
            "/v1/emotion",
            files=files,
            data=form,
            params={"overlay": "true"} if overlay else {},
        )
        return EmotionReply.model_validate_json(self._answer(request))

    def service(self) -> ServiceReply:
        """Which model answers there, and what a request may bring."""
        request = self._http.build_request("GET", "/v1/models")
        return ServiceReply.model_validate_json(self._answer(request))

    def _answer(self, request: httpx.Request) -> bytes:
        start = self._clock()
        wait_s = FIRST_WAIT_S
        while True:
            try:
                response = self._http.send(request, stream=True)
            except httpx.TransportError as err:
                problem, asked_wait_s = f"{type(err).__name__}: {err}", 0.0
            else:
                body = self._read(response)
                if response.is_success:
                    return body
                detail = _detail_of(body, response)
                if not _may_pass(response, detail):
                    raise EndpointError(response.status_code, detail)
                problem = f"{response.status_code} {detail.code}: {detail.message}"
                asked_wait_s = _retry_after_s(response)
            pause_s = max(asked_wait_s, self._uniform(wait_s / 2, wait_s))
            if self._clock() - start + pause_s > self._budget_s:
                raise EndpointUnavailableError(
                    f"{self._url}: no answer within {self._budget_s:g} s (last: {problem})"
                )
            self._sleep(pause_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    def _read(self, response: httpx.Response) -> bytes:
        try:
            return response.read()
        except httpx.TransportError as err:
            raise EndpointUnavailableError(
                f"{self._url}: the answer broke off ({type(err).__name__}); ask again"
            ) from None
        finally:
            response.close()


def _detail_of(body: bytes, response: httpx.Response) -> ErrorDetail:
    try:
        return ErrorBody.model_validate_json(body).error
    except ValidationError:  # a proxy in between answers in its own words
        text = body[:200].decode("utf-8", "replace").strip()
        return ErrorDetail(code="unknown", message=text or response.reason_phrase)


def _may_pass(response: httpx.Response, detail: ErrorDetail) -> bool:
    # a replica that died under the request is a 500 of the proxy, which does not know our codes
    died = response.status_code == 500 and detail.code == "unknown"
    return died or response.status_code in MAY_PASS


def _retry_after_s(response: httpx.Response) -> float:
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdecimal() else 0.0
