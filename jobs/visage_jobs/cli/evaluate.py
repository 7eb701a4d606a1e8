"""`visage evaluate`: scores of a model on a held-out split, with a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from visage_jobs.cli.console import (
    AddressOption,
    DryRunFlag,
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

    from visage.tracking.evaluation import Evaluation
    from visage_jobs.ablation import AblationResult
    from visage_jobs.evaluation_report import Evaluator

evaluate_app = typer.Typer(no_args_is_help=True, help="Score a model on a held-out split.")


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.add_typer(evaluate_app, name="evaluate")


@evaluate_app.callback()
def _evaluate() -> None:
    """Score a model on a held-out split: tables, plots, one HTML report."""


@evaluate_app.command("emotion")
@verb
def emotion(
    data: Annotated[str, typer.Option(help="Prepared corpus: a URI, or a name in the workspace.")],
    model: Annotated[
        str | None, typer.Option(help="Model: a registry reference, a run's name or a URI.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Second model for a paired test on the same pictures.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Train and compare the variants of the paper.")
    ] = False,
    preset: Annotated[
        str, typer.Option(help="Preset that --ablation trains its variants with.")
    ] = "emotion-small",
    assign: SetOption = None,
    workers: Annotated[int, typer.Option(min=1, help="Training processes (--ablation).")] = 2,
    workspace: WorkspaceOption = None,
    address: AddressOption = None,
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Accuracy with its Wilson interval, macro-F1, classes, confusion, calibration, report.

    Examples:

    visage evaluate emotion --data caer-s --model emotion@champion

    visage evaluate emotion --data caer-s --ablation --preset emotion-small
    """
    from visage.errors import SpecError
    from visage_jobs.evaluation_report import Evaluator
    from visage_jobs.workspace import Workspace

    place = Workspace.open(workspace)
    if split not in ("train", "val", "test"):
        raise SpecError(f"--split {split}: choose train, val or test")
    data_uri = data if "/" in data else place.data(data)
    evaluator = Evaluator(place, data_uri=data_uri, split=split, address=address)  # type: ignore[arg-type]  # checked above
    if ablation:
        _ablation(evaluator, preset, assign or [], workers, dry_run, as_json)
        return
    if model is None:
        raise SpecError("give --model (a registry reference, a run's name or a URI), or --ablation")
    if dry_run:
        plan = evaluator.plan(model)
        emit(plan, as_json=as_json, table=lambda: f"would evaluate {plan}")
        return
    _scores(evaluator, model, against, as_json)


def _scores(evaluator: Evaluator, model: str, against: str | None, as_json: bool) -> None:
    with bar(quiet=as_json) as progress:
        task = progress.add_task("predicting", total=None)
        found, report = evaluator.evaluate(
            model,
            against=against,
            progress=lambda at, total: progress.update(task, completed=at, total=total),
        )
    emit(
        {
            "evaluation": found.uri,
            "report": report,
            "rows": found.rows,
            "accuracy": found.accuracy,
            "accuracy_interval": list(found.accuracy_interval),
            "macro_f1": found.macro_f1,
            "ece": found.ece,
        },
        as_json=as_json,
        table=lambda: _table(found, report),
    )


def _ablation(
    evaluator: Evaluator,
    preset: str,
    assign: list[str],
    workers: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    from visage_jobs.ablation import VARIANTS, run_ablation

    if dry_run:
        names = [variant.name for variant in VARIANTS]
        emit({"variants": names}, as_json=as_json, table=lambda: "\n".join(names))
        return
    results = run_ablation(
        evaluator, preset=preset, assignments=assign, workers=workers, say=say, quiet=as_json
    )
    rows = [one.as_row() for one in results]
    emit({"ablation": rows}, as_json=as_json, table=lambda: _ablation_table(results))


def _table(found: Evaluation, report: str) -> Table:
    from rich.table import Table

    low, high = found.accuracy_interval
    table = Table(
        title=f"accuracy {found.accuracy:.1%} (95 % interval {low:.1%} – {high:.1%}), "  # noqa: RUF001 an interval is written with an en dash
        f"macro-F1 {found.macro_f1:.3f}, ECE {found.ece:.3f}, {found.rows} pictures",
        title_justify="left",
    )
    for name in ("class", "precision", "recall", "F1", "pictures"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for one in found.per_class:
        table.add_row(
            one.name,
            f"{one.precision:.3f}",
            f"{one.recall:.3f}",
            f"{one.f1:.3f}",
            str(one.support),
        )
    table.caption = f"report {report}"
    table.caption_justify = "left"
    return table


def _ablation_table(results: list[AblationResult]) -> Table:
    from rich.table import Table

    table = Table(title="ablation", title_justify="left")
    for name in ("variant", "accuracy here", "95 % interval", "published"):
        table.add_column(name, justify="left" if name == "variant" else "right")
    for one in results:
        low, high = one.interval
        table.add_row(
            one.variant.name,
            f"{one.accuracy:.1%}",
            f"{low:.1%} … {high:.1%}",
            "-" if one.variant.published is None else f"{one.variant.published:.2f} %",
        )
    table.caption = "published: NCAER-S, full-width network, 60 epochs; compare differences only"
    table.caption_justify = "left"
    return table
