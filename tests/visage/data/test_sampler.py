"""The order of samples: each exactly once an epoch, and the cluster's size nowhere in it."""

from __future__ import annotations

import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visage.data.sampler import Sampler, permute
from visage.errors import SpecError

sizes = st.integers(1, 5000)
seeds = st.integers(0, 2**31)


def _read(sampler: Sampler, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and ids of steps 0 … steps-1, each of shape (steps * G,)."""
    pairs = [sampler.step_ids(step) for step in range(steps)]
    return np.concatenate([one for one, _ in pairs]), np.concatenate([one for _, one in pairs])


@given(size=sizes, key=seeds)
def test_a_permutation_hits_every_number_once(size: int, key: int) -> None:
    images = permute(np.arange(size), size=size, key=key)
    assert np.array_equal(np.sort(images), np.arange(size))


@given(size=sizes, key=seeds, data=st.data())
def test_a_place_in_a_permutation_does_not_depend_on_what_is_asked_beside_it(
    size: int, key: int, data: st.DataObject
) -> None:
    places = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20)))
    whole = permute(np.arange(size), size=size, key=key)
    assert np.array_equal(permute(places, size=size, key=key), whole[places])


@settings(max_examples=60)
@given(samples=st.integers(1, 200), batch=st.integers(1, 64), seed=seeds, epochs=st.integers(1, 3))
def test_each_epoch_of_the_stream_reads_every_sample_exactly_once(
    samples: int, batch: int, seed: int, epochs: int
) -> None:
    sampler = Sampler(samples=samples, global_batch=batch, seed=seed)
    epoch_of, ids = _read(sampler, -(-samples * epochs // batch))
    for epoch in range(epochs):
        window = slice(epoch * samples, (epoch + 1) * samples)
        assert np.all(epoch_of[window] == epoch)
        assert np.array_equal(np.sort(ids[window]), np.arange(samples))


LATTICE = [
    (samples, batch, world)
    for samples in (1, 7, 64, 5000)
    for batch in (1, 4, 12, 64)
    for world in range(1, batch + 1)
    if batch % world == 0
]


@pytest.mark.parametrize(("samples", "batch", "world"), LATTICE)
def test_the_ranks_share_equally_and_together_read_the_same_in_the_same_order(
    samples: int, batch: int, world: int
) -> None:
    sampler = Sampler(samples=samples, global_batch=batch, seed=3)
    for step in (0, 1, samples // batch, 1000):
        shares = [sampler.rank_ids(step, rank=rank, world=world) for rank in range(world)]
        assert {len(ids) for _, ids in shares} == {batch // world}
        # (ranks, share) -> (share, ranks) -> (G,): rank r holds every world-th
        for whole, part in zip(sampler.step_ids(step), zip(*shares, strict=True), strict=True):
            assert np.array_equal(np.stack(part).T.reshape(-1), whole)


@pytest.mark.parametrize(("batch", "world"), [(8, 3), (4, 8), (7, 2)])
def test_a_world_that_does_not_divide_the_batch_is_refused_with_both_numbers(
    batch: int, world: int
) -> None:
    sampler = Sampler(samples=10, global_batch=batch, seed=0)
    with pytest.raises(SpecError, match=f"{batch} is not divisible by {world} workers"):
        sampler.rank_ids(0, rank=0, world=world)


@pytest.mark.parametrize(("samples", "batch"), [(0, 4), (4, 0), (-1, 4)])
def test_sizes_with_which_no_step_can_be_formed_are_refused(samples: int, batch: int) -> None:
    with pytest.raises(SpecError):
        Sampler(samples=samples, global_batch=batch, seed=0)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {
        tuple(Sampler(samples=50, global_batch=50, seed=seed).step_ids(epoch)[1])
        for seed in range(20)
        for epoch in range(20)
    }
    assert len(orders) == 400


def test_every_order_of_four_samples_is_about_equally_frequent() -> None:
    trials = 6000
    counts: dict[tuple[int, ...], int] = {}
    for key in range(trials):
        order = tuple(permute(np.arange(4), size=4, key=key).tolist())
        counts[order] = counts.get(order, 0) + 1
    expected = trials / 24
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    assert len(counts) == 24
    assert chi_square < 70  # 23 degrees of freedom: chance exceeds this once in a million


@pytest.mark.parametrize("size", [13, 64, 100])
def test_a_sample_is_about_equally_likely_at_every_place(size: int) -> None:
    trials = 3000
    counts = np.zeros((size, size))
    for key in range(trials):
        counts[np.arange(size), permute(np.arange(size), size=size, key=key)] += 1
    expected = trials / size
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = (size - 1) ** 2
    assert abs(chi_square - freedom) < 6 * math.sqrt(2 * freedom)


def test_neighbours_are_torn_apart() -> None:
    ids = Sampler(samples=5000, global_batch=5000, seed=1).step_ids(0)[1]
    close = np.mean(np.abs(np.diff(ids)) <= 2)
    assert close < 0.01  # chance: 4 / 5000


def test_a_hundred_million_samples_cost_no_more_memory_than_a_hundred() -> None:
    def peak_bytes(samples: int) -> int:
        sampler = Sampler(samples=samples, global_batch=256, seed=0)
        sampler.step_ids(0)
        tracemalloc.start()
        sampler.step_ids(samples // 256)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_bytes(10**8) < 2 * peak_bytes(10**3) < 10**6


def test_the_order_of_this_version_is_pinned() -> None:
    # Runs of old versions must resume in the same order: change this only with a new schema.
    sampler = Sampler(samples=10, global_batch=10, seed=0)
    assert sampler.step_ids(0)[1].tolist() == PINNED[0]
    assert sampler.step_ids(1)[1].tolist() == PINNED[1]


@given(
    samples=sizes, batch=st.integers(1, 300),
    epochs=st.fractions(min_value=Fraction(1, 1000), max_value=60, max_denominator=1000),
)  # fmt: skip
def test_the_steps_for_some_epochs_are_the_fewest_that_read_them(
    samples: int, batch: int, epochs: Fraction
) -> None:
    sampler = Sampler(samples=samples, global_batch=batch, seed=0)
    assert sampler.steps_for(float(epochs)) == math.ceil(epochs * samples / batch)


@given(samples=sizes, batch=st.integers(1, 300), step=st.integers(0, 10_000))
def test_the_steps_for_the_epochs_of_a_step_are_that_step(
    samples: int, batch: int, step: int
) -> None:
    sampler = Sampler(samples=samples, global_batch=batch, seed=0)
    assert sampler.steps_for(sampler.epoch_of(step)) == step


PINNED = ([4, 1, 3, 2, 9, 8, 5, 6, 0, 7], [1, 6, 9, 8, 5, 7, 4, 0, 2, 3])
