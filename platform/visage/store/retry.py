"""One way to try again: exponential waits with jitter, bounded in time, counted, a log line each.

Clock, sleep and randomness are parameters, so that tests neither wait nor guess.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from visage.errors import StoreUnavailableError

__all__ = ["RetryBudget", "TransientError", "retries_so_far", "with_retries"]

log = logging.getLogger(__name__)
T = TypeVar("T")


class TransientError(Exception):
    """Raised inside a retried call for a failure that may pass by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """How long to insist."""

    tries: int = 32
    first_wait_s: float = 0.2
    longest_wait_s: float = 10.0
    deadline_s: float = 120.0


class _Count:
    """How often this process tried again."""

    def __init__(self) -> None:
        self._lock, self.value = threading.Lock(), 0

    def add(self) -> None:
        with self._lock:
            self.value += 1


_count = _Count()


def retries_so_far() -> int:
    """How often this process tried again, over all stores; for a metric."""
    return _count.value


def with_retries(
    call: Callable[[], T],
    *,
    what: str,
    budget: RetryBudget,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    uniform: Callable[[float, float], float] = random.uniform,
) -> T:
    """The result of `call`; StoreUnavailableError once the budget is spent on TransientError."""
    start = clock()
    wait_s = budget.first_wait_s
    for attempt in range(1, budget.tries + 1):
        try:
            return call()
        except TransientError as err:
            spent_s = clock() - start
            if attempt == budget.tries or spent_s + wait_s > budget.deadline_s:
                raise StoreUnavailableError(
                    f"{what}: no success in {attempt} tries over {spent_s:.0f} s (last: {err}); "
                    "check the store and run the same command again"
                ) from err
            pause_s = uniform(wait_s / 2, wait_s)
            log.warning("%s: try %d failed (%s); again in %.1f s", what, attempt, err, pause_s)
            _count.add()
            sleep(pause_s)
            wait_s = min(wait_s * 2, budget.longest_wait_s)
    raise AssertionError("unreachable: the last try returns or raises")
