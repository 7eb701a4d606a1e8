"""Promotion gates: what a model must show before an alias may point to it, as pure functions.

Every gate measures one thing, states what is required, and says in one sentence why it passed or
not. A gate that cannot be measured fails: what nobody looked at is not good.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import Field

from visage.metrics.classification import wilson_interval
from visage.metrics.significance import bootstrap_difference, mcnemar
from visage.specs.base import Spec
from visage.tracking.evaluation import Evaluation, PairedAnswers

__all__ = [
    "GatePolicy",
    "GateResult",
    "accuracy_gate",
    "all_passed",
    "champion_gate",
    "latency_gate",
    "measure_latency_ms",
    "recall_gate",
    "size_gate",
]


class GatePolicy(Spec):
    """What is required of a model that is to be promoted."""

    accuracy_floor: float = Field(0.5, ge=0.0, le=1.0)
    """The lower end of the accuracy's interval must reach this."""
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    """Confidence of every interval."""
    champion_margin: float = Field(0.01, ge=0.0, le=1.0)
    """Accuracy a model may lose against the champion, shown with that confidence."""
    recall_floor: float = Field(0.2, ge=0.0, le=1.0)
    """Every class present must be found at least this often."""
    latency_ms: float = Field(100.0, gt=0.0)
    """Most milliseconds for one picture, median, one caller."""
    size_mib: float = Field(250.0, gt=0.0)
    """Most MiB of weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """What one gate found."""

    name: str
    passed: bool
    measured: float | None
    """None if it could not be measured."""
    required: float
    sentence: str
    """For people: what was measured, on what, and what to do about a failure."""


def accuracy_gate(evaluation: Evaluation, policy: GatePolicy) -> GateResult:
    """The lower Wilson bound of the accuracy reaches the floor."""
    low, high = wilson_interval(evaluation.correct, evaluation.rows, policy.confidence)
    passed = evaluation.rows > 0 and low >= policy.accuracy_floor
    advice = (
        "" if passed else "; train longer, or evaluate on more pictures if the interval is wide"
    )
    return GateResult(
        name="accuracy",
        passed=passed,
        measured=low,
        required=policy.accuracy_floor,
        sentence=(
            f"{evaluation.accuracy:.1%} of {evaluation.rows} pictures "
            f"({policy.confidence:.0%} interval {low:.1%} to {high:.1%}){advice}"
        ),
    )


def champion_gate(
    candidate: Evaluation, champion: Evaluation | None, policy: GatePolicy, *, has_champion: bool
) -> GateResult:
    """Not worse than the champion: paired where both answered the same pictures, else by intervals.

    Passes if the candidate is at least as accurate, or if its loss stays within the margin with the
    policy's confidence. Without predictions of both, overlapping intervals pass.
    """
    if not has_champion:
        return _champion_result(True, None, policy, "there is no champion to compare with yet")
    if champion is None:
        return _champion_result(
            False, None, policy, "the champion has no evaluation; run `visage evaluate` on it"
        )
    if candidate.model_digest == champion.model_digest:
        return _champion_result(True, 0.0, policy, "it is the champion")
    if (candidate.data_digest, candidate.split) != (champion.data_digest, champion.split):
        return _champion_result(
            False,
            None,
            policy,
            f"the champion was evaluated on other data ({champion.split} of "
            f"{champion.data_digest[:12]}…); evaluate it on {candidate.data_digest[:12]}…",
        )
    pairs = candidate.paired_with(champion)
    if pairs is None:
        return _by_intervals(candidate, champion, policy)
    return _by_pairs(pairs, policy)


def recall_gate(evaluation: Evaluation, policy: GatePolicy) -> GateResult:
    """Every class that occurs in the split is found often enough."""
    present = [result for result in evaluation.per_class if result.support > 0]
    if not present:
        return GateResult(
            name="per-class recall",
            passed=False,
            measured=None,
            required=policy.recall_floor,
            sentence="the evaluation holds no class with a single picture",
        )
    weakest = min(present, key=lambda result: result.recall)
    below = [result.name for result in present if result.recall < policy.recall_floor]
    advice = f"; too rarely found: {', '.join(below)}" if below else ""
    return GateResult(
        name="per-class recall",
        passed=not below,
        measured=weakest.recall,
        required=policy.recall_floor,
        sentence=(
            f"weakest is {weakest.name}, {weakest.recall:.1%} of {weakest.support} found{advice}"
        ),
    )


def latency_gate(latency_ms: float | None, policy: GatePolicy) -> GateResult:
    """One picture is answered fast enough on this machine; None means nobody measured."""
    passed = latency_ms is not None and latency_ms <= policy.latency_ms
    if latency_ms is None:
        sentence = "not measured"
    else:
        advice = "" if passed else "; use a smaller backbone, or measure on the serving machine"
        sentence = f"{latency_ms:.1f} ms a picture, median, on this machine{advice}"
    return GateResult(
        name="latency",
        passed=passed,
        measured=latency_ms,
        required=policy.latency_ms,
        sentence=sentence,
    )


def size_gate(size_bytes: int, policy: GatePolicy) -> GateResult:
    """The weights are small enough to be fetched by every replica."""
    size_mib = size_bytes / 2**20
    passed = size_mib <= policy.size_mib
    return GateResult(
        name="size",
        passed=passed,
        measured=size_mib,
        required=policy.size_mib,
        sentence=f"{size_mib:.1f} MiB of weights{'' if passed else '; too large'}",
    )


def measure_latency_ms(
    answer: Callable[[], object],
    *,
    repeats: int = 20,
    warm_up: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Median milliseconds of one call, after `warm_up` calls that are not counted."""
    for _ in range(warm_up):
        answer()
    spent = []
    for _ in range(repeats):
        start = clock()
        answer()
        spent.append((clock() - start) * 1000)
    return statistics.median(spent)


