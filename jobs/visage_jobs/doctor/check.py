"""The outcome of one check: a status, what was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Check", "Status", "fail", "guarded", "ok", "warn"]

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What one check says."""

    name: str
    status: Status
    found: str
    """What was measured, in a few words."""
    advice: str = ""
    """What to do; empty if nothing is wrong."""


def ok(name: str, found: str) -> Check:
    """All is well."""
    return Check(name=name, status="ok", found=found)


def warn(name: str, found: str, advice: str) -> Check:
    """It works, but not as it should."""
    return Check(name=name, status="warn", found=found, advice=advice)


def fail(name: str, found: str, advice: str) -> Check:
    """Something that Visage needs does not work."""
    return Check(name=name, status="fail", found=found, advice=advice)


def guarded(name: str, run: Callable[[], list[Check]]) -> list[Check]:
    """Run a group of checks; one that breaks is a failed check, never the end of the others."""
    try:
        return run()
    except Exception as err:  # the outcome is the failed check, shown to the person who asked
        reason = (str(err).strip().splitlines() or [""])[0][:200]
        return [fail(name, f"{type(err).__name__}: {reason}", "repair this first, then ask again")]
