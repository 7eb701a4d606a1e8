"""The tables of docs/bench.md, made from a report's JSON and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.figures import cells
from tests.bench.report import REPORT_SCHEMA

__all__ = ["markdown"]

Row = tuple[str, dict[str, Any], bool]


def markdown(path: Path) -> str:
    """The ratios R1, R2 …, then every other figure, and under which conditions they were taken.

    Raises:
        ValueError: the file is not the report of a bench.
    """
    try:
        report = json.loads(path.read_text())
        schema = report["schema"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: not a bench report; run `python -m tests.bench`") from None
    if schema != REPORT_SCHEMA:
        raise ValueError(f"{path}: schema {schema!r} is not {REPORT_SCHEMA!r}")
    rows = [
        (name, one, bool(part["disturbed"]))
        for name, part in report["measurements"].items()
        for one in part["figures"]
    ]
    ratios = sorted((row for row in rows if row[1].get("ratio")), key=lambda row: row[1]["ratio"])
    others = [row for row in rows if not row[1].get("ratio")]
    lines = [_conditions(report), ""]
    lines += [*_table(ratios, "ratio"), ""] if ratios else []
    lines += [*_table(others, "measurement"), ""] if others else []
    return "\n".join([*lines, *_notes(report)]).rstrip() + "\n"


def _conditions(report: dict[str, Any]) -> str:
    machine = report["machine"]
    versions = ", ".join(f"{name} {one}" for name, one in machine["versions"].items())
    device = report.get("device")
    on = f"{device['name']} (driver {device['driver']}), " if device else ""
    return (
        f"{on}{machine['cores']} cores of {machine['processor']}, {machine['memory_gib']} GiB, "
        f"Python {machine['python']}, {versions}; commit {str(machine['commit'])[:12]}, "
        f"{machine['date']}, {report['wall_s']:.0f} s, load {report['load_before'][0]} before and "
        f"{report['load_after'][0]} after."
    )


def _table(rows: list[Row], kind: str) -> Iterator[str]:
    yield f"| {kind} | what | median | unit | min to max | n | goal |"
    yield "|---|---|---|---|---|---|---|"
    for name, one, disturbed in rows:
        first = one["ratio"] if kind == "ratio" else name
        yield f"| {first} | {' | '.join((one['name'], *cells(one, disturbed), one['goal']))} |"


def _notes(report: dict[str, Any]) -> Iterator[str]:
    for name, part in report["measurements"].items():
        if part["failed"]:
            yield f"- {name} failed: {part['failed']}"
        if part.get("skipped"):
            yield f"- {name} skipped: {part['skipped']}"
    if any(part["disturbed"] for part in report["measurements"].values()):
        yield "- `*`: other processes used more than a tenth of a core; not to be quoted."
    if report["quick"]:
        yield "- Made with `--quick`: too few repeats to quote."
