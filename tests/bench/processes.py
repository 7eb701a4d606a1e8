"""Processes of this machine, read from /proc: what they use, and which of them are ours.

Linux only, like everything that is measured here.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["DISTURBING_CORES", "Neighbours", "PeakMemory", "Process", "family", "rss_mib"]

PROC = Path("/proc")
KERNEL_PARENT = 2
DISTURBING_CORES = 0.1
"""More than this, used by others, disturbs a measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process at one moment."""

    pid: int
    parent: int
    started_ticks: int
    """With the pid, its identity."""
    cpu_s: float


def processes() -> dict[int, Process]:
    """All processes that can be seen, by pid."""
    found = (_process(entry) for entry in PROC.iterdir() if entry.name.isdecimal())
    return {one.pid: one for one in found if one is not None}


def family(root: int, known: dict[int, Process]) -> set[int]:
    """Pids of a process and all its descendants."""
    members = {root}
    grew = True
    while grew:
        more = {one.pid for one in known.values() if one.parent in members} - members
        members |= more
        grew = bool(more)
    return members


def rss_mib(pid: int | None = None) -> float:
    """Resident memory of a process in MiB, this one by default; 0 if it is gone."""
    return _status_mib(pid or os.getpid(), "VmRSS:")


class Neighbours:
    """In a `with`: how many cores processes outside our own family used on average."""

    def __init__(self, *, every_s: float = 1.0) -> None:
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="neighbours", daemon=True)
        self._ours: set[tuple[int, int]] = set()
        self._used_s, self._wall_s = 0.0, 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=10.0)

    @property
    def cores(self) -> float:
        """Mean number of cores that others kept busy."""
        return self._used_s / self._wall_s if self._wall_s else 0.0

    def _watch(self) -> None:
        before, at = self._foreign(), time.monotonic()
        while True:
            was_stopped = self._stop.wait(self._every_s)
            now, later = self._foreign(), time.monotonic()
            for identity, cpu_s in now.items():
                self._used_s += max(0.0, cpu_s - before.get(identity, 0.0))
            self._wall_s += later - at
            before, at = now, later
            if was_stopped:
                return

    def _foreign(self) -> dict[tuple[int, int], float]:
        """CPU seconds of others; a process once ours stays ours when its parent dies."""
        known = processes()
        for pid in family(os.getpid(), known):
            if pid in known:
                self._ours.add((pid, known[pid].started_ticks))
        return {
            (one.pid, one.started_ticks): one.cpu_s
            for one in known.values()
            if (one.pid, one.started_ticks) not in self._ours
            and KERNEL_PARENT not in (one.pid, one.parent)
        }


class PeakMemory:
    """In a `with`: highest resident memory of our descendants whose command holds a text."""

    def __init__(self, *wanted: str, every_s: float = 0.2) -> None:
        self._wanted, self._every_s = wanted, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)
        self.peak_mib: dict[str, float] = dict.fromkeys(wanted, 0.0)
        """By text; the kernel's own high-water mark, so no peak falls between two looks."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=10.0)

    def _watch(self) -> None:
        while not self._stop.wait(self._every_s):
            for pid in family(os.getpid(), processes()) - {os.getpid()}:
                command = _command(pid)
                for text in self._wanted:
                    if text in command:
                        peak = _status_mib(pid, "VmHWM:")
                        self.peak_mib[text] = max(self.peak_mib[text], peak)


def _process(folder: Path) -> Process | None:
    try:
        text = (folder / "stat").read_text()
    except OSError:
        return None  # it ended while we looked
    fields = text[text.rindex(")") + 2 :].split()  # the name before it may hold blanks
    return Process(
        pid=int(folder.name),
        parent=int(fields[1]),
        started_ticks=int(fields[19]),
        cpu_s=(int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
    )


def _command(pid: int) -> str:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode("latin-1")
    except OSError:
        return ""


def _status_mib(pid: int, field: str) -> float:
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), 0.0)
