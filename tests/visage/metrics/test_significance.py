"""Promises of the paired tests, against worked examples and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visage.errors import DataError
from visage.metrics.classification import confusion_matrix
from visage.metrics.significance import (
    bootstrap_difference,
    chi_square_tail,
    mcnemar,
    stuart_maxwell,
)

answers = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80)


def _columns(pairs: list[tuple[bool, bool]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(pairs, dtype=bool)
    return table[:, 0], table[:, 1]


def _discordant(only_a: int, only_b: int) -> tuple[np.ndarray, np.ndarray]:
    both = [(True, True)] * 5 + [(True, False)] * only_a + [(False, True)] * only_b
    return _columns(both)


@pytest.mark.parametrize(
    ("only_a", "only_b"), [(0, 0), (0, 1), (0, 6), (3, 9), (40, 61), (500, 431)]
)
def test_mcnemar_is_the_exact_binomial_test_of_the_disagreements(only_a, only_b):
    stats = pytest.importorskip("scipy.stats")
    outcome = mcnemar(*_discordant(only_a, only_b))
    total = only_a + only_b
    expected = stats.binomtest(only_a, total).pvalue if total else 1.0
    assert outcome.p_value == pytest.approx(expected, rel=1e-9)
    assert outcome.pairs == total + 5


def test_six_wins_to_none_are_significant_and_five_are_not():
    assert mcnemar(*_discordant(6, 0)).p_value == pytest.approx(2 / 64)
    assert mcnemar(*_discordant(6, 0)).is_significant()
    assert not mcnemar(*_discordant(5, 0)).is_significant()


@given(answers)
def test_mcnemar_does_not_care_who_is_called_a_or_about_order(pairs):
    a, b = _columns(pairs)
    forward, backward = mcnemar(a, b), mcnemar(b[::-1], a[::-1])
    assert forward == backward
    assert 0.0 < forward.p_value <= 1.0


def test_mcnemar_of_a_whole_corpus_neither_overflows_nor_loses_its_precision():
    stats = pytest.importorskip("scipy.stats")
    outcome = mcnemar(*_discordant(10_400, 10_000))
    assert outcome.p_value == pytest.approx(stats.binomtest(10_000, 20_400).pvalue, rel=1e-6)


@pytest.mark.parametrize("freedom", range(1, 12))
@pytest.mark.parametrize("statistic", [0.0, 0.01, 1.0, 3.84, 12.0, 80.0])
def test_the_chi_square_tail_is_that_of_scipy(statistic, freedom):
    stats = pytest.importorskip("scipy.stats")
    assert chi_square_tail(statistic, freedom) == pytest.approx(
        float(stats.chi2.sf(statistic, freedom)), rel=1e-9
    )


def test_stuart_maxwell_agrees_with_a_case_worked_by_hand():
    # statistic and p from the 2x2 minor of the covariance; the third class follows
    table = np.array([[20, 10, 5], [3, 30, 15], [0, 5, 40]])
    difference = np.array([12.0, 3.0])  # the third follows from the margins
    covariance = np.array([[35 + 23 - 40, -13], [-13, 48 + 45 - 60]], dtype=float)
    by_hand = float(difference @ np.linalg.inv(covariance) @ difference)
    outcome = stuart_maxwell(table)
    assert outcome.statistic == pytest.approx(by_hand)
    assert outcome.degrees_of_freedom == 2
    assert outcome.p_value == pytest.approx(np.exp(-by_hand / 2))


def test_for_two_classes_stuart_maxwell_is_the_uncorrected_mcnemar_statistic():
    outcome = stuart_maxwell(np.array([[10, 8], [3, 10]]))
    assert outcome.statistic == pytest.approx((8 - 3) ** 2 / (8 + 3))
    assert outcome.degrees_of_freedom == 1


tables = st.lists(st.lists(st.integers(0, 30), min_size=4, max_size=4), min_size=4, max_size=4)


@given(tables, st.permutations(range(4)))
def test_stuart_maxwell_does_not_care_for_class_order_agreement_or_roles(rows, order):
    table = np.array(rows)
    plain = stuart_maxwell(table)
    for other in (table[np.ix_(order, order)], table.T, table + np.diag([7, 0, 3, 1])):
        again = stuart_maxwell(other)
        assert again.statistic == pytest.approx(plain.statistic, abs=1e-7)
        assert again.degrees_of_freedom == plain.degrees_of_freedom
    assert 0.0 <= plain.p_value <= 1.0


@given(tables)
def test_equal_margins_are_no_difference(rows):
    table = np.array(rows)
    outcome = stuart_maxwell(table + table.T)
    assert outcome.statistic == pytest.approx(0.0, abs=1e-9)
    assert outcome.p_value == pytest.approx(1.0)


def test_a_class_without_disagreement_costs_no_degree_of_freedom_and_no_crash():
    table = np.array([[10, 8, 0], [3, 10, 0], [0, 0, 50]])
    assert stuart_maxwell(table).degrees_of_freedom == 1
    assert stuart_maxwell(np.diag([5, 5, 5])).p_value == 1.0
    assert stuart_maxwell(np.zeros((3, 3))).p_value == 1.0


def test_stuart_maxwell_is_rarely_significant_between_two_draws_of_one_distribution():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        a, b = rng.integers(0, 7, 400), rng.integers(0, 7, 400)
        hits += stuart_maxwell(confusion_matrix(a, b, 7)).is_significant()
    assert 4 <= hits <= 29  # 15 expected; within four standard deviations


@given(answers, st.integers(0, 1000))
def test_the_bootstrap_interval_contains_the_difference_and_depends_only_on_the_seed(pairs, seed):
    a, b = _columns(pairs)
    found = bootstrap_difference(a, b, seed=seed, resamples=400)
    assert found == bootstrap_difference(a[::-1], b[::-1], seed=seed, resamples=400)
    assert found.difference == pytest.approx(a.mean() - b.mean())
    assert -1.0 <= found.low <= found.difference + 1e-9
    assert found.difference - 1e-9 <= found.high <= 1.0


def test_the_bootstrap_interval_has_the_width_that_theory_gives():
    rng = np.random.default_rng(1)
    a, b = rng.random(5000) < 0.8, rng.random(5000) < 0.7
    found = bootstrap_difference(a, b, resamples=4000)
    spread = (a.astype(float) - b).std() / np.sqrt(5000)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * spread, rel=0.06)


def test_the_same_answers_differ_by_nothing():
    a = np.array([True, False, True])
    found = bootstrap_difference(a, a)
    assert (found.difference, found.low, found.high) == (0.0, 0.0, 0.0)


def test_answers_that_do_not_pair_up_are_refused():
    with pytest.raises(DataError):
        mcnemar([True, False], [True])
    with pytest.raises(DataError):
        bootstrap_difference([], [])
    with pytest.raises(DataError):
        stuart_maxwell(np.ones((2, 3)))
