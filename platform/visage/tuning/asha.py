"""Asynchronous successive halving in its stopping form: which trials are not worth their budget.

Invariant: a decision is a function of what was seen before it, in the order of the journal; the
best trial at a rung never stops there.
"""

from __future__ import annotations

from collections.abc import Sequence

from visage.specs.tune import AshaSpec

__all__ = ["is_kept", "rungs"]


def rungs(spec: AshaSpec, epochs: float) -> tuple[float, ...]:
    """Epochs at which trials are compared, all before the end of the budget."""
    levels: list[float] = []
    level = spec.grace_epochs
    while level < epochs:
        levels.append(level)
        level *= spec.reduction
    return tuple(levels)


def is_kept(goodness: float, others: Sequence[float], *, reduction: int) -> bool:
    """Whether a trial goes on past a rung that `others` reached before it; larger is better."""
    better = sum(one > goodness for one in others)
    return better < max(1.0, (len(others) + 1) / reduction)
