"""The next items of an iterator while the last one is worked on: a thread and a bounded queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["made_ahead"]

LOOK_EVERY_S = 0.2
ENDS_WITHIN_S = 120.0
Item = TypeVar("Item")


@contextmanager
def made_ahead(items: Iterator[Item], *, depth: int) -> Iterator[Iterator[Item]]:
    """The same items in the same order, up to `depth` of them made before they are asked for.

    What the iterator raises is raised where its item would have come. Leaving the context ends the
    thread with the item that it is making.
    """
    made: queue.Queue[tuple[Item] | BaseException | None] = queue.Queue(depth)
    is_left = threading.Event()

    def hand(item: tuple[Item] | BaseException | None) -> None:
        while not is_left.is_set():
            try:
                made.put(item, timeout=LOOK_EVERY_S)
                return
            except queue.Full:
                continue

    def run() -> None:
        try:
            for item in items:
                hand((item,))
                if is_left.is_set():
                    return
            hand(None)
        except BaseException as err:  # told to the thread that asks
            hand(err)

    thread = threading.Thread(target=run, name="made-ahead", daemon=True)
    thread.start()
    try:
        yield _taken(made, thread)
    finally:
        is_left.set()
        thread.join(ENDS_WITHIN_S)


def _taken(
    made: queue.Queue[tuple[Item] | BaseException | None], thread: threading.Thread
) -> Iterator[Item]:
    while True:
        try:
            found = made.get(timeout=LOOK_EVERY_S)
        except queue.Empty:
            if thread.is_alive() or not made.empty():
                continue
            raise RuntimeError("the thread that makes items ended without a word") from None
        if found is None:
            return
        if isinstance(found, BaseException):
            raise found
        yield found[0]
