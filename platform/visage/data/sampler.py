"""The order of samples as arithmetic: no state, no shuffle buffer, and no cluster size in it.

Training reads one endless stream: the permutation of epoch 0, then that of epoch 1, and so on,
without a gap. Step s reads positions [s·G, (s+1)·G) of it, and rank r takes every world-th of
those. Hence

- the position of a run is one integer, the step;
- every sample is read exactly once an epoch; the remainder of N/G is carried over, never dropped;
- ranks always have equally many samples, and the union over ranks does not depend on `world`.

A permutation is a keyed bijection (an alternating Feistel network with cycle walking), evaluated
only at the positions asked for: constant memory for any number of samples. See
docs/decisions/sampler.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visage.errors import SpecError
from visage.seeds import seed_of

__all__ = ["Sampler", "permute"]

Ids = NDArray[np.int64]
ROUNDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """Which sample ids a step reads, for `samples` ids 0 … samples-1."""

    samples: int
    global_batch: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse sizes with which no step can be formed."""
        if self.samples < 1:
            raise SpecError("the training split holds no samples; check the manifest's counts")
        if self.global_batch < 1:
            raise SpecError("global_batch must be at least 1")

    def step_ids(self, step: int) -> tuple[Ids, Ids]:
        """Epochs and sample ids that the whole cluster reads at `step`, each of shape (G,)."""
        return self._at(step * self.global_batch + np.arange(self.global_batch, dtype=np.int64))

    def rank_ids(self, step: int, *, rank: int, world: int) -> tuple[Ids, Ids]:
        """Epochs and sample ids that one rank reads at `step`, each of shape (G / world,)."""
        if self.global_batch % world:
            raise SpecError(
                f"global_batch {self.global_batch} is not divisible by {world} workers; "
                "choose a multiple, so that every rank has the same share"
            )
        first = step * self.global_batch
        return self._at(np.arange(first + rank, first + self.global_batch, world, dtype=np.int64))

    def epoch_of(self, step: int) -> float:
        """How many epochs have been read when `step` steps are done."""
        return step * self.global_batch / self.samples

    def steps_for(self, epochs: float) -> int:
        """The fewest steps that read at least so many epochs."""
        reads = epochs * self.samples
        nearest = round(reads)
        is_whole = math.isclose(reads, nearest, rel_tol=1e-9)  # 1.1 * 10 is 11 to people
        return -(-(nearest if is_whole else math.ceil(reads)) // self.global_batch)

    def _at(self, positions: Ids) -> tuple[Ids, Ids]:
        epochs, offsets = np.divmod(positions, self.samples)
        ids = np.empty_like(offsets)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            key = seed_of(self.seed, "order", int(epoch))
            ids[chosen] = permute(offsets[chosen], size=self.samples, key=key)
        return epochs, ids


def permute(offsets: Ids, *, size: int, key: int) -> Ids:
    """The images of `offsets`, each in 0 … size-1, under the bijection that `key` names."""
    bits = max(2, (size - 1).bit_length())
    low_bits = np.uint64(bits // 2)
    low_mask = np.uint64((1 << (bits // 2)) - 1)
    high_mask = np.uint64((1 << (bits - bits // 2)) - 1)
    keys = [np.uint64(seed_of(key, "round", number)) for number in range(ROUNDS)]
    values = offsets.astype(np.uint64)
    walking = np.ones(len(values), dtype=bool)
    while walking.any():  # outside [0, size) the cycle is walked on; the domain is < 2·size
        at = values[walking]
        high, low = at >> low_bits, at & low_mask
        for number, round_key in enumerate(keys):
            if number % 2:
                high = high ^ (_mix(low ^ round_key) & high_mask)
            else:
                low = low ^ (_mix(high ^ round_key) & low_mask)
        values[walking] = (high << low_bits) | low
        walking &= values >= np.uint64(size)
    return values.astype(np.int64)


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64 bits (shift-multiply rounds with odd constants); wrap-around is intended."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xD6E8FEB86659FD93)
    values = (values ^ (values >> np.uint64(32))) * np.uint64(0xA0761D6478BD642F)
    return values ^ (values >> np.uint64(29))
