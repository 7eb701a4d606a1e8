"""Whether a probability of 0.8 is right eight times in ten."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from visage.errors import DataError
from visage.metrics.classification import wilson_interval

__all__ = ["ReliabilityBin", "expected_calibration_error", "negative_log_likelihood", "reliability"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """The samples whose top probability falls into one interval (low, high]."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean top probability; 0 for an empty bin."""
    accuracy: float
    """Share of right predictions; 0 for an empty bin."""
    accuracy_interval: tuple[float, float]
    """95 % Wilson interval of the accuracy."""


def reliability(probabilities: ArrayLike, truth: ArrayLike, bins: int = 15) -> list[ReliabilityBin]:
    """Split the samples by top probability into `bins` equal intervals of (0, 1].

    Args:
        probabilities: (N, K), rows summing to 1.
        truth: (N,) class indices.
        bins: Number of intervals.

    Raises:
        DataError: shapes do not fit, or rows are not probabilities.
    """
    table, labels = _checked(probabilities, truth)
    if bins < 1:
        raise DataError(f"bins={bins}: at least one is needed")
    top = table.max(axis=1) if len(table) else np.zeros(0)
    right = table.argmax(axis=1) == labels if len(table) else np.zeros(0, bool)
    # bin b holds (b / bins, (b + 1) / bins]; rounding may push a certainty just over 1
    index = np.clip(np.ceil(top * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    hits = np.bincount(index, weights=right, minlength=bins)
    mass = np.bincount(index, weights=top, minlength=bins)
    filled = np.maximum(1, counts)
    return [
        ReliabilityBin(
            low=b / bins,
            high=(b + 1) / bins,
            count=int(counts[b]),
            confidence=float(mass[b] / filled[b]),
            accuracy=float(hits[b] / filled[b]),
            accuracy_interval=wilson_interval(int(hits[b]), int(counts[b])),
        )
        for b in range(bins)
    ]


def expected_calibration_error(probabilities: ArrayLike, truth: ArrayLike, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over the bins, weighted by count; in [0, 1]."""
    parts = reliability(probabilities, truth, bins)
    total = max(1, sum(part.count for part in parts))
    return sum(part.count * abs(part.confidence - part.accuracy) for part in parts) / total


def negative_log_likelihood(probabilities: ArrayLike, truth: ArrayLike) -> float:
    """Mean -ln p of the true class, p held above 1e-12; 0 without samples."""
    table, labels = _checked(probabilities, truth)
    if not len(table):
        return 0.0
    chosen = table[np.arange(len(table)), labels]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def _checked(
    probabilities: ArrayLike, truth: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    table = np.asarray(probabilities, dtype=np.float64)
    labels = np.asarray(truth)
    if labels.size == 0 and table.size == 0:
        return np.zeros((0, 1)), np.zeros(0, np.int64)
    if table.ndim != 2 or labels.shape != (len(table),) or labels.dtype.kind not in "iu":
        raise DataError(
            f"probabilities {table.shape} and truth {labels.dtype} {labels.shape}: "
            "need (N, K) and integers (N,)"
        )
    if not np.isfinite(table).all() or (table < 0).any() or abs(table.sum(1) - 1).max() > 1e-3:
        raise DataError("probabilities: every row must be finite, not negative, and sum to 1")
    if labels.min() < 0 or labels.max() >= table.shape[1]:
        raise DataError(f"truth: a label is outside 0 … {table.shape[1] - 1}")
    return table, labels.astype(np.int64)
