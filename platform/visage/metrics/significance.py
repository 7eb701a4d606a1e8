"""Is one model better than another on the same samples, or was it luck?

McNemar compares two models' right and wrong answers, Stuart-Maxwell all their answers, and the
bootstrap gives the difference of their accuracies an interval. All need the samples paired.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from visage.errors import DataError
from visage.metrics.classification import Confusion
from visage.seeds import rng_of

__all__ = [
    "AccuracyDifference",
    "PairedTest",
    "bootstrap_difference",
    "chi_square_tail",
    "mcnemar",
    "stuart_maxwell",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTest:
    """The outcome of a test of "there is no difference"."""

    name: str
    statistic: float
    p_value: float
    """Probability of a difference at least this large if there is none."""
    degrees_of_freedom: int
    """Of the chi-square statistic; 0 for exact tests."""
    pairs: int
    """Samples compared."""

    def is_significant(self, level: float = 0.05) -> bool:
        """Whether the difference is unlikely to be luck."""
        return self.p_value < level


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyDifference:
    """Accuracy of a minus accuracy of b, with a percentile bootstrap interval."""

    difference: float
    low: float
    high: float
    confidence: float
    resamples: int


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> PairedTest:
    """Exact two-sided McNemar test.

    Only the samples that exactly one model got right count; if there is no difference, each of
    them is a coin toss. The statistic is the smaller of the two counts.

    Args:
        correct_a: (N,) booleans, whether model a was right.
        correct_b: (N,) booleans of model b on the same samples.
    """
    a, b = _paired(correct_a, correct_b)
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    smaller = min(only_a, only_b)
    return PairedTest(
        name="mcnemar-exact",
        statistic=float(smaller),
        p_value=min(1.0, 2.0 * _coin_tail(smaller, only_a + only_b)),
        degrees_of_freedom=0,
        pairs=len(a),
    )


def stuart_maxwell(table: Confusion) -> PairedTest:
    """Stuart-Maxwell test of marginal homogeneity: do two raters use the classes equally often?

    Args:
        table: (K, K) counts, rows one model's predictions, columns the other's; not the truth.
            Build it with `confusion_matrix(predicted_a, predicted_b, classes)`.

    A class on which the two never disagree says nothing and is left out, together with its degree
    of freedom; groups of classes that only exchange among themselves are handled by rank.
    """
    counts = np.asarray(table, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or (counts < 0).any():
        raise DataError(f"stuart_maxwell: need square counts (K, K), not {counts.shape}")
    off = counts - np.diag(np.diag(counts))
    difference = off.sum(axis=1) - off.sum(axis=0)
    # covariance of the differences if the margins are equal; its rows sum to 0
    covariance = np.diag(off.sum(axis=1) + off.sum(axis=0)) - off - off.T
    strengths, directions = np.linalg.eigh(covariance)
    is_used = strengths > 1e-12 * max(1.0, strengths.max(initial=0.0))
    freedom = int(is_used.sum())
    along = directions.T @ difference
    statistic = float((along[is_used] ** 2 / strengths[is_used]).sum())
    return PairedTest(
        name="stuart-maxwell",
        statistic=statistic,
        p_value=chi_square_tail(statistic, freedom) if freedom else 1.0,
        degrees_of_freedom=freedom,
        pairs=int(counts.sum()),
    )


def bootstrap_difference(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    *,
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> AccuracyDifference:
    """Interval of the accuracy difference by resampling the paired samples.

    Resampling N pairs only moves how many favour a, b or neither, so each resample is one
    multinomial draw: exact, and independent of N in cost.
    """
    a, b = _paired(correct_a, correct_b)
    if not len(a):
        raise DataError("bootstrap_difference: there are no samples")
    if resamples < 1 or not 0.0 < confidence < 1.0:
        raise DataError(f"bootstrap_difference: resamples={resamples}, confidence={confidence}")
    shares = np.array([(a & ~b).mean(), (~a & b).mean()])
    draws = rng_of(seed, "bootstrap").multinomial(
        len(a), [*shares, max(0.0, 1.0 - shares.sum())], size=resamples
    )
    differences = (draws[:, 0] - draws[:, 1]) / len(a)
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1.0 - tail])
    return AccuracyDifference(
        difference=float(shares[0] - shares[1]),
        low=float(low),
        high=float(high),
        confidence=confidence,
        resamples=resamples,
    )


def chi_square_tail(statistic: float, degrees_of_freedom: int) -> float:
    """P(X > statistic) for a chi-square variable with whole degrees of freedom.

    The closed forms for 1 and 2 degrees, then one term more for every further two.
    """
    if degrees_of_freedom < 1:
        raise DataError(f"chi_square_tail: {degrees_of_freedom} degrees of freedom")
    if statistic <= 0.0:
        return 1.0
    half = statistic / 2.0
    shape = 0.5 if degrees_of_freedom % 2 else 1.0
    tail = math.erfc(math.sqrt(half)) if degrees_of_freedom % 2 else math.exp(-half)
    while shape < degrees_of_freedom / 2:
        tail += math.exp(shape * math.log(half) - half - math.lgamma(shape + 1.0))
        shape += 1.0
    return min(1.0, tail)


def _coin_tail(heads: int, tosses: int) -> float:
    """P(at most `heads` heads in `tosses` fair tosses), summed in logarithms."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, tosses + 1)))])
    k = np.arange(heads + 1)
    terms = logs[tosses] - logs[k] - logs[tosses - k] - tosses * math.log(2.0)
    return float(np.exp(terms).sum())


def _paired(
    correct_a: ArrayLike, correct_b: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.ndim != 1 or a.shape != b.shape:
        raise DataError(f"answers {a.shape} and {b.shape} do not pair up; need (N,) twice")
    return a, b
