"""The parts of a multipart body, taken one by one under bounds that hold while it is parsed.

Nothing is written to disk, no part is held beyond its bound, and the first part that is not
expected ends the parsing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from visage_serve.refusal import Refusal

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

__all__ = ["boundary_of", "media_type_of", "read_parts"]


def media_type_of(content_type: str) -> str:
    """The media type of a Content-Type in lower case, without its parameters."""
    return parse_options_header(content_type)[0].decode("latin-1").lower()


def boundary_of(content_type: str) -> bytes:
    """What separates the parts; Refusal 400 if the Content-Type does not say it."""
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise Refusal(400, "bad_multipart", "multipart without a boundary", field="Content-Type")
    return boundary


def read_parts(
    body: bytes,
    boundary: bytes,
    *,
    bounds: Mapping[str, int | None],
    expected: str,
    take: Callable[[str, bytes], None],
) -> None:
    """Hand each part to `take`, in order.

    Args:
        bounds: most bytes of each part by its name, None for as many as the body has.
        expected: the parts that there may be, for people.
        take: may refuse by raising; nothing after that part is looked at.

    Raises:
        Refusal: 400 `bad_multipart` or `unknown_field`, 413 `too_large`, or what `take` raises.
    """
    collector = _Collector(bounds, expected, take)
    try:
        parser = MultipartParser(boundary, collector.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as err:
        raise Refusal(400, "bad_multipart", f"the multipart body is malformed: {err}") from None
    if not collector.is_complete:
        raise Refusal(400, "bad_multipart", "the multipart body ends before its last boundary")


class _Collector:
    """Gathers one part at a time."""

    def __init__(
        self,
        bounds: Mapping[str, int | None],
        expected: str,
        take: Callable[[str, bytes], None],
    ) -> None:
        self._bounds, self._expected, self._take = bounds, expected, take
        self._header_name = b""
        self._header_value = b""
        self._part_name = ""
        self._data = bytearray()
        self.is_complete = False

    def callbacks(self) -> MultipartCallbacks:
        """What the parser calls."""
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
        self._part_name = ""
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
        most = self._bounds.get(self._part_name)
        if most is not None and len(self._data) + end - start > most:
            name = self._part_name
            raise Refusal(
                413, "too_large", f"the part `{name}` is larger than {most} bytes", field=name
            )
        self._data += data[start:end]

    def _end(self) -> None:
        if self._part_name not in self._bounds:
            name = self._part_name[:80]
            raise Refusal(
                400,
                "unknown_field",
                f"a part is named {name!r}; the parts are {self._expected}",
                field=name or None,
            )
        self._take(self._part_name, bytes(self._data))

    def _finish(self) -> None:
        self.is_complete = True
