"""How many requests a replica lets in, and when the others may come back.

Invariant: whoever entered leaves exactly once, whatever ended the request (answer, error, or a
client that went away); so a storm of disconnects cannot wedge the replica.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from visage_serve.refusal import Refusal

__all__ = ["Admission"]

LONGEST_RETRY_S = 60
SMOOTHING = 0.2  # weight of the newest request in the running mean


class Admission:
    """A bounded count of requests in flight; belongs to one event loop."""

    def __init__(self, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._in_flight = 0
        self._mean_s = 0.0

    @property
    def in_flight(self) -> int:
        """Requests that entered and have not left."""
        return self._in_flight

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold one place; Refusal 429 with Retry-After if there is none."""
        if self._in_flight >= self._limit:
            raise Refusal(
                429,
                "overloaded",
                f"{self._in_flight} requests are in flight here; wait and send this one again",
                headers={"Retry-After": str(self.retry_after_s())},
            )
        self._in_flight += 1
        start = self._clock()
        try:
            yield
            self._learn(self._clock() - start)
        finally:
            self._in_flight -= 1

    def retry_after_s(self) -> int:
        """Whole seconds until what is in flight now will be done, from the recent mean; 1 to 60."""
        return min(max(1, math.ceil(self._mean_s)), LONGEST_RETRY_S)

    def _learn(self, took_s: float) -> None:
        if self._mean_s == 0.0:
            self._mean_s = took_s
        else:
            self._mean_s += SMOOTHING * (took_s - self._mean_s)
