"""A bounded write-ahead log on the local disk: what the server does not have yet.

Every record is appended here first and removed once the server took it, so neither a killed process
nor a silent server loses what was recorded. The bound holds for metrics; the few other records
always fit.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visage.tracking.operations import Metrics, Operation, from_line, to_line

__all__ = ["Spool"]

log = logging.getLogger(__name__)

DEFAULT_MAX_BYTES = 16 * 2**20


class Spool:
    """The pending operations of one run, in memory and in one file; safe for several threads."""

    def __init__(self, path: Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """Open the file, taking over what a killed process left in it."""
        self.dropped = 0
        self._path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._pending: deque[tuple[Operation, bytes]] = deque(_read(path))
        self._bytes = sum(len(line) for _, line in self._pending)
        self._is_on_disk = True
        self._file_bytes = 0
        self._rewrite()

    @property
    def path(self) -> Path:
        """Where the pending operations lie."""
        return self._path

    def __len__(self) -> int:
        return len(self._pending)

    def append(self, operation: Operation) -> bool:
        """Keep one operation; False if the spool is full and the metrics were dropped."""
        line = to_line(operation)
        with self._lock:
            if isinstance(operation, Metrics) and self._bytes + len(line) > self._max_bytes:
                if not self.dropped:
                    log.warning(
                        "%s is full; metrics are dropped until the server is back", self._path
                    )
                self.dropped += len(operation.values)
                return False
            self._pending.append((operation, line))
            self._bytes += len(line)
            self._write(line)
        return True

    def peek(self, limit: int) -> list[Operation]:
        """The oldest operations, at most `limit`; they stay until `done`."""
        with self._lock:
            return [self._pending[at][0] for at in range(min(limit, len(self._pending)))]

    def done(self, count: int) -> None:
        """Forget the `count` oldest operations: the server has them."""
        with self._lock:
            for _ in range(count):
                self._bytes -= len(self._pending.popleft()[1])
            # a replay is harmless, so the file is only made shorter when that is cheap or needed
            if not self._pending or self._file_bytes > 2 * self._max_bytes:
                self._rewrite()

    def move(self, path: Path) -> None:
        """Go on under another name; what already lies there comes first."""
        if path == self._path:
            return
        with self._lock:
            earlier = _read(path)
            self._pending.extendleft(reversed(earlier))
            self._bytes += sum(len(line) for _, line in earlier)
            former, self._path = self._path, path
            self._rewrite()
            former.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the file if nothing is pending."""
        with self._lock:
            if not self._pending:
                self._path.unlink(missing_ok=True)

    def _rewrite(self) -> None:
        """Make the file hold exactly what is pending."""
        body = b"".join(line for _, line in self._pending)
        arriving = self._path.with_suffix(".arriving")
        with self._disk_may_fail():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            arriving.write_bytes(body)
            arriving.replace(self._path)
            self._file_bytes = len(body)

    def _write(self, line: bytes) -> None:
        with self._disk_may_fail(), self._path.open("ab", buffering=0) as file:
            file.write(line)
            self._file_bytes += len(line)

    @contextmanager
    def _disk_may_fail(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            if self._is_on_disk:
                log.warning("spool %s: %s; records wait in memory only", self._path, err.strerror)
            self._is_on_disk = False


def _read(path: Path) -> list[tuple[Operation, bytes]]:
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError:
        return []
    pairs = ((from_line(line), line) for line in lines if line.endswith(b"\n"))
    return [(operation, line) for operation, line in pairs if operation is not None]
