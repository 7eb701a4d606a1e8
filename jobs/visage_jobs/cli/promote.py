"""`visage promote`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visage_jobs.cli.console import JsonFlag, SetOption, emit, verb

if TYPE_CHECKING:
    from rich.table import Table

    from visage_jobs.promote import Promotion


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("promote")(promote)


@verb
def promote(
    target: Annotated[
        str,
        typer.Argument(
            metavar="RUN_OR_MODEL",
            help="A version (emotion/3), an evaluation, a run, or a folder of weights.",
        ),
    ],
    name: Annotated[str, typer.Option(help="Registered model.")] = "emotion",
    alias: Annotated[str, typer.Option(help="Alias to move.")] = "champion",
    workspace: Annotated[
        str | None, typer.Option(help="Folder or s3:// prefix of the project.")
    ] = None,
    evaluation: Annotated[str | None, typer.Option(help="Judge by this evaluation folder.")] = None,
    gates: Annotated[Path | None, typer.Option(help="YAML file with other gate limits.")] = None,
    assignments: SetOption = None,
    device: Annotated[str, typer.Option(help="Where latency is measured: cpu or cuda:0.")] = "cpu",
    force: Annotated[bool, typer.Option("--force", help="Promote although a gate fails.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge only; change nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run the promotion gates on an evaluated model and point an alias to it.

    Gates: accuracy (lower end of its interval), not worse than the champion
    on the same pictures, recall of every class, latency, size. The alias
    moves only if nobody else moved it meanwhile. Exit 1 if a gate fails.

    Example: visage promote my-run --alias champion --set accuracy_floor=0.6
    """
    from visage.tracking.gates import GatePolicy
    from visage_jobs.promote import PromoteJob, run_promote
    from visage_jobs.workspace import Workspace

    job = PromoteJob(
        target=target,
        workspace=Workspace.open(workspace),
        name=name,
        alias=alias,
        policy=GatePolicy.load(gates, assignments=assignments or ()),
        evaluation=evaluation,
        force=force,
        dry_run=dry_run,
        device=device,
    )
    result = run_promote(job)
    emit(result.to_json(), as_json=as_json, table=lambda: _table(result, dry_run=dry_run))
    if not result.passed and not force:
        raise typer.Exit(1)


def _table(result: Promotion, *, dry_run: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=f"{result.model_digest[:12]} for {result.name}@{result.alias}", title_style="bold"
    )
    for heading, justify in (
        ("", "left"),
        ("gate", "left"),
        ("measured", "right"),
        ("required", "right"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]  # rich's literal type
    table.add_column("what was found")
    for gate in result.gates:
        mark = Text("✓", "green") if gate.passed else Text("✗", "bold red")
        measured = "-" if gate.measured is None else f"{gate.measured:.3g}"
        table.add_row(mark, gate.name, measured, f"{gate.required:g}", Text(gate.sentence))
    table.caption = _outcome(result, dry_run=dry_run)
    table.caption_justify = "left"
    return table


def _outcome(result: Promotion, *, dry_run: bool) -> str:
    pointer = f"{result.name}@{result.alias}"
    if result.moved:
        before = result.previous or "nothing"
        forced = "" if result.passed else " although a gate failed"
        return f"{pointer} now points to version {result.version} (before: {before}){forced}"
    if result.version is not None:
        return f"{pointer} already pointed to version {result.version}"
    if dry_run:
        return f"dry run: {pointer} stays at {result.previous or 'nothing'}"
    return f"{pointer} stays at {result.previous or 'nothing'}; improve the model, or use --force"
