"""Which rank stands still: every worker tells where it is, the driver judges and names.

A beat comes from a thread of the worker, so a rank that waits for others still beats, a rank that
hangs beats without progress, and a rank whose process was frozen or whose node is gone does not
beat at all. A silent rank is named by the driver and restarted by Ray's health check; one that
beats without progress learns the verdict with its next beat, dumps its stacks and dies, so that
Ray restarts the group. Time is monotonic and of one process.
"""

from __future__ import annotations

import faulthandler
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["Beats", "Pulse", "Stall", "watch_pulse"]

log = logging.getLogger(__name__)
HEALTH_TIMEOUT = "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"
OWN_LIMITS = ("start", "data", "save")  # wait for the store, which has limits of its own
ANSWER_LIMIT_S = 30.0
JUDGE_EVERY_S = 0.5
STALLED_EXIT = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """A rank that stands still."""

    rank: int
    step: int
    """Where it was when it last beat, as is the phase."""
    phase: str
    still_s: float
    is_silent: bool
    """Its process does not even beat: frozen, or its node is gone."""


@dataclass(slots=True)
class _Rank:
    incarnation: str
    step: int
    phase: str
    notes: int
    beat_s: float
    moved_s: float


class Pulse:
    """What is known of all ranks; one object, in the driver's Ray, asked by all."""

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_s, self._clock = limit_s, clock
        self._ranks: dict[int, _Rank] = {}
        self._stop_by_s: float | None = None
        self._no_use: str | None = None

    def give_up(self, reason: str) -> None:
        """Starting the group again is of no use; the first reason counts."""
        self._no_use = self._no_use or reason

    def given_up(self) -> str | None:
        """Why the group that starts now is to end at once, if it is."""
        return self._no_use

    def stop(self, within_s: float) -> None:
        """All ranks are to save and end within so many seconds from now."""
        if self._stop_by_s is None:
            self._stop_by_s = self._clock() + within_s

    def exchange(
        self, rank: int, incarnation: str, step: int, phase: str, notes: int
    ) -> tuple[bool, float | None]:
        """Take one beat; the verdict on this rank, and the seconds left if all are to stop."""
        verdict = self.beat(rank, incarnation, step, phase, notes)
        left_s = None if self._stop_by_s is None else max(self._stop_by_s - self._clock(), 0.0)
        return verdict, left_s

    def beat(self, rank: int, incarnation: str, step: int, phase: str, notes: int) -> bool:
        """Take one beat; says whether this rank is the one that holds the others up."""
        now = self._clock()
        known = self._ranks.get(rank)
        if known is None or known.incarnation != incarnation:
            if known is not None:
                self._ranks.clear()  # a new group; what the former one said counts no more
            known = self._ranks[rank] = _Rank(incarnation, step, phase, notes, now, now)
        if notes != known.notes:
            known.step, known.phase, known.notes, known.moved_s = step, phase, notes, now
        known.beat_s = now
        found = self.stalled()
        return found is not None and found.rank == rank and not found.is_silent

    def leave(self, rank: int) -> None:
        """The rank's work has ended; it is waited for no more."""
        self._ranks.pop(rank, None)

    def stalled(self) -> Stall | None:
        """The rank that the others wait for, if nothing has moved for longer than the limit."""
        now = self._clock()
        silent = [(rank, one) for rank, one in self._ranks.items()
                  if now - one.beat_s > self._limit_s]  # fmt: skip
        if silent:
            return self._stall(min(silent, key=_position), now, is_silent=True)
        if not self._ranks or any(
            now - one.moved_s <= self._limit_s for one in self._ranks.values()
        ):
            return None
        last = min(self._ranks.items(), key=_position)
        return None if last[1].phase in OWN_LIMITS else self._stall(last, now, is_silent=False)

    def _stall(self, found: tuple[int, _Rank], now: float, *, is_silent: bool) -> Stall:
        rank, one = found
        still_s = now - (one.beat_s if is_silent else one.moved_s)
        return Stall(
            rank=rank, step=one.step, phase=one.phase, still_s=still_s, is_silent=is_silent
        )


def _position(item: tuple[int, _Rank]) -> tuple[int, int]:
    """A rank is behind if its step is smaller, or if it has taken fewer notes on the way."""
    return item[1].step, item[1].notes


