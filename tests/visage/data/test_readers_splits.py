"""Splits by group: nothing straddles, nothing is lost, the same everywhere."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visage.data.readers import carve_validation, split_groups
from visage.data.records import Corpus, Record
from visage.errors import DataError, SpecError
from visage.specs.emotion import EMOTIONS

seeds = st.integers(0, 2**31)
fractions = st.floats(0.05, 0.4)


def corpus_of(groups: list[tuple[str, str]], *, test: int = 2) -> Corpus:
    """Train records of the given (group, label) pairs, and a few of test."""
    records = [
        Record(key=f"{at:05d}", path="x", kind="image", label=label, split="train", group=group)
        for at, (group, label) in enumerate(groups)
    ]
    records += [
        Record(key=f"test{at}", path="x", kind="image", label="Happy", split="test")
        for at in range(test)
    ]
    return Corpus(
        root="somewhere",
        layout="folders",
        classes=EMOTIONS,
        records=tuple(records),
        notes=("there is no val split",),
    )


@given(count=st.integers(1, 60), val=fractions, test=fractions, seed=seeds)
def test_every_group_has_one_split_and_train_is_never_empty(
    count: int, val: float, test: float, seed: int
) -> None:
    groups = [f"actor-{number}" for number in range(count)]

    splits = split_groups(groups, val_fraction=val, test_fraction=test, seed=seed)

    counts = Counter(splits.values())
    assert set(splits) == set(groups)
    assert counts["train"] >= 1
    assert counts["test"] >= min(1, count - 1)
    assert counts["val"] >= min(1, max(0, count - 2))


@given(count=st.integers(3, 40), seed=seeds)
def test_the_order_and_repetition_of_groups_do_not_matter(count: int, seed: int) -> None:
    groups = [f"g{number}" for number in range(count)]

    first = split_groups(groups, val_fraction=0.1, test_fraction=0.2, seed=seed)
    second = split_groups(groups[::-1] * 3, val_fraction=0.1, test_fraction=0.2, seed=seed)

    assert first == second


def test_a_fraction_of_nothing_gives_no_such_split() -> None:
    splits = split_groups(list("abcdef"), val_fraction=0, test_fraction=0, seed=0)

    assert set(splits.values()) == {"train"}


group_lists = st.lists(
    st.tuples(st.integers(0, 12).map(lambda n: f"g{n}"), st.sampled_from(EMOTIONS)),
    min_size=2,
    max_size=80,
).filter(lambda pairs: len({group for group, _ in pairs}) > 1)


@given(pairs=group_lists, fraction=fractions, seed=seeds)
def test_carving_moves_whole_groups_and_loses_nothing(
    pairs: list[tuple[str, str]], fraction: float, seed: int
) -> None:
    before = corpus_of(pairs)

    after = carve_validation(before, fraction, seed)

    splits_of: dict[str, set[str]] = defaultdict(set)
    for record in after.records:
        splits_of[record.group or record.key].add(record.split)
    assert all(len(splits) == 1 for splits in splits_of.values())
    assert [record.key for record in after.records] == [record.key for record in before.records]
    counts = Counter(record.split for record in after.records)
    assert counts["val"] > 0
    assert counts["train"] > 0
    assert counts["test"] == 2


def test_carving_takes_its_share_of_every_class() -> None:
    pairs = [(f"{label}{number}", label) for label in EMOTIONS for number in range(50)]

    after = carve_validation(corpus_of(pairs), 0.1, 0)

    val = Counter(record.label for record in after.records if record.split == "val")
    assert val == dict.fromkeys(EMOTIONS, 5)
    assert "there is no val split" not in after.notes


def test_records_without_a_group_are_their_own() -> None:
    after = carve_validation(corpus_of([("", "Happy")] * 20), 0.25, 0)

    assert Counter(record.split for record in after.records)["val"] == 5


def test_carving_is_a_function_of_the_seed() -> None:
    corpus = corpus_of([(f"g{number}", "Happy") for number in range(50)])

    assert carve_validation(corpus, 0.2, 3) == carve_validation(corpus, 0.2, 3)
    assert carve_validation(corpus, 0.2, 3).records != carve_validation(corpus, 0.2, 4).records


def test_a_train_split_of_one_group_is_not_carved() -> None:
    with pytest.raises(DataError, match="would leak"):
        carve_validation(corpus_of([("only", "Happy")] * 9), 0.1, 0)


def test_an_existing_val_split_is_kept() -> None:
    corpus = carve_validation(corpus_of([("a", "Happy"), ("b", "Happy")]), 0.5, 0)

    with pytest.raises(DataError, match="val split already"):
        carve_validation(corpus, 0.5, 0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5])
def test_a_fraction_outside_of_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(SpecError, match="between 0 and 1"):
        carve_validation(corpus_of([("a", "Happy"), ("b", "Happy")]), fraction, 0)
