"""Named places where a test may kill the process, to prove that nothing is lost there.

A fault point is one call, `fault_point("commit.before_marker")`. Without `VISAGE_FAULT_POINT` in
the environment it costs one comparison. With `VISAGE_FAULT_POINT=name` the process kills itself
(SIGKILL, as a lost node would) at the first visit of that name; `name@3` waits for the third
visit; `name:freeze`, `name:hang` and `name:raise` stop the process (SIGSTOP), sleep for an hour or
raise instead. A file named in `VISAGE_FAULT_ONCE` is created first, with the process id and the
rank in it, and disarms the point for every other process.

Invariant: every name used in the code stands in `FAULT_POINTS`, so that one test can visit them
all.
"""

from __future__ import annotations

import os
import signal
import time
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
ACTIONS = ("kill", "freeze", "hang", "raise")
HANG_S = 3600.0


class _Fault:
    """The armed point of this process, read from the environment at the first visit."""

    def __init__(self) -> None:
        self._loaded = False
        self._name: str | None = None
        self._remaining = 0
        self._action = "kill"

    def visit(self, name: str) -> None:
        if not self._loaded:
            self._load()
        if self._name != name:
            return
        self._remaining -= 1
        if self._remaining == 0:
            self._strike()

    def _load(self) -> None:
        self._loaded = True
        armed = os.environ.get("VISAGE_FAULT_POINT")
        if not armed:
            return
        place, _, action = armed.partition(":")
        name, _, visit = place.partition("@")
        if name not in FAULT_POINTS:
            raise ValueError(f"VISAGE_FAULT_POINT={armed!r}: no fault point has the name {name!r}")
        if visit and (not visit.isdecimal() or int(visit) < 1):
            raise ValueError(f"VISAGE_FAULT_POINT={armed!r}: visits are counted from 1")
        if action not in ("", *ACTIONS):
            raise ValueError(f"VISAGE_FAULT_POINT={armed!r}: choose from {', '.join(ACTIONS)}")
        self._name, self._remaining, self._action = name, int(visit or 1), action or "kill"

    def _strike(self) -> None:
        once = os.environ.get("VISAGE_FAULT_ONCE")
        if once:
            try:
                with Path(once).open("x") as file:
                    file.write(f"{os.getpid()} {os.environ.get('RANK', 0)}")
            except FileExistsError:
                return
        match self._action:
            case "freeze":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "hang":
                time.sleep(HANG_S)
            case "raise":
                raise RuntimeError(f"fault point {self._name}: raised because a test asked for it")
            case _:
                os.kill(os.getpid(), signal.SIGKILL)


_fault = _Fault()


def fault_point(name: str) -> None:
    """Die (freeze, hang, raise) here if the environment arms `name`; otherwise do nothing."""
    _fault.visit(name)
