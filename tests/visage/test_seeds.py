"""Counter-based randomness: a draw is a function of its names, never of history."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from visage.seeds import rng_of, seed_of

PINNED = (8238016292129134938, 516879229434908400, 4557080784008321355)
DRAWN = [111, 652, 688, 830, 378]

parts_of = st.lists(st.integers(-(2**70), 2**70) | st.text(max_size=8), max_size=4)


def test_known_answers_stay_for_ever() -> None:
    # Old runs resume and old corpora are built again with these: never change them.
    assert seed_of() == PINNED[0]
    assert seed_of(0, "order", 0) == PINNED[1]
    assert seed_of(7, "augment", 3, 12345) == PINNED[2]
    assert rng_of(0, "order", 0).integers(0, 1000, 5).tolist() == DRAWN


@given(parts=parts_of)
def test_a_seed_is_a_non_negative_63_bit_number_and_always_the_same(parts: list[int | str]) -> None:
    assert 0 <= seed_of(*parts) < 2**63
    assert seed_of(*parts) == seed_of(*parts)


@given(one=parts_of, two=parts_of)
def test_different_names_have_different_seeds(one: list[int | str], two: list[int | str]) -> None:
    assert (seed_of(*one) == seed_of(*two)) == (one == two)


def test_names_that_contain_the_separator_do_not_collide() -> None:
    assert seed_of("a\x1fstr:b") != seed_of("a", "b")


def test_names_of_files_that_are_no_valid_utf8_have_seeds() -> None:
    assert seed_of("clip\udcff.mp4") != seed_of("clip\udcfe.mp4")


def test_order_and_type_of_the_names_matter() -> None:
    assert len({seed_of(1, 2), seed_of(2, 1), seed_of("1", 2), seed_of(12), seed_of("1", "2")}) == 5


def test_numbers_of_numpy_count_as_numbers() -> None:
    assert seed_of(np.int64(3), "x") == seed_of(3, "x")  # type: ignore[arg-type]


def test_a_draw_does_not_depend_on_the_draws_before_it() -> None:
    first = rng_of(1, "a").random(4)
    rng_of(1, "b").random(100)
    np.random.Generator(np.random.Philox(0)).random(3)
    assert np.array_equal(rng_of(1, "a").random(4), first)


def test_streams_of_neighbouring_names_are_not_correlated() -> None:
    draws = np.stack([rng_of(0, "augment", 0, sample).random(64) for sample in range(400)])
    correlation = np.corrcoef(draws)[~np.eye(400, dtype=bool)]
    assert abs(draws.mean() - 0.5) < 0.01
    assert np.abs(correlation).max() < 0.65  # 5.2 sigma for 64 draws
    assert abs(np.sort(draws[:, 0]).mean() - 0.5) < 0.06