def all_passed(results: Sequence[GateResult]) -> bool:
    """Whether every gate passed; no gates is no pass."""
    return bool(results) and all(result.passed for result in results)


def _by_pairs(pairs: PairedAnswers, policy: GatePolicy) -> GateResult:
    if not len(pairs.candidate):
        return _champion_result(False, None, policy, "the evaluations hold no pictures")
    found = bootstrap_difference(pairs.candidate, pairs.champion, confidence=policy.confidence)
    test = mcnemar(pairs.candidate, pairs.champion)
    passed = found.difference >= 0 or found.low >= -policy.champion_margin
    allowed = f"{policy.champion_margin * 100:g} points"
    advice = "" if passed else f"; it may lose more than the {allowed} allowed"
    return _champion_result(
        passed,
        found.difference,
        policy,
        f"{found.difference * 100:+.1f} points on the same {test.pairs} pictures "
        f"({policy.confidence:.0%} interval {found.low * 100:+.1f} to {found.high * 100:+.1f}, "
        f"McNemar p = {test.p_value:.2g}){advice}",
    )


def _by_intervals(candidate: Evaluation, champion: Evaluation, policy: GatePolicy) -> GateResult:
    mine = wilson_interval(candidate.correct, candidate.rows, policy.confidence)
    theirs = wilson_interval(champion.correct, champion.rows, policy.confidence)
    difference = candidate.accuracy - champion.accuracy
    passed = difference >= 0 or mine[1] >= theirs[0]
    return _champion_result(
        passed,
        difference,
        policy,
        f"{difference * 100:+.1f} points; without predictions of both only the intervals "
        f"{mine[0]:.1%} to {mine[1]:.1%} and {theirs[0]:.1%} to {theirs[1]:.1%} are compared",
    )


def _champion_result(
    passed: bool, measured: float | None, policy: GatePolicy, sentence: str
) -> GateResult:
    return GateResult(
        name="champion",
        passed=passed,
        measured=measured,
        required=-policy.champion_margin,
        sentence=sentence,
    )
