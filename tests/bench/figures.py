"""Measured figures: what was measured, in which unit, how, and between which bounds it lay."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["Figure", "cells", "figure", "paired", "read_figures", "show", "write_figures"]

WIDEST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table."""

    name: str
    unit: str
    median: float
    low: float
    high: float
    count: int
    """How many values the median is of."""
    how: str
    """How it was measured, in a sentence."""
    goal: str = ""
    """What the project asks for; shown beside the figure, never asserted."""
    ratio: str = ""
    """Which of the published ratios it is, as `R1`; empty for all else."""


def figure(
    name: str, values: Sequence[float], unit: str, *, how: str, goal: str = "", ratio: str = ""
) -> Figure:
    """Median with minimum and maximum of all values; nothing is discarded.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError(f"{name}: nothing was measured")
    return Figure(
        name=name,
        unit=unit,
        median=median(values),
        low=min(values),
        high=max(values),
        count=len(values),
        how=how,
        goal=goal,
        ratio=ratio,
    )


def paired(
    name: str,
    above: Sequence[float],
    below: Sequence[float],
    *,
    how: str,
    goal: str = "",
    ratio: str = "",
) -> Figure:
    """The ratios of two sides that were measured in turns, turn by turn.

    Raises:
        ValueError: the sides had not as many turns.
    """
    ratios = [one / other for one, other in zip(above, below, strict=True)]
    return figure(name, ratios, "x", how=how, goal=goal, ratio=ratio)


def write_figures(path: Path, figures: Sequence[Figure]) -> None:
    """Keep figures as JSON."""
    path.write_text(json.dumps([asdict(one) for one in figures], indent=1, allow_nan=False))


def read_figures(path: Path) -> list[Figure]:
    """Figures that `write_figures` kept."""
    return [Figure(**one) for one in json.loads(path.read_text())]


def show(report: dict[str, Any]) -> None:
    """Print the report's figures as a table, in plain lines where rich is absent."""
    rows = [
        (name, one, bool(part["disturbed"]))
        for name, part in report["measurements"].items()
        for one in part["figures"]
    ]
    try:
        _print_table(rows)
    except ImportError:  # a bare GPU machine
        for name, one, disturbed in rows:
            line = (name, _title(one), *cells(one, disturbed), one["goal"])
            print("  ".join(cell for cell in line if cell))
    for name, part in report["measurements"].items():
        if part["failed"]:
            print(f"{name} failed: {part['failed']}")
        if part.get("skipped"):
            print(f"{name} skipped: {part['skipped']}")
    if any(disturbed for _, _, disturbed in rows):
        print("* other processes used more than a tenth of a core: do not quote")
    if report["quick"]:
        print("--quick: shows that the benches work; too few repeats to quote")


def _print_table(rows: Sequence[tuple[str, dict[str, Any], bool]]) -> None:
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("what", "figure", "median", "unit", "min to max", "n", "goal"):
        is_number = heading in ("median", "min to max", "n")
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=True)
    before = ""
    for name, one, disturbed in rows:
        if before and name != before:
            table.add_row()
        shown = "" if name == before else name
        table.add_row(shown, _title(one), *cells(one, disturbed), one["goal"])
        before = name
    console = Console()
    wide = console.options.update(max_width=WIDEST)
    width = Measurement.get(console, wide, table).maximum
    # wider than the screen the lines wrap, but no figure is cut off
    Console(width=max(console.width, width)).print(table)


def _title(one: dict[str, Any]) -> str:
    return f"{one['ratio']}: {one['name']}" if one.get("ratio") else str(one["name"])


def cells(one: dict[str, Any], disturbed: bool) -> tuple[str, str, str, str]:
    """Median (marked where others disturbed it), unit, spread and count, for a table."""
    mark = "*" if disturbed else ""
    spread = "" if one["count"] == 1 else f"{_short(one['low'])} to {_short(one['high'])}"
    return f"{_short(one['median'])}{mark}", one["unit"], spread, str(one["count"])


def _short(value: float) -> str:
    """Three digits that count."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
