"""Sides that are compared take turns: A B A B …, so that what disturbs one disturbs the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

__all__ = ["seconds", "take_turns"]


def take_turns(sides: Mapping[str, Callable[[], float]], turns: int) -> dict[str, list[float]]:
    """What each side gave, by turn."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, side in sides.items():
            found[name].append(side())
    return found


def seconds(work: Callable[[], object]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
