"""What can be written to a run, as values that survive a crash: each is one line of JSON.

Every operation is idempotent on the server: metrics keep the time they were first recorded at, tags
and texts replace themselves, inputs are known by digest. So a spool may be replayed at any time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = [
    "Artifact",
    "Finish",
    "Input",
    "Metrics",
    "Operation",
    "Params",
    "RunStatus",
    "Tags",
    "Text",
    "from_line",
    "to_line",
]

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True, slots=True)
class Metrics:
    """Values of one step."""

    values: dict[str, float]
    step: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Params:
    """Flat spec values."""

    values: dict[str, str]


@dataclass(frozen=True, slots=True)
class Tags:
    """Labels of the run; the last value wins."""

    values: dict[str, str]


@dataclass(frozen=True, slots=True)
class Input:
    """A dataset the run read."""

    name: str
    digest: str
    source: str
    split: str
    rows: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """A local file to be kept with the run."""

    path: str
    folder: str


@dataclass(frozen=True, slots=True)
class Text:
    """A short text to be kept with the run as a file."""

    file: str
    body: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of the run."""

    status: RunStatus
    time_ms: int


Operation = Metrics | Params | Tags | Input | Artifact | Text | Finish
_KINDS: dict[str, type[Operation]] = {
    kind.__name__: kind for kind in (Metrics, Params, Tags, Input, Artifact, Text, Finish)
}


def to_line(operation: Operation) -> bytes:
    """The operation as one line of JSON with its newline."""
    body = {"op": type(operation).__name__, **asdict(operation)}
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def from_line(line: bytes) -> Operation | None:
    """The operation of one line, or None for a line that a killed writer left half written."""
    try:
        body: Mapping[str, Any] = json.loads(line)
        kind = _KINDS[body["op"]]
        return kind(**{key: value for key, value in body.items() if key != "op"})
    except (ValueError, KeyError, TypeError):
        return None
