"""A command in the background whose lines are read as they come, and the processes of its Ray."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["Watched", "await_true", "begin", "ray_workers"]

LIMIT_S = 420.0


class Watched:
    """Everything a process says, with the time at which it said it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[tuple[float, str]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def said(self) -> str:
        """All of it as one line of words."""
        return " ".join(" ".join(line for _, line in self.lines).split())

    def await_said(self, pattern: str) -> float:
        """When it said so first, on the monotonic clock."""
        await_true(lambda: self._found(pattern) is not None, self)
        found = self._found(pattern)
        assert found is not None
        return found

    def timeline(self, since: float) -> str:
        """What was said after a time, and how long after; for figures that need a reason."""
        return "".join(f"{at - since:6.1f} {line}" for at, line in self.lines if at >= since)

    def end(self) -> tuple[int, float]:
        """Exit code, and when the process was gone."""
        code = self.process.wait(timeout=LIMIT_S)
        at = time.monotonic()
        self._thread.join(timeout=30.0)
        return code, at

    def _found(self, pattern: str) -> float | None:
        return next((at for at, line in list(self.lines) if re.search(pattern, line)), None)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.lines.append((time.monotonic(), line))


def await_true(
    condition: Callable[[], object], watched: Watched | None = None, *, limit_s: float = LIMIT_S
) -> float:
    """Wait until something holds, and say when; not longer than the process lives."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if watched is not None and watched.process.poll() is not None:
            watched.end()
            assert condition(), f"it ended before: {watched.said[-2000:]}"
        assert time.monotonic() < deadline, watched.said[-2000:] if watched else "not in time"
        threading.Event().wait(0.02)
    return time.monotonic()


def begin(start: Callable[[], subprocess.Popen[str]], condition: Callable[[], object]) -> Watched:
    """Start a command and wait for something; once more if a busy machine starts no Ray in time."""
    for _ in range(3):
        watched = Watched(start())
        try:
            await_true(condition, watched)
            return watched
        except AssertionError:
            if "Ray did not start here" not in watched.said:
                raise
    raise AssertionError("Ray did not start three times")


def ray_workers(mark: str) -> set[int]:
    """Process ids of the training workers that have a word in their environment."""
    found = set()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            environment, command = (
                (place / "environ").read_bytes(),
                (place / "cmdline").read_bytes(),
            )
        except OSError:
            continue  # it ended in between
        if mark.encode() in environment and b"ray::RayTrainWorker" in command:
            found.add(int(place.name))
    return found
