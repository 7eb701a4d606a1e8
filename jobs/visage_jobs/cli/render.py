"""`visage render`: a table of portraits and sounds to videos, overnight if need be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from visage_jobs.cli.console import (
    AddressOption,
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

    from visage.rendering.batch_plan import BatchPlan
    from visage_jobs.actor_pool import ActorBounds
    from visage_jobs.render import RenderResult


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("render")(render)


@verb
def render(
    rows: Annotated[
        str,
        typer.Argument(
            help="Table (.csv, .jsonl, .parquet) with the columns portrait and audio, if wished "
            "style and key; or a RAVDESS folder."
        ),
    ],
    out: Annotated[str, typer.Option(help="Folder or s3:// prefix; videos go to OUT/clips/.")],
    root: Annotated[
        str | None, typer.Option(help="Where the table's paths begin; default its folder.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="Registry reference, or the URI of a model.")
    ] = "talking-head@champion",
    fps: Annotated[float, typer.Option(min=24, max=60, help="Frames a second.")] = 30.0,
    size: Annotated[
        int | None, typer.Option(help="Side of the videos; default the model's, 256 at least.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of head motion and blinks.")] = 0,
    actors: Annotated[
        str,
        typer.Option(metavar="MIN:MAX", help="Renderers at once; default 1 to all cores or GPUs."),
    ] = "1:",
    device: Annotated[str, typer.Option(help="cpu, or cuda: one GPU for each renderer.")] = "cpu",
    faces: FacesOption = "auto",
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Try again what a former job rejected.")
    ] = False,
    assign: SetOption = None,
    workspace: WorkspaceOption = None,
    address: AddressOption = None,
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Render every row of a table; what stands already, of the same content, is not made again.

    A row that cannot be rendered costs itself and says why. A killed job
    goes on with the same command; a new model or setting renders anew.

    Example: visage render rows.csv --out s3://bucket/videos --actors 2:16
    """
    from visage.specs.render import RenderSpec
    from visage_jobs.render import RenderJob, plan_render, run_render
    from visage_jobs.workspace import Workspace

    job = RenderJob(
        workspace=Workspace.open(workspace),
        rows=rows,
        out=out,
        root=root,
        model=model,
        spec=RenderSpec.load(assignments=assign or (), fps=fps, size=size, seed=seed),
        device=device,
        faces=faces,
        actors=_bounds(actors),
        retry_rejected=retry_rejected,
        address=address,
    )
    if dry_run:
        plan, _ = plan_render(job)
        _note(plan.table.notes)
        found = _planned(plan)
        emit(found, as_json=as_json, table=lambda: "\n".join(f"{k}: {v}" for k, v in found.items()))
        return
    with bar(quiet=as_json) as progress:
        task = progress.add_task("rendering rows", total=None)
        done = run_render(
            job, progress=lambda at, total: progress.update(task, completed=at, total=total)
        )
    _note(done.table.notes)
    emit(_as_json(done), as_json=as_json, table=lambda: _table(done))
    if not any(one.status != "rejected" for one in done.rows):
        raise typer.Exit(1)


def _bounds(text: str) -> ActorBounds:
    from visage.errors import SpecError
    from visage_jobs.actor_pool import ActorBounds

    least, _, most = text.partition(":") if ":" in text else (text, "", text)
    try:
        return ActorBounds(least=int(least or 1), most=int(most) if most else None)
    except ValueError:
        raise SpecError(
            f"--actors {text}: write MIN:MAX, for example 2:16, or one number"
        ) from None


def _note(notes: tuple[str, ...]) -> None:
    for note in notes:
        say(f"note: {note}")


def _planned(plan: BatchPlan) -> dict[str, object]:
    from collections import Counter

    from visage.rendering.outcome import Rejected

    standing = Counter(
        one.code if isinstance(one, Rejected) else "reused"
        for one in (*plan.outcomes({}).values(),)
    )
    return {
        "rows": len(plan.table.rows),
        "videos_to_render": len(plan.tasks),
        "rows_to_render": plan.rows_to_render,
        **dict(standing),
    }


def _as_json(done: RenderResult) -> dict[str, object]:
    from visage.rendering.outcome import Rejected, counts

    return {
        "out": done.job.out,
        "outcomes": done.outcomes_uri,
        "model": done.model,
        "rows": len(done.rows),
        "counts": counts(done.rows),
        "videos": done.videos,
        "frames": done.frames,
        "wall_s": done.wall_s,
        "rejected": [
            {"row": one.row.name, "code": one.outcome.code, "detail": one.outcome.detail}
            for one in done.rows
            if isinstance(one.outcome, Rejected)
        ],
    }


def _table(done: RenderResult) -> Table:
    from rich.table import Table

    from visage.rendering.outcome import Rejected, counts

    table = Table(title=f"{done.job.out}  ({done.model})", title_justify="left")
    table.add_column("outcome")
    table.add_column("rows", justify="right")
    table.add_column("for example")
    examples: dict[str, str] = {}
    for one in done.rows:
        if isinstance(one.outcome, Rejected):
            examples.setdefault(one.outcome.code, f"{one.row.name}: {one.outcome.detail}")
    for name, count in counts(done.rows).items():
        table.add_row(name, str(count), examples.get(name, ""))
    table.add_section()
    table.add_row("all", str(len(done.rows)), "")
    rate = done.frames / max(1e-9, done.wall_s)
    table.caption = (
        f"{done.videos} videos, {done.frames} frames in {done.wall_s:.1f} s ({rate:.0f} frames/s)\n"
        f"a line for each row: {done.outcomes_uri}"
    )
    table.caption_justify = "left"
    return table
