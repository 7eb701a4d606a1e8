"""Temporary folders that do not outlive their process, however it ends.

Each process has a folder of its own below one that all share, and holds a lock on it while it
lives. Opening removes what others left behind that were killed: faces and voices of people do not
stay on a disk because a machine ran out of memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from visage.errors import SpecError

__all__ = ["Scratch"]

LOCK = "lock"


class Scratch:
    """Where one process keeps what it needs for a moment; close it."""

    def __init__(self, root: Path | None = None) -> None:
        """Make the folder of this process.

        Args:
            root: Shared by the processes of one user; by default below the system's folder.

        Raises:
            SpecError: somebody else laid the shared folder there, and could look inside.
        """
        shared = root or Path(tempfile.gettempdir()) / f"visage-serve-{os.getuid()}"
        shared.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_ours(shared)
        # locked, so that nobody takes a folder that is being made for a left one
        with _locked(shared / LOCK):
            _sweep(shared)
            self._folder = shared / uuid.uuid4().hex
            self._folder.mkdir(mode=0o700)
            self._held: IO[bytes] = _open_locked(self._folder / LOCK)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """An empty folder, removed with all that is in it."""
        with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as made:
            yield Path(made)

    def close(self) -> None:
        """Remove everything that is left."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._held.close()


def _check_ours(shared: Path) -> None:
    """The name can be guessed, and the system's folder is everybody's."""
    found = shared.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise SpecError(
            f"{shared}: another user made this folder, or it is a link; remove it, or let TMPDIR "
            "name a folder of your own"
        )


def _sweep(shared: Path) -> None:
    for folder in shared.iterdir():
        if not folder.is_dir():
            continue
        with contextlib.suppress(OSError):  # its process lives, or somebody else removes it
            left = _open_locked(folder / LOCK, blocking=False)
            try:
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                left.close()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    held = _open_locked(path)
    try:
        yield
    finally:
        held.close()  # which unlocks


def _open_locked(path: Path, *, blocking: bool = True) -> IO[bytes]:
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX if blocking else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file
