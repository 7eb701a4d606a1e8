"""Counter-based randomness: every draw is a function of names and numbers, never of history.

`seed_of(run_seed, "augment", epoch, sample)` gives the same 63-bit seed in every process, so a
resumed run draws exactly what the unbroken run would have drawn, and no generator state is ever
saved.
"""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["rng_of", "seed_of"]


def seed_of(*parts: int | str) -> int:
    """A seed in [0, 2**63) from the parts; order and type matter ("1" is not 1)."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def rng_of(*parts: int | str) -> np.random.Generator:
    """A NumPy generator seeded with `seed_of(*parts)`."""
    return np.random.Generator(np.random.Philox(seed_of(*parts)))
