"""Promises of the reliability bins and the calibration error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from visage.errors import DataError
from visage.metrics.calibration import (
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)

raw_tables = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 40), st.just(3)), elements=st.floats(0.01, 1)
)


def _normal(raw: np.ndarray) -> np.ndarray:
    return raw / raw.sum(axis=1, keepdims=True)


def test_a_hand_computed_case_has_the_error_worked_out_on_paper():
    # two samples at 0.9, one right: gap 0.4; two at 0.6, both right: gap 0.4
    table = [[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]]
    assert expected_calibration_error(table, [0, 1, 0, 0], bins=10) == pytest.approx(0.4)


def test_certainty_that_is_always_right_has_no_error_and_always_wrong_has_all_of_it():
    table = np.eye(3)
    assert expected_calibration_error(table, [0, 1, 2]) == 0.0
    assert expected_calibration_error(table, [1, 2, 0]) == 1.0


def test_right_as_often_as_said_means_calibrated():
    table = np.tile([0.75, 0.25], (4, 1))
    assert expected_calibration_error(table, [0, 0, 0, 1]) == pytest.approx(0.0)


@given(raw_tables, st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_bins_cover_every_sample_once_and_the_error_stays_in_bounds(raw, bins, seed):
    table = _normal(raw)
    truth = np.random.default_rng(seed).integers(0, 3, len(table))
    parts = reliability(table, truth, bins)
    assert sum(part.count for part in parts) == len(table)
    assert [part.low for part in parts][1:] == [part.high for part in parts][:-1]
    for part in parts:
        if part.count:
            assert part.low - 1e-9 <= part.confidence <= part.high + 1e-9
            assert part.accuracy_interval[0] <= part.accuracy <= part.accuracy_interval[1]
    assert 0.0 <= expected_calibration_error(table, truth, bins) <= 1.0


@given(raw_tables, st.integers(0, 2**32 - 1))
def test_the_order_of_the_samples_does_not_matter(raw, seed):
    table, rng = _normal(raw), np.random.default_rng(seed)
    truth, order = rng.integers(0, 3, len(table)), rng.permutation(len(table))
    for measure in (expected_calibration_error, negative_log_likelihood):
        assert measure(table[order], truth[order]) == pytest.approx(measure(table, truth))


def test_a_probability_on_the_edge_of_two_bins_belongs_to_the_lower_one():
    assert [part.count for part in reliability([[0.5, 0.5], [1.0, 0.0]], [0, 0], 2)] == [1, 1]


def test_one_bin_is_the_gap_between_mean_confidence_and_accuracy():
    table = np.array([[0.7, 0.3], [0.6, 0.4], [0.2, 0.8]])
    assert expected_calibration_error(table, [0, 1, 1], bins=1) == pytest.approx(abs(0.7 - 2 / 3))


def test_the_likelihood_of_a_coin_is_ln_two_and_of_a_missed_certainty_is_finite():
    assert negative_log_likelihood([[0.5, 0.5]], [1]) == pytest.approx(np.log(2))
    assert np.isfinite(negative_log_likelihood([[1.0, 0.0]], [1]))


def test_no_samples_give_empty_bins_and_no_error():
    assert expected_calibration_error(np.zeros((0, 3)), []) == 0.0
    assert [part.count for part in reliability(np.zeros((0, 3)), [], 5)] == [0] * 5


@pytest.mark.parametrize(
    ("table", "truth"),
    [
        ([[0.5, 0.6]], [0]),  # sums to 1.1
        ([[-0.1, 1.1]], [0]),
        ([[float("nan"), 1.0]], [0]),
        ([[0.5, 0.5]], [2]),
        ([[0.5, 0.5]], [0, 1]),
        ([0.5, 0.5], [0, 1]),
    ],
)
def test_what_is_no_table_of_probabilities_is_refused(table, truth):
    with pytest.raises(DataError):
        expected_calibration_error(table, truth)
