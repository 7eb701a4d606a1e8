"""A lock between the processes of one machine that the system frees when its holder dies."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from visage.errors import TrackingError

__all__ = ["file_lock", "wait_until"]

POLL_S = 0.05
WAIT_S = 60.0


@contextmanager
def file_lock(
    path: Path, *, what: str, wait_s: float = WAIT_S, sleep: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    """Hold the lock; TrackingError naming `what` if another process holds it for `wait_s`."""
    with path.open("a") as file:

        def attempt() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        wait_until(attempt, what=what, wait_s=wait_s, sleep=sleep)
        yield


def wait_until(
    attempt: Callable[[], bool], *, what: str, wait_s: float, sleep: Callable[[float], None]
) -> None:
    """Try until `attempt` succeeds; TrackingError once `wait_s` has been slept away."""
    waited_s = 0.0
    while not attempt():
        if waited_s >= wait_s:
            raise TrackingError(
                f"{what}: another process has been changing it for {wait_s:.0f} s; "
                "try again when it is done"
            )
        sleep(POLL_S)
        waited_s += POLL_S
