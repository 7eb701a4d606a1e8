"""How a launch is asked to stop, and that it ends within its grace whatever stands in the way.

    0 %    SIGTERM. The ranks learn of it by the pulse within two seconds, finish their step, save.
    50 %   What the store has not taken by now is kept on the disk of rank 0 instead.
    70 %   The driver waits for the ranks no more; what was published before is what remains.
    100 %  The process ends, whatever else it still wanted to do (tell MLflow, end Ray).

The exit code is 75 in each case; the same command continues the run.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from visage.errors import PreemptedError

__all__ = ["GRACE_S", "Grace"]

log = logging.getLogger(__name__)
GRACE_S = 30.0
"""Kubernetes' default between SIGTERM and SIGKILL."""
SAVE_SHARE, FIT_SHARE = 0.5, 0.7


class Grace:
    """One launch's wish to stop: by SIGTERM, or by an event that its caller sets."""

    def __init__(
        self,
        grace_s: float = GRACE_S,
        asked: threading.Event | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.grace_s, self._clock = grace_s, clock
        self._asked, self._asked_s = asked or threading.Event(), 0.0
        self._is_fitting = self._is_over = False
        self._last_resort: threading.Timer | None = None

    @property
    def asked(self) -> threading.Event:
        """Set once a stop is wished for."""
        return self._asked

    def save_within_s(self) -> float | None:
        """How long the ranks may still take to save; None while nobody wants to stop."""
        if not self._asked.is_set():
            return None
        self._asked_s = self._asked_s or self._clock()
        return max(self._asked_s + SAVE_SHARE * self.grace_s - self._clock(), 0.0)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """In the main thread, SIGTERM is a wish to stop, which ends this process in time."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        former = signal.signal(signal.SIGTERM, self._request)
        former_alarm = signal.signal(signal.SIGALRM, self._waited_enough)
        try:
            yield
        except SystemExit as err:  # Ray's own answer to SIGTERM, while it starts
            if err.code != signal.SIGTERM:
                raise
            raise PreemptedError("stopped on request before training began") from None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            if self._last_resort:
                self._last_resort.cancel()
            signal.signal(signal.SIGALRM, former_alarm)
            signal.signal(signal.SIGTERM, former)

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """While workers train, a stop is theirs to make; else there is nothing to save."""
        is_main = threading.current_thread() is threading.main_thread()
        if is_main:
            signal.signal(signal.SIGTERM, self._request)  # Ray put a handler of its own there
        self._is_fitting = True
        try:
            yield
        except KeyboardInterrupt:
            if not self._is_over:
                raise
            raise PreemptedError(
                "stopped on request; the workers had not saved after "
                f"{FIT_SHARE * self.grace_s:.0f} of {self.grace_s:.0f} s and were left. The same "
                "command continues from the newest checkpoint; a longer --grace lets slow steps end"
            ) from None
        finally:
            self._is_fitting = False
            if is_main:
                signal.setitimer(signal.ITIMER_REAL, 0)

    def _request(self, signum: int, frame: FrameType | None) -> None:
        if self._asked.is_set():
            return
        self._asked_s = self._clock()
        self._asked.set()
        self._last_resort = _end_after(self.grace_s)
        if not self._is_fitting:
            raise PreemptedError("stopped on request before training began")
        log.warning("stop requested; saving a checkpoint, at most %.0f s are left", self.grace_s)
        signal.setitimer(signal.ITIMER_REAL, FIT_SHARE * self.grace_s)

    def _waited_enough(self, signum: int, frame: FrameType | None) -> None:
        if self._is_fitting:
            self._is_over = True
            raise KeyboardInterrupt  # the one exception that Ray lets through while it waits


def _end_after(grace_s: float) -> threading.Timer:
    def end() -> None:
        print(f"error: the grace of {grace_s:.0f} s is over; what was committed is kept",
              file=sys.stderr, flush=True)  # fmt: skip
        os._exit(PreemptedError.exit_code)

    timer = threading.Timer(grace_s, end)
    timer.daemon = True
    timer.start()
    return timer
