"""Counter-based randomness: every draw is a function of names and numbers, never of history.

`seed_of(run_seed, "augment", epoch, sample)` gives the same 63-bit seed in every process, so a
resumed run draws exactly what the unbroken run would have drawn, and no generator state is ever
saved.
"""

from __future__ import annotations

import hashlib
import operator

import numpy as np

__all__ = ["rng_of", "seed_of"]


def seed_of(*parts: int | str) -> int:
    """A seed in [0, 2**63) from the parts; order and type matter ("1" is not 1)."""
    text = "\x1f".join(_named(part) for part in parts)
    body = text.encode(errors="surrogatepass")  # names of files need not be valid UTF-8
    return int.from_bytes(hashlib.blake2b(body, digest_size=8).digest()) >> 1


def rng_of(*parts: int | str) -> np.random.Generator:
    """A NumPy generator seeded with `seed_of(*parts)`."""
    return np.random.Generator(np.random.Philox(seed_of(*parts)))


def _named(part: int | str) -> str:
    if isinstance(part, str):
        # Escaped, so that no text can pass for two parts.
        return "str:" + part.replace("\x1b", "\x1b\x1b").replace("\x1f", "\x1b\x1f")
    return f"int:{int(operator.index(part))}"  # NumPy's integers are numbers like any other
