"""`visage evaluate`: scores of a model on a held-out split, with a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

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
    from rich.console import Group
    from rich.table import Table

    from visage.tracking.evaluation import Evaluation
    from visage.tracking.head_evaluation import HeadEvaluation
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
    data_uri = data if "/" in data else place.data(data)
    evaluator = Evaluator(place, data_uri=data_uri, split=_checked_split(split), address=address)
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


@evaluate_app.command("talking-head")
@verb
def talking_head(
    data: Annotated[str, typer.Option(help="Prepared clips: a URI, or a name in the workspace.")],
    model: Annotated[
        str, typer.Option(help="Registry reference, or the URI of a model.")
    ] = "talking-head@champion",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    frames: Annotated[
        int, typer.Option(min=1, help="Pictures a clip that are painted and looked at.")
    ] = 32,
    clips: Annotated[
        int | None, typer.Option(min=1, help="At most so many clips, evenly over the split.")
    ] = None,
    style: Annotated[
        str | None, typer.Option(help="Style of all clips; default each clip's own.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of head motion and blinks.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, or cuda: one GPU for each actor.")] = "cpu",
    assign: SetOption = None,
    workspace: WorkspaceOption = None,
    address: AddressOption = None,
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Let a talking head say held-out clips, and compare with the truth and with stillness.

    Prints the columns of both published tables (CPBD, LMD, D-L, D-V, D-A; SLD, SLV, SMD) for the
    generated clips, a frozen face and the mean face, and how well mouths open in time.

    Example: visage evaluate talking-head --data vox --model talking-head@champion
    """
    from visage.specs.evaluate import HeadEvaluationSpec
    from visage_jobs.evaluate_heads import HeadEvaluationJob, evaluate_head, plan_head_evaluation
    from visage_jobs.workspace import Workspace

    place = Workspace.open(workspace)
    job = HeadEvaluationJob(
        workspace=place,
        data_uri=data if "/" in data else place.data(data),
        split=_checked_split(split),
        model=model,
        spec=HeadEvaluationSpec.load(
            assignments=assign or (), frames=frames, clips=clips, style=style, seed=seed
        ),
        device=device,
        address=address,
    )
    if dry_run:
        plan = plan_head_evaluation(job)
        emit(plan, as_json=as_json, table=lambda: f"would evaluate {plan}")
        return
    with bar(quiet=as_json) as progress:
        task = progress.add_task("comparing clips", total=None)
        found = evaluate_head(
            job, progress=lambda at, total: progress.update(task, completed=at, total=total)
        )
    emit(_head_json(found), as_json=as_json, table=lambda: _head_tables(found))


def _checked_split(split: str) -> Literal["train", "val", "test"]:
    from visage.errors import SpecError

    if split not in ("train", "val", "test"):
        raise SpecError(f"--split {split}: choose train, val or test")
    return split  # type: ignore[return-value]  # checked above


def _head_json(found: HeadEvaluation) -> dict[str, object]:
    from dataclasses import asdict

    return {"evaluation": found.uri, **asdict(found)}


def _head_tables(found: HeadEvaluation) -> Group:
    from rich.console import Group

    return Group(
        _head_table(found, "Table 1", ("1",)),
        _head_table(found, "Table 2", ("2",)),
        _head_table(found, "When the mouth opens, by landmarks and as seen in the pictures", ("",)),
        f"mean ± deviation over {found.clips} clips of {found.split}; landmarks in pixels of 512 "
        f"at 60 Hz, by formula; pictures of {found.picture_px[1]} (true: {found.picture_px[0]}) "
        f"brought to 512\n"
        + (f"{len(found.skipped)} clips skipped\n" if found.skipped else "")
        + f"model {found.model}\n{found.uri}",
    )


def _head_table(found: HeadEvaluation, title: str, numbers: tuple[str, ...]) -> Table:
    from rich.table import Table

    from visage.metrics.head_tables import COLUMNS

    columns = [one for one in COLUMNS if one.table in numbers]
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in columns:
        table.add_column(
            f"{column.title} {'↑' if column.better == 'higher' else '↓'}", justify="right"
        )
    names = {
        "truth": "truth",
        "generated": "generated",
        "painted": "true motion, painted",
        "frozen": "frozen face",
        "mean": "mean face",
    }
    for subject, name in names.items():
        spreads = found.subjects.get(subject, {})
        if not any(one.name in spreads for one in columns):
            continue
        cells = (
            f"{spreads[one.name].mean:.2f} ± {spreads[one.name].deviation:.2f}"
            if one.name in spreads else "-"
            for one in columns
        )  # fmt: skip
        table.add_row(name, *cells)
    table.add_section()
    for baseline, counts in found.wins.items():
        cells = (
            f"{counts[one.name]}/{found.clips}" if one.name in counts else "-" for one in columns
        )
        table.add_row(f"better than {names[baseline]}", *cells)
    return table


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
