"""`visage doctor`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from visage_jobs.cli.console import JsonFlag, emit, verb

if TYPE_CHECKING:
    from rich.table import Table

    from visage_jobs.doctor import Check


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("doctor")(doctor)


@verb
def doctor(
    workspace: Annotated[
        str | None, typer.Option(help="Folder or s3:// prefix of the project.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check this machine, the store and the tracking server, and say what to do.

    Looks at packages, GPUs, faces, shared memory, open files, disk, clock,
    store rights (on a temporary key that is removed) and MLflow. Exit 1 if
    something that is needed does not work.

    Example: visage doctor --workspace s3://bucket/team --json
    """
    from visage_jobs.doctor import run_doctor
    from visage_jobs.workspace import Workspace

    place = Workspace.open(workspace)
    checks = run_doctor(place)
    failed = sum(check.status == "fail" for check in checks)
    result = {
        "workspace": place.root,
        "failed": failed,
        "warned": sum(check.status == "warn" for check in checks),
        "checks": [asdict(check) for check in checks],
    }
    emit(result, as_json=as_json, table=lambda: _table(checks, place.root))
    if failed:
        raise typer.Exit(1)


def _table(checks: list[Check], root: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    marks = {
        "ok": Text("✓", "green"),
        "warn": Text("!", "bold yellow"),
        "fail": Text("✗", "bold red"),
    }
    table = Table(box=None, pad_edge=False, show_header=False)
    for check in checks:
        said = Text(check.found)
        if check.advice:
            said.append(f"\n→ {check.advice}", "yellow" if check.status == "warn" else "red")
        table.add_row(marks[check.status], Text(check.name, "bold"), said)
    failed = sum(check.status == "fail" for check in checks)
    warned = sum(check.status == "warn" for check in checks)
    healthy = "all is well" if not failed + warned else f"{failed} failed, {warned} to look at"
    table.caption = f"{len(checks)} checks for {root}: {healthy}"
    table.caption_justify = "left"
    return table
