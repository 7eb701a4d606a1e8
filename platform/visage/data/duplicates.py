"""Which pictures of a corpus are the same: as files, as pixels, or to the eye.

Pairs are stars, not all combinations: each copy is paired with the first of its kind, so that a
thousand copies are 999 pairs. Clusters join whatever pairs connect.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from visage.data.fingerprints import Fingerprint
from visage.data.perceptual_hash import Thumbnail, is_flat, likeness, near_pairs

__all__ = ["NEAR_LIKENESS", "NEAR_THRESHOLD", "Kind", "Pair", "clusters", "find_pairs"]

Kind = Literal["bytes", "pixels", "near"]

BLOCK = 256
NEAR_THRESHOLD = 10
"""Bits by which the hashes of near duplicates may differ; beyond it the work grows sevenfold."""
NEAR_LIKENESS = 0.97
"""Correlation of aligned thumbnails from which two pictures are one; others stay below 0.96."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two pictures, by their places in the list of fingerprints, that show the same."""

    first: int
    second: int
    kind: Kind
    distance_bits: int
    """Of the perceptual hashes."""
    likeness: float
    """Correlation of the aligned thumbnails."""
    is_mirrored: bool
    """The second is the first seen in a mirror."""


def find_pairs(
    prints: Sequence[Fingerprint],
    *,
    near_threshold: int,
    near_likeness: float = NEAR_LIKENESS,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Pair, ...]:
    """All duplicates among readable pictures; near ones only if `near_threshold` is not negative.

    Flat pictures are compared exactly only: to the eye, every black frame is every other one.
    """
    readable = [at for at, item in enumerate(prints) if item.problem is None]
    pairs, left = _exact(prints, readable, "bytes")
    more, left = _exact(prints, left, "pixels")
    pairs += more
    if near_threshold >= 0:
        shaped = [at for at in left if not is_flat(_thumb(prints, at))]
        near, leaders = _same_hash(prints, shaped, near_likeness)
        pairs += near
        pairs += _near(
            prints, leaders, near_threshold, near_likeness, workers=workers, progress=progress
        )
    return tuple(sorted(pairs, key=lambda pair: (pair.first, pair.second)))


def clusters(count: int, pairs: Iterable[Pair]) -> list[tuple[int, ...]]:
    """Groups of two and more of the numbers below `count` that pairs connect, sorted."""
    parent = list(range(count))

    def root_of(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    for pair in pairs:
        a, b = root_of(pair.first), root_of(pair.second)
        parent[max(a, b)] = min(a, b)
    members: dict[int, list[int]] = defaultdict(list)
    for at in range(count):
        members[root_of(at)].append(at)
    return [tuple(group) for _, group in sorted(members.items()) if len(group) > 1]


def _exact(
    prints: Sequence[Fingerprint], places: Sequence[int], kind: Literal["bytes", "pixels"]
) -> tuple[list[Pair], list[int]]:
    """Pairs of equal digests, and one representative of each digest."""
    first_of: dict[Hashable, int] = {}
    pairs: list[Pair] = []
    for at in places:
        item = prints[at]
        digest = item.bytes_sha256 if kind == "bytes" else item.pixels_sha256
        first = first_of.setdefault(digest, at)
        if first != at:
            pairs.append(
                Pair(
                    first=first,
                    second=at,
                    kind=kind,
                    distance_bits=0,
                    likeness=1.0,
                    is_mirrored=False,
                )
            )
    return pairs, list(first_of.values())


def _same_hash(
    prints: Sequence[Fingerprint], places: Sequence[int], near_likeness: float
) -> tuple[list[Pair], list[int]]:
    """Pairs within equal hashes, and the pictures that stand for them; keeps the rest linear."""
    leaders_of: dict[int, list[int]] = defaultdict(list)
    pairs: list[Pair] = []
    for at in places:
        leaders = leaders_of[prints[at].hash]
        for leader in leaders:
            pair = _confirm(prints, leader, at, 0, near_likeness, is_mirrored=False)
            if pair is not None:
                pairs.append(pair)
                break
        else:
            leaders.append(at)
    return pairs, sorted(at for leaders in leaders_of.values() for at in leaders)


def _near(
    prints: Sequence[Fingerprint],
    places: Sequence[int],
    threshold: int,
    near_likeness: float,
    *,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> list[Pair]:
    """Pairs of leaders whose hashes are close, confirmed block by block in a few threads."""
    candidates = _candidates(prints, places, threshold)
    blocks = range(0, len(candidates), BLOCK)

    def confirm(begin: int) -> list[Pair]:
        found = (
            _confirm(prints, int(a), int(b), int(bits), near_likeness, is_mirrored=bool(mirrored))
            for a, b, bits, mirrored in candidates[begin : begin + BLOCK]
        )
        return [pair for pair in found if pair is not None]

    best: dict[tuple[int, int], Pair] = {}
    with ThreadPoolExecutor(workers, thread_name_prefix="likeness") as pool:
        for begin, found in zip(blocks, pool.map(confirm, blocks), strict=True):
            for pair in found:
                known = best.get((pair.first, pair.second))
                if known is None or pair.likeness > known.likeness:
                    best[pair.first, pair.second] = pair
            if progress is not None:
                progress(min(begin + BLOCK, len(candidates)), len(candidates))
    return list(best.values())


def _candidates(
    prints: Sequence[Fingerprint], places: Sequence[int], threshold: int
) -> NDArray[np.int32]:
    """Rows first, second, distance, mirrored of shape (N, 4), in a fixed order."""
    index = np.array(places, dtype=np.int32)
    hashes = np.array([prints[at].hash for at in places], dtype=np.uint64)
    mirrored = np.array([prints[at].mirrored_hash for at in places], dtype=np.uint64)
    parts = [
        np.stack([index[i], index[j], bits.astype(np.int32), np.full_like(index[i], flag)], axis=1)
        for flag, other in enumerate((hashes, mirrored))
        for i, j, bits in near_pairs(hashes, other, radius=threshold)
    ]
    return np.concatenate(parts) if parts else np.empty((0, 4), dtype=np.int32)


def _confirm(
    prints: Sequence[Fingerprint],
    first: int,
    second: int,
    distance: int,
    near_likeness: float,
    *,
    is_mirrored: bool,
) -> Pair | None:
    other = _thumb(prints, second)
    value = likeness(
        _thumb(prints, first), np.ascontiguousarray(other[:, ::-1]) if is_mirrored else other
    )
    if value < near_likeness:
        return None
    return Pair(
        first=first,
        second=second,
        kind="near",
        distance_bits=distance,
        likeness=value,
        is_mirrored=is_mirrored,
    )


def _thumb(prints: Sequence[Fingerprint], at: int) -> Thumbnail:
    thumb = prints[at].thumb
    if thumb is None:
        raise ValueError(f"{prints[at].record.key} was not decoded; compare readable pictures only")
    return thumb
