"""Promises of the confusion matrix and everything computed from it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visage.errors import DataError
from visage.metrics.classification import (
    accuracy,
    confusion_matrix,
    macro_f1,
    per_class,
    wilson_interval,
)

K = 4
pairs = st.lists(st.tuples(st.integers(0, K - 1), st.integers(0, K - 1)), max_size=60)


def _matrix(answers: list[tuple[int, int]]) -> np.ndarray:
    truth, predicted = (np.array(column, dtype=int) for column in np.array(answers).T)
    return confusion_matrix(truth, predicted, K)


def test_rows_are_the_truth_and_columns_the_prediction():
    matrix = confusion_matrix([0, 0, 1], [1, 1, 0], ("Anger", "Happy"))
    assert matrix.tolist() == [[0, 2], [1, 0]]
    assert matrix.dtype == np.int64


def test_a_hand_computed_case_has_the_scores_worked_out_on_paper():
    # class 0: 2 of 3 found, 2 of 2 claims right; class 1: 1 of 1 found, 1 of 2 claims right
    matrix = confusion_matrix([0, 0, 0, 1], [0, 0, 1, 1], 2)
    zero, one = per_class(matrix)
    assert (zero.precision, zero.recall, zero.support) == (1.0, pytest.approx(2 / 3), 3)
    assert (one.precision, one.recall, one.f1) == (0.5, 1.0, pytest.approx(2 / 3))
    assert accuracy(matrix) == 0.75
    assert macro_f1(matrix) == pytest.approx((0.8 + 2 / 3) / 2)


def test_macro_f1_leaves_out_classes_that_the_truth_never_names():
    matrix = confusion_matrix([0, 1], [0, 1], 3)
    assert macro_f1(matrix) == 1.0
    assert macro_f1(matrix, present_only=False) == pytest.approx(2 / 3)


def test_claiming_an_absent_class_still_costs_the_present_ones():
    assert macro_f1(confusion_matrix([0, 1], [0, 2], 3)) == 0.5


@given(pairs.filter(bool), st.randoms(use_true_random=False))
def test_the_order_of_the_samples_does_not_matter(answers, random):
    shuffled = random.sample(answers, len(answers))
    assert np.array_equal(_matrix(answers), _matrix(shuffled))


@given(pairs.filter(bool), st.permutations(range(K)))
def test_renaming_the_classes_renames_the_scores_and_changes_none(answers, names):
    before = _matrix(answers)
    after = _matrix([(names[t], names[p]) for t, p in answers])
    assert accuracy(after) == accuracy(before)
    assert macro_f1(after) == pytest.approx(macro_f1(before))
    assert [per_class(after)[names[k]] for k in range(K)] == per_class(before)


@given(pairs.filter(bool), pairs.filter(bool))
def test_matrices_of_two_halves_add_up_to_the_matrix_of_the_whole(left, right):
    assert np.array_equal(_matrix(left) + _matrix(right), _matrix(left + right))


@given(pairs.filter(bool))
def test_all_scores_lie_between_zero_and_one(answers):
    matrix = _matrix(answers)
    scores = [accuracy(matrix), macro_f1(matrix), macro_f1(matrix, present_only=False)]
    for entry in per_class(matrix):
        scores += [entry.precision, entry.recall, entry.f1, *entry.recall_interval]
        low, high = entry.recall_interval
        assert low <= entry.recall <= high or entry.support == 0
    assert all(0.0 <= score <= 1.0 for score in scores)


def test_no_samples_give_zeros_and_no_division_error():
    matrix = confusion_matrix([], [], 3)
    assert matrix.shape == (3, 3)
    assert (accuracy(matrix), macro_f1(matrix)) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("truth", "predicted"), [([0, 3], [0, 1]), ([0, -1], [0, 1]), ([0], [0, 1]), ([0.5], [0])]
)
def test_labels_that_are_no_class_are_refused(truth, predicted):
    with pytest.raises(DataError):
        confusion_matrix(truth, predicted, 3)


@pytest.mark.parametrize(
    ("successes", "trials", "expected"),
    [  # published worked values of the score interval
        (0, 10, (0.0, 0.2775)),
        (10, 10, (0.7225, 1.0)),
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_gives_the_published_intervals(successes, trials, expected):
    assert wilson_interval(successes, trials) == pytest.approx(expected, abs=5e-5)


@given(st.integers(0, 200), st.integers(1, 200), st.floats(0.5, 0.99))
def test_wilson_contains_the_estimate_shrinks_with_trials_and_mirrors(part, rest, confidence):
    trials = part + rest
    low, high = wilson_interval(part, trials, confidence)
    assert 0.0 <= low <= part / trials <= high <= 1.0
    narrow = wilson_interval(part * 4, trials * 4, confidence)
    assert narrow[1] - narrow[0] < high - low
    assert wilson_interval(rest, trials, confidence) == pytest.approx((1 - high, 1 - low))


def test_wilson_without_trials_knows_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("successes", "trials", "confidence"), [(3, 2, 0.9), (-1, 2, 0.9), (1, 2, 1)]
)
def test_wilson_refuses_impossible_counts(successes, trials, confidence):
    with pytest.raises(DataError):
        wilson_interval(successes, trials, confidence)
