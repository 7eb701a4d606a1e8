"""The feed: batches as a function of the step, decoded ahead by a bounded pool of threads.

Asking twice for a step gives the same batch, whatever was asked before; there is no iterator to
exhaust and no worker state to save. Randomness (crops, flips) is a function of seed, epoch and
sample, so that it does not depend on threads, ranks or restarts.
"""

from __future__ import annotations

import threading
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
    """Feed over prepared shards for one rank.

    The thread that asks does next to nothing: which samples a step reads, decoding and stacking are
    the work of the pool, one part of the step for each thread.
    """

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
        self._parts = min(threads, max(1, sampler.global_batch // world))
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="feed")
        self._pending: dict[int, _Step] = {}

    def batch(self, step: int) -> Batch:
        """This rank's share of the step; later steps are already being decoded when it returns."""
        start = self._clock()
        window = range(step, step + self._ahead + 1)
        for stale in [known for known in self._pending if known not in window]:
            self._pending.pop(stale).cancel()
        for ahead in window:
            self._submit(ahead)
        wanted = self._pending.pop(step)
        try:
            for part in wanted.parts:
                part.result(timeout=WAIT_LIMIT_S)
        except TimeoutError:
            raise DataError(
                f"step {step}: its samples did not arrive within {WAIT_LIMIT_S:.0f} s; look at "
                "the disk or the store that holds the shards"
            ) from None
        return Batch(
            step=step, ids=wanted.ids(), arrays=wanted.arrays, wait_s=self._clock() - start
        )

    def close(self) -> None:
        """Stop the threads; batches not yet asked for are dropped."""
        for one in self._pending.values():
            one.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, step: int) -> None:
        if step in self._pending:
            return
        self._pending[step] = made = _Step(
            lambda: self._sampler.rank_ids(step, rank=self._rank, world=self._world)
        )
        made.parts = [
            self._pool.submit(made.fill, self._one, part, self._parts)
            for part in range(self._parts)
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


class _Step:
    """One step's samples, decoded by several threads into the same arrays."""

    def __init__(self, find: Callable[[], tuple[NDArray[np.int64], NDArray[np.int64]]]) -> None:
        self.parts: list[Future[None]] = []
        self.arrays: dict[str, NDArray[Any]] = {}
        self._find = find
        self._found: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
        self._lock = threading.Lock()
        self._is_cancelled = False

    def cancel(self) -> None:
        """Nobody wants it any more; what is being decoded is the last of each part."""
        self._is_cancelled = True
        for part in self.parts:
            part.cancel()

    def ids(self) -> NDArray[np.int64]:
        """Its samples."""
        return self._places()[1]

    def fill(
        self, one: Callable[[int, int], dict[str, NDArray[Any]]], part: int, parts: int
    ) -> None:
        """Decode every `parts`-th sample from `part` on, each into its place."""
        epochs, ids = self._places()
        for place in range(part, len(ids), parts):
            if self._is_cancelled:
                return
            sample = one(int(epochs[place]), int(ids[place]))
            for name, array in self._room(sample, len(ids)).items():
                if array.shape[1:] != sample[name].shape or array.dtype != sample[name].dtype:
                    raise DataError(
                        f"sample {ids[place]}: {name} is {sample[name].dtype} "
                        f"{sample[name].shape}, others of its step are {array.dtype} "
                        f"{array.shape[1:]}; prepare the corpus again"
                    )
                array[place] = sample[name]

    def _places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Epochs and samples, found once by whoever comes first."""
        with self._lock:
            if self._found is None:
                self._found = self._find()
            return self._found

    def _room(self, like: Mapping[str, NDArray[Any]], size: int) -> dict[str, NDArray[Any]]:
        """Arrays for the whole step, with the samples along the first axis."""
        with self._lock:
            if not self.arrays:
                self.arrays = {
                    name: np.empty((size, *one.shape), one.dtype) for name, one in like.items()
                }
            return self.arrays
