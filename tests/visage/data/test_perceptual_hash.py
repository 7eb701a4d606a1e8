"""Perceptual hashes: neighbours are found completely, and look alike only if they do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_scenes import COPIES, scene
from numpy.typing import NDArray

from visage.data.duplicates import NEAR_LIKENESS, NEAR_THRESHOLD
from visage.data.perceptual_hash import is_flat, likeness, near_pairs, perceptual_hash, thumbnail
from visage.media.image import decode_image, encode_jpeg
from visage.seeds import rng_of


def planted(count: int, seed: int) -> NDArray[np.uint64]:
    """Random hashes, half of them a few bits from another."""
    rng = rng_of(seed, "hashes")
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    for at in range(count // 2):
        flips = rng.choice(64, int(rng.integers(0, 14)), replace=False)
        mask = sum(1 << int(bit) for bit in flips)
        hashes[count - 1 - at] = hashes[at] ^ np.uint64(mask)
    return hashes


@given(
    count=st.integers(0, 60),
    radius=st.integers(0, 13),
    seed=st.integers(0, 99),
    other=st.booleans(),
)
def test_near_pairs_are_exactly_those_of_comparing_all_with_all(
    count: int, radius: int, seed: int, other: bool
) -> None:
    first = planted(count, seed)
    second = planted(count, seed + 1000) if other else first

    found = [
        (i, j, d)
        for block in near_pairs(first, second, radius=radius)
        for i, j, d in zip(*(part.tolist() for part in block), strict=True)
    ]

    distances = np.bitwise_count(first[:, None] ^ second[None, :])
    expected = {
        (i, j, int(distances[i, j]))
        for i in range(count)
        for j in range(i + 1, count)
        if distances[i, j] <= radius
    }
    assert len(found) == len(expected)
    assert set(found) == expected


def test_equal_hashes_are_joined_in_bounded_blocks() -> None:
    hashes = np.zeros(2000, np.uint64)

    blocks = [len(i) for i, _, _ in near_pairs(hashes, hashes, radius=0)]

    assert sum(blocks) == 2000 * 1999 // 2
    assert max(blocks) < sum(blocks)


def test_a_radius_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 63"):
        next(near_pairs(np.zeros(1, np.uint64), np.zeros(1, np.uint64), radius=64))


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_stays_near_and_alike(copy: str) -> None:
    pairs = [(thumbnail(scene(n)), thumbnail(COPIES[copy](scene(n)))) for n in range(40)]

    near = [
        (perceptual_hash(a) ^ perceptual_hash(b)).bit_count() <= NEAR_THRESHOLD for a, b in pairs
    ]
    alike = [likeness(a, b) >= NEAR_LIKENESS for a, b in pairs]

    # Turning by three degrees moves edges against the coarse grid of the thumbnail.
    least = 0.8 if copy == "turned" else 1.0
    assert np.mean(near) >= least
    assert np.mean(alike) >= least


def test_different_pictures_are_neither_near_nor_alike() -> None:
    thumbs = [thumbnail(scene(number)) for number in range(60)]
    hashes = np.array([perceptual_hash(thumb) for thumb in thumbs], np.uint64)

    assert not list(near_pairs(hashes, hashes, radius=NEAR_THRESHOLD))
    assert max(likeness(thumbs[0], other) for other in thumbs[1:]) < NEAR_LIKENESS


def test_a_flat_picture_is_like_nothing_not_even_itself() -> None:
    black = thumbnail(np.zeros((40, 60, 3), np.uint8))
    noisy = decode_image(encode_jpeg(np.full((40, 60, 3), 17, np.uint8), 30))

    assert is_flat(black)
    assert is_flat(thumbnail(noisy))
    assert likeness(black, black) == 0.0
    assert not is_flat(thumbnail(scene(0)))


def test_likeness_ignores_brightness_and_contrast() -> None:
    thumb = thumbnail(scene(1))
    faded = (thumb * 0.5 + 60).astype(np.uint8)

    assert likeness(thumb, faded) > 0.999
    assert likeness(thumb, 255 - thumb) < 0
