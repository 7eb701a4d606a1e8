"""How a launch is asked to stop: a file in the run's folder that rank 0 reads within a second."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from visage.store.base import Store

__all__ = ["stop_requests"]

log = logging.getLogger(__name__)
POLL_S = 0.5


@contextmanager
def stop_requests(store: Store, launch: str, stop: threading.Event | None) -> Iterator[None]:
    """While the body runs, SIGTERM (in the main thread) or `stop` becomes a request."""
    asked, over = stop or threading.Event(), threading.Event()

    def pass_on() -> None:
        while not over.is_set():
            if asked.wait(POLL_S):
                log.warning("stop requested; saving a checkpoint")
                store.replace("STOP", launch.encode())
                return

    def request(signum: int, frame: FrameType | None) -> None:
        asked.set()

    is_main = threading.current_thread() is threading.main_thread()
    former = signal.signal(signal.SIGTERM, request) if is_main else None
    waiter = threading.Thread(target=pass_on, name="train-stop", daemon=True)
    waiter.start()
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, former)
        over.set()
        waiter.join(timeout=30.0)
