"""The spec of a search says in a sentence what is wrong with it."""

from __future__ import annotations

import pytest

from visage.errors import SpecError
from visage.specs.tune import TuneSpec

GOOD = {"optimizer.lr": {"log_uniform": [1e-4, 1e-1]}}


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({}, "at least 1"),
        ({"optimizer.lr": {}}, "give one of"),
        ({"optimizer.lr": {"uniform": [0, 1], "choice": [1]}}, "give one of"),
        ({"optimizer.lr": {"log_uniform": [0.0, 1.0]}}, "above 0"),
        ({"optimizer.lr": {"uniform": [2.0, 1.0]}}, "must lie below"),
        ({"model.mask": {"choice": ["black", "black"]}}, "listed twice"),
        ({"epochs": {"uniform": [1, 2]}}, "budget of every trial"),
        ({"optimizer.lr": {"normal": [0, 1]}}, "no such key"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused_with_the_reason(
    space: dict[str, object], told: str
) -> None:
    with pytest.raises(SpecError, match=told):
        TuneSpec.parse({"space": space})


def test_a_smaller_loss_and_a_larger_accuracy_are_better_and_nan_is_the_worst() -> None:
    loss = TuneSpec.parse({"space": GOOD, "metric": "val/loss"})
    accuracy = TuneSpec.parse({"space": GOOD})
    assert loss.goodness(0.1) > loss.goodness(0.2) > loss.goodness(float("nan"))
    assert accuracy.goodness(0.2) > accuracy.goodness(0.1) > accuracy.goodness(float("nan"))


def test_size_and_pace_may_change_while_a_search_is_continued_and_nothing_else() -> None:
    first = TuneSpec.parse({"space": GOOD})
    assert first.identity() == TuneSpec.parse({"space": GOOD, "trials": 99}).identity()
    assert first.identity() == TuneSpec.parse({"space": GOOD, "max_concurrent": 1}).identity()
    for other in ({"seed": 1}, {"epochs": 3.0}, {"searcher": "random"}, {"asha": None}):
        assert first.identity() != TuneSpec.parse({"space": GOOD, **other}).identity()
