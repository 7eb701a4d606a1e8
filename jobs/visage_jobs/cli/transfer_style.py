"""`visage transfer-style`: a clip to a style."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visage_jobs.cli.console import (
    DryRunFlag,
    FacesOption,
    JsonFlag,
    SetOption,
    WorkspaceOption,
    bar,
    emit,
    say,
    verb,
)

if TYPE_CHECKING:
    from rich.table import Table

    from visage_jobs.transfer_style import Transferred


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("transfer-style")(transfer_style)


@verb
def transfer_style(
    clip: Annotated[Path, typer.Option(help="Somebody who speaks or sings in the style.")],
    name: Annotated[str, typer.Option(help="What the style shall be called.")],
    model: Annotated[
        str, typer.Option(help="Talking head to teach: a registry reference or a URI.")
    ] = "talking-head@champion",
    preset: Annotated[
        str, typer.Option(help="Shipped preset or a YAML file.")
    ] = "style-transfer-small",
    workers: Annotated[int, typer.Option(min=1, help="Training processes.")] = 1,
    faces: FacesOption = "auto",
    assign: SetOption = None,
    workspace: WorkspaceOption = None,
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a style of a clip: five pictures, and a small change of how the model moves.

    Fine-tunes the motion generator in minutes. Reported is how far generated
    motion is from the last quarter of the clip, which is not learnt from (in
    clips of less than two windows of training, nothing is held out, and a note
    says so): before, after, and if the mouth of the untouched model were only
    made larger. The same command again continues, or gives what stands.

    Example: visage transfer-style --clip opera.mp4 --name opera
    """
    from visage_jobs.cli.train import Watcher
    from visage_jobs.transfer_style import TransferJob, plan_transfer, run_transfer
    from visage_jobs.workspace import Workspace

    job = TransferJob(
        workspace=Workspace.open(workspace),
        clip=clip,
        name=name,
        model=model,
        preset=preset,
        assignments=tuple(assign or ()),
        workers=workers,
        faces=faces,
    )
    if dry_run:
        plan = plan_transfer(job)
        held_out = f"{plan['held_out_s']} s or more, nothing of a clip shorter than twice that"
        told = "\n".join(f"{k}: {v}" for k, v in {**plan, "held_out_s": held_out}.items())
        emit(plan, as_json=as_json, table=lambda: told)
        return
    with bar(quiet=as_json) as progress:
        done = run_transfer(
            job, watch=Watcher(progress, label="transfer", first="reading the clip"), note=say
        )
    emit(_as_json(done), as_json=as_json, table=lambda: _table(done))


def _as_json(done: Transferred) -> dict[str, object]:
    return {
        "style": done.card.name,
        "uri": done.uri,
        "run": done.run_uri,
        "coverage": dict(zip(("None", "M", "R", "O"), done.card.coverage, strict=True)),
        "scores": {
            name: {"before": one.before, "after": one.after, "scaled": one.scaled}
            for name, one in done.scores.items()
        },
        "seconds": done.seconds,
        "notes": list(done.notes),
    }


def _table(done: Transferred) -> Table:
    from rich.table import Table

    table = Table(
        title=f"style {done.card.name}: distance from the clip, lower is nearer",
        caption=f"{done.uri}\nnext: visage animate --style {done.card.name} …",
    )
    for heading in ("metric", "before", "after", "mouth only scaled"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for name, one in done.scores.items():
        table.add_row(
            name.upper(), *(f"{value:.3f}" for value in (one.before, one.after, one.scaled))
        )
    return table
