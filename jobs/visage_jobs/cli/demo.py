"""`visage demo`: see all of it work, in minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from visage_jobs.cli.console import (
    DryRunFlag,
    JsonFlag,
    SetOption,
    bar,
    emit,
    say,
    verb,
)

if TYPE_CHECKING:
    from visage_jobs.demo import DemoResult


STAGES = "corpus, audit, prepare, train, evaluate, promote, serve, ask, report"


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("demo")(demo)


@verb
def demo(
    corpus: Annotated[
        str | None,
        typer.Option(help="A folder in a known layout; without it a synthetic corpus is drawn."),
    ] = None,
    per_class: Annotated[
        int, typer.Option(min=10, help="Pictures of each class of the drawn corpus.")
    ] = 240,
    preset: Annotated[str, typer.Option(help="Training preset.")] = "emotion-small",
    workers: Annotated[int, typer.Option(min=1, help="Training processes.")] = 2,
    assign: SetOption = None,
    workspace: Annotated[
        str | None, typer.Option(help="Folder; default ./workspace/demo-<corpus>.")
    ] = None,
    dry_run: DryRunFlag = False,
    seed: Annotated[int, typer.Option(help="Of the drawn corpus and the splits.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Draw or read a corpus, audit, prepare, train, evaluate, promote, serve, ask and report.

    Takes minutes on two cores. A second run continues or reuses everything that is done.

    Example: visage demo --corpus ~/fer2013
    """
    from pathlib import Path

    from visage_jobs.demo import DemoJob, run_demo
    from visage_jobs.workspace import Workspace

    name = Path(corpus).resolve().name if corpus else "synthetic"
    place = Workspace.open(workspace or f"workspace/demo-{name}")
    job = DemoJob(
        workspace=place,
        corpus=Path(corpus) if corpus else None,
        per_class=per_class,
        preset=preset,
        assignments=tuple(assign or ()),
        workers=workers,
        seed=seed,
    )
    if dry_run:
        plan = {"workspace": place.root, "corpus": corpus or f"{7 * per_class} drawn pictures",
                "preset": preset, "workers": workers, "stages": STAGES}  # fmt: skip
        emit(plan, as_json=as_json, table=lambda: f"{place.root}: {STAGES}")
        return
    done = run_demo(job, bars=lambda: bar(quiet=as_json))
    emit(_as_json(done), as_json=as_json, table=lambda: _summary(done, place.root))
    if not as_json:
        say("curves of all runs: mlflow ui --backend-store-uri " + place.tracking_uri())


def _as_json(done: DemoResult) -> dict[str, object]:
    return {
        "accuracy": done.evaluation.accuracy,
        "accuracy_interval": list(done.evaluation.accuracy_interval),
        "macro_f1": done.evaluation.macro_f1,
        "rows": done.evaluation.rows,
        "promoted": done.promotion.version,
        "report": done.report,
        "stages_s": done.stages_s,
    }


def _summary(done: DemoResult, root: str) -> str:
    low, high = done.evaluation.accuracy_interval
    slowest = sorted(done.stages_s.items(), key=lambda item: -item[1])
    return (
        f"test accuracy {done.evaluation.accuracy:.1%} (95 % interval {low:.1%} to {high:.1%}, "
        f"{done.evaluation.rows} pictures), macro-F1 {done.evaluation.macro_f1:.3f}\n"
        f"served as emotion@champion, version {done.promotion.version}; "
        f"again: visage serve --workspace {root}\n"
        f"{sum(done.stages_s.values()):.0f} s: "
        + ", ".join(f"{stage} {spent:.0f}" for stage, spent in slowest)
        + f"\nreport: {done.report}"
    )