class Beats:
    """A worker's thread that tells the pulse where this rank is."""

    def __init__(self, launch: str, rank: int, *, limit_s: float) -> None:
        import ray

        self._pulse = ray.get_actor(_name(launch))
        self._rank, self._incarnation = rank, f"{os.getpid()}-{time.monotonic_ns()}"
        self._every_s = min(1.0, limit_s / 20)
        self._at: tuple[int, str, int] = (0, "start", 0)
        self._closed = threading.Event()
        self._stop_by_s = math.inf
        threading.Thread(target=self._run, name="pulse", daemon=True).start()

    def is_stop_asked(self) -> bool:
        """Whether the driver wants all ranks to save and end."""
        return self._stop_by_s < math.inf

    def seconds_left(self) -> float:
        """Until when the driver wants the state saved; infinite if it did not ask."""
        return self._stop_by_s - time.monotonic()

    def note(self, step: int, phase: str) -> None:
        """Where the training thread is; costs one assignment."""
        self._at = (step, phase, self._at[2] + 1)

    def give_up(self, reason: str) -> None:
        """Tell the group that takes over from this one to end at once."""
        self._ask(self._pulse.give_up.remote(reason))

    def given_up(self) -> str | None:
        """Why a former group gave up, if it did; the same for all ranks of this one."""
        reason: str | None = self._ask(self._pulse.given_up.remote())
        return reason

    def _ask(self, answer: Any) -> Any:
        import ray
        from ray.exceptions import GetTimeoutError, RayError

        try:
            return ray.get(answer, timeout=ANSWER_LIMIT_S)
        except (GetTimeoutError, RayError):  # the budget of restarts bounds what this would save
            return None

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._pulse.leave.remote(self._rank)

    def _run(self) -> None:
        import ray
        from ray.exceptions import GetTimeoutError, RayError

        while not self._closed.wait(self._every_s):
            try:
                beat = self._pulse.exchange.remote(self._rank, self._incarnation, *self._at)
                is_culprit, left_s = ray.get(beat, timeout=ANSWER_LIMIT_S)
            except (GetTimeoutError, RayError):
                continue  # no judge, no verdict; asked again
            if left_s is not None:
                self._stop_by_s = time.monotonic() + left_s
            if is_culprit and not self._closed.is_set():
                faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
                os._exit(STALLED_EXIT)


@contextmanager
def watch_pulse(
    launch: str,
    limit_s: float,
    tell: Callable[[dict[str, Any]], None],
    stop_within_s: Callable[[], float | None] = lambda: None,
) -> Iterator[None]:
    """Judge the ranks of one launch while the body runs; `tell` gets one event for each stall.

    Args:
        stop_within_s: Asked again and again; once it gives seconds, all ranks learn that they are
            to save and end within them. It goes by Ray, so a store that is away is in no way.
    """
    import ray

    os.environ[HEALTH_TIMEOUT] = str(limit_s)  # Ray hands it on to its controller
    pulse = ray.remote(num_cpus=0, max_concurrency=1)(Pulse).options(name=_name(launch)).remote(
        limit_s
    )  # fmt: skip
    stop = threading.Event()
    thread = threading.Thread(
        target=_judge, args=(pulse, limit_s, tell, stop_within_s, stop), name="pulse-watch",
        daemon=True,
    )  # fmt: skip
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=ANSWER_LIMIT_S)
        ray.kill(pulse)


def _judge(
    pulse: Any,
    limit_s: float,
    tell: Callable[[dict[str, Any]], None],
    stop_within_s: Callable[[], float | None],
    stop: threading.Event,
) -> None:
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    told: int | None = None
    is_stop_told = False
    while not stop.wait(min(JUDGE_EVERY_S, limit_s / 10)):
        try:
            if not is_stop_told and (left_s := stop_within_s()) is not None:
                ray.get(pulse.stop.remote(left_s), timeout=ANSWER_LIMIT_S)
                is_stop_told = True
            found: Stall | None = ray.get(pulse.stalled.remote(), timeout=ANSWER_LIMIT_S)
        except (GetTimeoutError, RayError):
            continue
        if found is None:
            told = None
        elif told != found.rank:
            told = found.rank
            tell({"type": "stall", "rank": found.rank, "step": found.step, "phase": found.phase,
                  "still_s": found.still_s, "is_silent": found.is_silent})  # fmt: skip


def _name(launch: str) -> str:
    return f"visage-pulse-{launch}"
