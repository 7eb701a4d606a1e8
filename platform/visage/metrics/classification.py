"""Accuracy, F1 and their intervals, all from one confusion matrix.

A confusion matrix is int64 (K, K): rows are the truth, columns the prediction. Matrices of parts of
a data set add up to the matrix of the whole, so workers can count apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from visage.errors import DataError

__all__ = [
    "ClassScores",
    "Confusion",
    "accuracy",
    "confusion_matrix",
    "macro_f1",
    "per_class",
    "wilson_interval",
]

Confusion = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScores:
    """One class against the rest; a score without a denominator is 0."""

    precision: float
    recall: float
    f1: float
    support: int
    """Samples of this class in the truth."""
    recall_interval: tuple[float, float]
    """95 % Wilson interval of the recall."""


def confusion_matrix(
    truth: ArrayLike, predicted: ArrayLike, classes: int | Sequence[str]
) -> Confusion:
    """Count (truth, prediction) pairs of class indices.

    Args:
        truth: (N,) integers in [0, K).
        predicted: (N,) integers in [0, K).
        classes: K, or the K names.

    Raises:
        DataError: lengths differ, or an index is no class.
    """
    count = classes if isinstance(classes, int) else len(classes)
    true, pred = _indices(truth, count, "truth"), _indices(predicted, count, "predicted")
    if len(true) != len(pred):
        raise DataError(f"{len(true)} true labels and {len(pred)} predictions do not pair up")
    pairs = np.bincount(true * count + pred, minlength=count * count)
    return pairs.reshape(count, count).astype(np.int64)


def accuracy(confusion: Confusion) -> float:
    """Share of the diagonal; 0 for an empty matrix."""
    return float(np.trace(confusion) / max(1, confusion.sum()))


def per_class(confusion: Confusion) -> list[ClassScores]:
    """Precision, recall, F1 and support of every class, in index order."""
    hits = np.diag(confusion)
    support, claimed = confusion.sum(axis=1), confusion.sum(axis=0)
    f1 = 2 * hits / np.maximum(1, support + claimed)
    return [
        ClassScores(
            precision=float(hits[k] / max(1, claimed[k])),
            recall=float(hits[k] / max(1, support[k])),
            f1=float(f1[k]),
            support=int(support[k]),
            recall_interval=wilson_interval(int(hits[k]), int(support[k])),
        )
        for k in range(len(confusion))
    ]


def macro_f1(confusion: Confusion, present_only: bool = True) -> float:
    """Mean F1 over classes.

    With `present_only`, classes without a single true sample are left out (RAVDESS songs know
    neither disgust nor surprise); predictions that claim them still cost the others their recall.
    """
    scores = [s.f1 for s in per_class(confusion) if s.support > 0 or not present_only]
    return float(np.mean(scores)) if scores else 0.0


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion; (0, 1) without trials.

    Unlike the normal approximation it stays inside [0, 1] and is honest for few trials and for
    proportions near 0 and 1.
    """
    if not 0 <= successes <= trials or not 0.0 < confidence < 1.0:
        raise DataError(
            f"{successes} successes of {trials} trials at confidence {confidence}: "
            "need 0 <= successes <= trials and 0 < confidence < 1"
        )
    if trials == 0:
        return 0.0, 1.0
    z2 = NormalDist().inv_cdf(0.5 + confidence / 2) ** 2
    centre = successes + z2 / 2
    spread = math.sqrt(z2 * (successes * (trials - successes) / trials + z2 / 4))
    low, high = (centre - spread) / (trials + z2), (centre + spread) / (trials + z2)
    # at the ends the two terms cancel only up to rounding
    return (0.0 if successes == 0 else low), (1.0 if successes == trials else high)


def _indices(labels: ArrayLike, count: int, name: str) -> NDArray[np.int64]:
    array = np.asarray(labels)
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DataError(f"{name}: labels are integers (N,), not {array.dtype} {array.shape}")
    if array.min() < 0 or array.max() >= count:
        raise DataError(f"{name}: label {array.min()} or {array.max()} is outside 0 … {count - 1}")
    return array.astype(np.int64)
