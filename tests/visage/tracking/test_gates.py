from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_evaluations import MakeEvaluation

from visage.errors import SpecError
from visage.tracking.gates import (
    GatePolicy,
    accuracy_gate,
    all_passed,
    champion_gate,
    latency_gate,
    measure_latency_ms,
    recall_gate,
    size_gate,
)

TRUTH = [0, 1, 2] * 40


def answers(right: int) -> list[int]:
    """Predictions of which the first `right` are correct."""
    return [t if at < right else (t + 1) % 3 for at, t in enumerate(TRUTH)]


@pytest.mark.parametrize(("right", "floor", "passes"), [(108, 0.8, True), (108, 0.9, False)])
def test_accuracy_is_judged_by_the_lower_end_of_its_interval(
    make_evaluation: MakeEvaluation, right: int, floor: float, passes: bool
) -> None:
    evaluation = make_evaluation(TRUTH, answers(right))
    assert evaluation.accuracy == 0.9
    result = accuracy_gate(evaluation, GatePolicy(accuracy_floor=floor))
    assert result.passed is passes
    assert result.measured is not None
    assert result.measured < evaluation.accuracy


def test_few_pictures_do_not_prove_what_many_do(make_evaluation: MakeEvaluation) -> None:
    policy = GatePolicy(accuracy_floor=0.8)
    few = make_evaluation(TRUTH[:12], TRUTH[:12], name="few")
    many = make_evaluation(TRUTH, TRUTH, name="many")
    assert not accuracy_gate(few, policy).passed
    assert accuracy_gate(many, policy).passed


def test_an_evaluation_without_pictures_passes_nothing(make_evaluation: MakeEvaluation) -> None:
    empty = make_evaluation([], [])
    other = make_evaluation([], [], name="other", model_digest="o" * 64)
    policy = GatePolicy(accuracy_floor=0.0)
    assert not accuracy_gate(empty, policy).passed
    assert not recall_gate(empty, policy).passed
    assert not champion_gate(empty, other, policy, has_champion=True).passed


def test_the_first_model_has_no_champion_to_beat(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(TRUTH, TRUTH)
    assert champion_gate(evaluation, None, GatePolicy(), has_champion=False).passed


def test_a_champion_nobody_evaluated_cannot_be_replaced_unseen(
    make_evaluation: MakeEvaluation,
) -> None:
    result = champion_gate(make_evaluation(TRUTH, TRUTH), None, GatePolicy(), has_champion=True)
    assert not result.passed
    assert "visage evaluate" in result.sentence


@pytest.mark.parametrize("change", [{"data_digest": "x" * 64}, {"split": "val"}])
def test_scores_on_other_data_are_not_compared(
    make_evaluation: MakeEvaluation, change: dict[str, str]
) -> None:
    mine = make_evaluation(TRUTH, TRUTH, name="mine")
    theirs = make_evaluation(TRUTH, answers(10), name="theirs", model_digest="c" * 64, **change)
    result = champion_gate(mine, theirs, GatePolicy(), has_champion=True)
    assert not result.passed
    assert "other data" in result.sentence


@pytest.mark.parametrize("with_predictions", [True, False])
def test_a_much_worse_model_is_stopped_and_a_better_one_is_not(
    make_evaluation: MakeEvaluation, with_predictions: bool
) -> None:
    good = make_evaluation(TRUTH, answers(110), name="g", with_predictions=with_predictions)
    bad = make_evaluation(
        TRUTH, answers(60), name="b", model_digest="b" * 64, with_predictions=with_predictions
    )
    assert champion_gate(good, bad, GatePolicy(), has_champion=True).passed
    assert not champion_gate(bad, good, GatePolicy(), has_champion=True).passed


def test_a_small_loss_passes_only_within_the_margin_and_only_if_it_is_shown(
    make_evaluation: MakeEvaluation,
) -> None:
    champion = make_evaluation(TRUTH, answers(100), name="c", model_digest="c" * 64)
    slightly = make_evaluation(TRUTH, answers(99), name="s")
    wide, narrow = GatePolicy(champion_margin=0.05), GatePolicy(champion_margin=0.005)
    assert champion_gate(slightly, champion, wide, has_champion=True).passed
    assert not champion_gate(slightly, champion, narrow, has_champion=True).passed


def test_the_same_model_is_as_good_as_itself(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(TRUTH, answers(50))
    policy = GatePolicy(champion_margin=0.0)
    assert champion_gate(evaluation, evaluation, policy, has_champion=True).passed


def test_one_class_that_is_never_found_stops_the_model_and_is_named(
    make_evaluation: MakeEvaluation,
) -> None:
    evaluation = make_evaluation(TRUTH, [0 if t == 2 else t for t in TRUTH])
    result = recall_gate(evaluation, GatePolicy(recall_floor=0.1))
    assert not result.passed
    assert "Sad" in result.sentence


def test_a_class_that_does_not_occur_is_not_asked_for(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation([0, 1] * 20, [0, 1] * 20)
    assert recall_gate(evaluation, GatePolicy(recall_floor=1.0)).passed


@given(st.floats(0.01, 1e6), st.floats(0.01, 1e6))
def test_latency_passes_exactly_up_to_the_limit(measured: float, limit: float) -> None:
    assert latency_gate(measured, GatePolicy(latency_ms=limit)).passed is (measured <= limit)


def test_what_was_not_measured_does_not_pass() -> None:
    assert not latency_gate(None, GatePolicy()).passed
    assert not all_passed([])


def test_size_is_judged_in_mib() -> None:
    policy = GatePolicy(size_mib=1.0)
    assert size_gate(2**20, policy).passed
    assert not size_gate(2**20 + 1, policy).passed


def test_latency_is_the_median_of_the_calls_after_warming_up() -> None:
    calls = iter([9.0] * 3 + [0.001, 0.003, 0.5])
    now_s = 0.0

    def answer() -> None:
        nonlocal now_s
        now_s += next(calls)

    assert measure_latency_ms(answer, repeats=3, clock=lambda: now_s) == pytest.approx(3.0)


def test_a_misspelt_limit_is_refused() -> None:
    with pytest.raises(SpecError, match="no such key"):
        GatePolicy.load(assignments=["acuracy_floor=0.5"])


def test_a_small_loss_amid_much_disagreement_is_not_proof_and_a_small_gain_needs_none(
    make_evaluation: MakeEvaluation,
) -> None:
    last = [t if at >= 61 else (t + 1) % 3 for at, t in enumerate(TRUTH)]  # right on the last 59
    first_half = make_evaluation(TRUTH, answers(60), name="f")
    second_half = make_evaluation(TRUTH, last, name="s", model_digest="s" * 64)
    policy = GatePolicy(champion_margin=0.05)
    assert not champion_gate(second_half, first_half, policy, has_champion=True).passed
    assert champion_gate(first_half, second_half, policy, has_champion=True).passed
