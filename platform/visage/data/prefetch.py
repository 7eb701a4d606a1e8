"""Shards of a remote corpus brought to this machine before anybody waits for them.

A store that goes away in the middle of a run can then only delay checkpoints, never the next batch
or the next validation. Splits are fetched in the order given, and one that does not fit into the
cache is left to be fetched shard by shard as it is read.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from visage.data.shards import ShardRows
from visage.errors import VisageError

__all__ = ["Prefetch"]

log = logging.getLogger(__name__)


class Prefetch:
    """A thread that fetches; close it when nobody reads any more."""

    def __init__(self, splits: Sequence[ShardRows], *, rank: int = 0, world: int = 1) -> None:
        """Begin at once; ranks begin at different places, so that those of a machine share."""
        self._splits = [rows for rows in splits if rows.is_remote]
        self._from = rank / world
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        if self._splits:
            self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Whether all has been fetched, or given up, within so many seconds."""
        if self._splits:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Fetch no further shard; one that is on its way arrives."""
        self._over.set()

    def _run(self) -> None:
        for rows in self._splits:
            if not rows.fits_cache:
                continue
            first = int(self._from * rows.shards)
            for step in range(rows.shards):
                if self._over.is_set():
                    return
                try:
                    rows.fetch((first + step) % rows.shards)
                except VisageError as err:  # who reads it will meet and tell the same
                    log.info("not fetched ahead: %s", err)
