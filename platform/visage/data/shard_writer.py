"""A shard written row by row, so that memory never holds all of it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa

from visage.data.row_maker import Row
from visage.errors import StoreError

__all__ = ["BATCH_BYTES", "ShardWriter"]

BATCH_BYTES = 64 << 20
"""Of rows that are written at once. Most shards are smaller and so one record batch; of clips,
which are not, the pictures of a batch must stay below the 2 GiB that Arrow's offsets reach."""


class ShardWriter:
    """Writes rows to an Arrow IPC file as they come; equal rows give equal bytes."""

    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        """Into an empty file, which stays open; StoreError later if it cannot be written."""
        self._file, self._schema = file, schema
        self._rows: list[Row] = []
        self._size_bytes = 0
        self._batches = pa.ipc.new_file(file, schema)

    def add(self, row: Row) -> None:
        """The next row."""
        size_bytes = sum(_size_bytes(value) for value in row.values())
        if self._rows and self._size_bytes + size_bytes > BATCH_BYTES:
            self._flush()
        self._rows.append(row)
        self._size_bytes += size_bytes

    def close(self) -> None:
        """Write what is left; the file is whole then."""
        if self._rows:
            self._flush()
        with _written():
            self._batches.close()
            self._file.flush()

    def _flush(self) -> None:
        table = pa.Table.from_pylist(self._rows, schema=self._schema)
        self._rows, self._size_bytes = [], 0
        with _written():
            self._batches.write_table(table)


@contextlib.contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise StoreError(
            f"{tempfile.gettempdir()}: a shard cannot be written there before it is published: "
            f"{err}; give room, or name another folder for temporary files (TMPDIR)"
        ) from err


def _size_bytes(value: Any) -> int:
    """About what a cell takes."""
    if isinstance(value, bytes | str):
        return len(value)
    return sum(map(_size_bytes, value)) if isinstance(value, list) else 8
