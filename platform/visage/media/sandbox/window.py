"""Memory that parent and child share, through which most pictures come back.

A picture copied through the socket wakes both processes several times; through here, once. The size
is sealed, so that a child that was taken over cannot pull the memory from under its parent.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["WINDOW_BYTES", "new_window", "open_window"]

WINDOW_BYTES = 16 * 2**20
"""Takes pictures of 5.5 megapixels; larger answers come through the socket."""


@contextmanager
def new_window() -> Iterator[int | None]:
    """A descriptor of fresh shared memory, or None where the system has none; closed on leaving."""
    if sys.platform != "linux":
        yield None
        return
    descriptor = os.memfd_create("visage-pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, WINDOW_BYTES)
        fcntl.fcntl(
            descriptor,
            fcntl.F_ADD_SEALS,
            fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL,
        )
        yield descriptor
    finally:
        os.close(descriptor)


def open_window(descriptor: int | None) -> mmap.mmap | None:
    """The memory behind a descriptor, which may then be closed."""
    return None if descriptor is None else mmap.mmap(descriptor, WINDOW_BYTES)
