"""The feed: batches as a function of the step, decoded ahead by a bounded pool of threads.

Asking twice for a step gives the same batch, whatever was asked before; there is no iterator to
exhaust and no worker state to save. Randomness (crops, flips) is a function of seed, epoch and
sample, so that it does not depend on threads, ranks or restarts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from visage.data.sampler import Sampler
from visage.data.shards import ShardRows
from visage.errors import DataError, MediaError
from visage.seeds import rng_of

__all__ = ["Batch", "Decode", "Feed", "ShardFeed"]

WAIT_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one rank reads at one step."""

    step: int
    ids: NDArray[np.int64]
    """Sample ids in the order of the arrays' first axis."""
    arrays: dict[str, NDArray[Any]]
    wait_s: float
    """How long the step had to wait for it."""

    def __len__(self) -> int:
        """How many samples."""
        return len(self.ids)


class Decode(Protocol):
    """Turns one stored row into arrays; must be thread-safe."""

    @property
    def columns(self) -> Sequence[str] | None:
        """What it reads of a row; None means all of it."""
        ...

    def __call__(self, row: Mapping[str, Any], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """Arrays of equal shape for every row, to be stacked along a new first axis."""
        ...


class Feed(Protocol):
    """Batches by step."""

    def batch(self, step: int) -> Batch:
        """This rank's share of the step."""
        ...

    def close(self) -> None:
        """Stop the threads."""
        ...


class ShardFeed:
    """Feed over prepared shards for one rank."""

    def __init__(
        self,
        rows: ShardRows,
        sampler: Sampler,
        decode: Decode,
        *,
        rank: int = 0,
        world: int = 1,
        threads: int = 2,
        ahead: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows, self._sampler, self._decode = rows, sampler, decode
        self._columns = None if decode.columns is None else ("key", *decode.columns)
        self._rank, self._world = rank, world
        self._ahead, self._clock = ahead, clock
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="feed")
        self._pending: dict[int, list[Future[dict[str, NDArray[Any]]]]] = {}

    def batch(self, step: int) -> Batch:
        """This rank's share of the step; later steps are already being decoded when it returns."""
        start = self._clock()
        window = range(step, step + self._ahead + 1)
        for stale in [known for known in self._pending if known not in window]:
            for future in self._pending.pop(stale):
                future.cancel()
        for ahead in window:
            self._submit(ahead)
        futures = self._pending.pop(step)
        try:
            samples = [future.result(timeout=WAIT_LIMIT_S) for future in futures]
        except TimeoutError:
            raise DataError(
                f"step {step}: its samples did not arrive within {WAIT_LIMIT_S:.0f} s; look at "
                "the disk or the store that holds the shards"
            ) from None
        _, ids = self._sampler.rank_ids(step, rank=self._rank, world=self._world)
        arrays = {name: np.stack([one[name] for one in samples]) for name in samples[0]}
        return Batch(step=step, ids=ids, arrays=arrays, wait_s=self._clock() - start)

    def close(self) -> None:
        """Stop the threads; batches not yet asked for are dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, step: int) -> None:
        if step in self._pending:
            return
        epochs, ids = self._sampler.rank_ids(step, rank=self._rank, world=self._world)
        self._pending[step] = [
            self._pool.submit(self._one, int(epoch), int(sample))
            for epoch, sample in zip(epochs, ids, strict=True)
        ]

    def _one(self, epoch: int, sample: int) -> dict[str, NDArray[Any]]:
        row = self._rows.row(sample, self._columns)
        try:
            return self._decode(row, rng_of(self._sampler.seed, "augment", epoch, sample))
        except MediaError as err:
            raise DataError(
                f"sample {sample} ({row.get('key')}): its stored picture cannot be decoded "
                f"({err.code}: {err}); prepare the corpus again"
            ) from err
