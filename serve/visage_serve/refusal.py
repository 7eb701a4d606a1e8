"""The one way to say no: a status, a stable code, a sentence, and the field at fault."""

from __future__ import annotations

from collections.abc import Mapping

from visage.errors import MediaError, VisageError
from visage_serve.wire import ErrorDetail

__all__ = ["Refusal", "detail_of_media", "refusal_of_media"]

STATUS_OF_MEDIA = {"unsupported_format": 415, "too_large": 413}
"""What HTTP has a status for; everything else is 422."""


class Refusal(VisageError):
    """A request that is answered with an error body instead of a result."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.detail = ErrorDetail(code=code, message=message, field=field)
        self.headers = dict(headers or {})


def detail_of_media(err: MediaError, *, index: int) -> ErrorDetail:
    """The error of one picture, naming which one it was."""
    return ErrorDetail(code=err.code, message=str(err), field=f"images[{index}]")


def refusal_of_media(err: MediaError, *, field: str) -> Refusal:
    """The refusal of a request whose one file of that name cannot be used."""
    return Refusal(STATUS_OF_MEDIA.get(err.code, 422), err.code, str(err), field=field)
