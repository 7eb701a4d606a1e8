"""`visage parts`: what every network of the talking head costs, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from visage_jobs.cli.console import JsonFlag, bar, emit, verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from visage.inference.part_costs import PartCost


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("parts")(parts)


@verb
def parts(
    size: Annotated[
        Literal["paper", "small"], typer.Option(help="Which presets are looked at.")
    ] = "paper",
    time: Annotated[
        bool, typer.Option("--time", help="Also run each part on this CPU; about two minutes.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="A table for a page.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Parameters, operations and CPU time of every part of the talking head.

    Counting needs no memory and a second; --time builds the networks and runs them.

    Example: visage parts --size paper --time
    """
    from visage.inference.part_costs import as_rows, part_costs
    from visage_jobs.parts import part_specs

    with bar(quiet=as_json or not time) as progress:
        task = progress.add_task("parts", total=None)
        costs = part_costs(
            part_specs(size),
            timed=time,
            progress=lambda name: progress.update(task, description=name),
        )
    if markdown:
        emit({}, as_json=False, table=lambda: _markdown(costs))
        return
    emit({"size": size, "parts": as_rows(costs)}, as_json=as_json, table=lambda: _table(costs))


def _cells(one: PartCost) -> tuple[str, ...]:
    time = "" if one.cpu_ms is None else f"{one.cpu_ms:,.2f}"
    return one.name, f"{one.parameters:,}", _scaled(one.flop), one.per, time


def _scaled(flop: int) -> str:
    """Operations with three digits and a unit."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if flop >= unit:
            return f"{flop / unit:.3g} {name}"
    return str(flop)


def _table(costs: Sequence[PartCost]) -> Table:
    from rich.table import Table

    table = Table()
    for column in ("part", "parameters", "FLOP", "per", "CPU ms"):
        table.add_column(column, justify="left" if column in ("part", "per") else "right")
    for one in costs:
        table.add_row(*_cells(one))
    return table


def _markdown(costs: Sequence[PartCost]) -> str:
    head = ["| part | parameters | FLOP | per | CPU ms |", "|---|---|---|---|---|"]
    return "\n".join([*head, *("| " + " | ".join(_cells(one)) + " |" for one in costs)])
