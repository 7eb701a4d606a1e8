"""Asking an endpoint again, within one budget of time, for what may succeed the next time.

Asking twice gives the same answer, so what failed before the first byte of an answer came is asked
again; what failed later is not.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import httpx
from pydantic import ValidationError

from visage.errors import EXIT_RETRY_LATER, SpecError, VisageError
from visage_serve.wire import ErrorBody, ErrorDetail

__all__ = ["Answer", "Asker", "EndpointError", "EndpointUnavailableError"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back with a success."""

    body: bytes
    headers: Mapping[str, str]
    """Names in lower case."""


class Asker:
    """Keeps connections to one endpoint; close it."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        budget_s: float,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Open no connection yet.

        Args:
            timeout_s: of one try.
            budget_s: of all tries together, waits included.

        Raises:
            SpecError: a URL that is none.
        """
        _check_url(url)
        self._http = httpx.Client(
            base_url=url, timeout=timeout_s, transport=transport, trust_env=False
        )
        self._url = url
        self._budget_s = budget_s
        self._clock = clock
        self._sleep = sleep
        self._uniform = uniform

    @property
    def build(self) -> Callable[..., httpx.Request]:
        """Makes a request for this endpoint, as `httpx.Client.build_request`."""
        return self._http.build_request

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def answer(self, request: httpx.Request) -> Answer:
        """The answer to a request that may be sent several times.

        Raises:
            EndpointError: it was refused.
            EndpointUnavailableError: no answer within the budget, or one that broke off.
        """
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
                    return Answer(body=body, headers=dict(response.headers))
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


def _check_url(url: str) -> None:
    """Refuse at once what would fail at every try."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise SpecError(f"url {url!r}: write it like http://127.0.0.1:8000")


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
