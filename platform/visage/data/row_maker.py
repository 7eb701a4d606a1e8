"""What `prepare` needs to know about one kind of rows: how one record becomes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from visage.data.records import Record

__all__ = ["Row", "RowMaker"]

Row = dict[str, Any]


class RowMaker(Protocol):
    """Turns records into rows with one set of tools; holds decoders, so one to a process."""

    @property
    def schema(self) -> pa.Schema:
        """Of the rows; its metadata name the kind."""
        ...

    def rows(self, record: Record, root: Path, seconds: dict[str, float]) -> Sequence[Row]:
        """The rows of one record, each with a `key` that starts with the record's.

        Args:
            root: Folder that the record's path is relative to.
            seconds: Collects CPU time by stage (`visage.data.stage_clock`).

        Raises:
            MediaError: the record cannot be used; it becomes one rejection.
        """
        ...

    def count_by(self, row: Mapping[str, Any]) -> str:
        """Under which name a row is counted: its class, its style."""
        ...

    def duration_s(self, row: Mapping[str, Any]) -> float:
        """Seconds of sound or moving picture that a row holds; 0 for a still picture."""
        ...
