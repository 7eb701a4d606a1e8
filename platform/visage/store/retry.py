"""One way to try again: exponential waits with jitter, a bounded number of tries, a log line each.

Clock, sleep and randomness are parameters, so that tests neither wait nor guess.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from visage.errors import StoreUnavailableError

__all__ = ["RetryBudget", "TransientError", "with_retries"]

log = logging.getLogger(__name__)
T = TypeVar("T")


class TransientError(Exception):
    """Raised inside a retried call for a failure that may pass by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """How long to insist."""

    tries: int = 8
    first_wait_s: float = 0.2
    longest_wait_s: float = 10.0
    deadline_s: float = 120.0


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
            sleep(pause_s)
            wait_s = min(wait_s * 2, budget.longest_wait_s)
    raise AssertionError("unreachable: the last try returns or raises")
