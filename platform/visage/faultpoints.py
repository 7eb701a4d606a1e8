"""Named places where a test may kill the process, to prove that nothing is lost there.

A fault point is one call, `fault_point("commit.before_marker")`. Without `VISAGE_FAULT_POINT` in
the environment it costs one comparison. With `VISAGE_FAULT_POINT=name` the process kills itself
(SIGKILL, as a lost node would) at the first visit of that name; `name@3` waits for the third
visit; a file named in `VISAGE_FAULT_ONCE` is created first and disarms the point for the process
that comes after.

Invariant: every name used in the code stands in `FAULT_POINTS`, so that one test can visit them
all.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

__all__ = ["FAULT_POINTS", "fault_point"]

FAULT_POINTS: tuple[str, ...] = (
    "store.put.before_write",
    "store.put.before_publish",
    "store.put.after_publish",
    "commit.before_parts",
    "commit.between_parts",
    "commit.before_marker",
    "commit.after_marker",
    "prepare.before_shard",
    "prepare.after_shard",
    "prepare.before_manifest",
    "train.before_step",
    "train.after_step",
    "train.before_checkpoint",
    "train.after_checkpoint",
    "train.before_export",
    "evaluate.before_predictions",
    "registry.before_version",
    "registry.before_alias",
)


class _Fault:
    """The armed point of this process, read from the environment at the first visit."""

    def __init__(self) -> None:
        self._loaded = False
        self._name: str | None = None
        self._remaining = 0

    def visit(self, name: str) -> None:
        if not self._loaded:
            self._load()
        if self._name != name:
            return
        self._remaining -= 1
        if self._remaining == 0:
            self._kill()

    def _load(self) -> None:
        self._loaded = True
        armed = os.environ.get("VISAGE_FAULT_POINT")
        if not armed:
            return
        name, _, visit = armed.partition("@")
        if name not in FAULT_POINTS:
            raise ValueError(f"VISAGE_FAULT_POINT={armed!r}: no fault point has the name {name!r}")
        if visit and (not visit.isdecimal() or int(visit) < 1):
            raise ValueError(f"VISAGE_FAULT_POINT={armed!r}: visits are counted from 1")
        self._name, self._remaining = name, int(visit or 1)

    @staticmethod
    def _kill() -> None:
        once = os.environ.get("VISAGE_FAULT_ONCE")
        if once:
            try:
                Path(once).touch(exist_ok=False)
            except FileExistsError:
                return
        os.kill(os.getpid(), signal.SIGKILL)


_fault = _Fault()


def fault_point(name: str) -> None:
    """Die here if the environment arms `name`; otherwise do nothing."""
    _fault.visit(name)
