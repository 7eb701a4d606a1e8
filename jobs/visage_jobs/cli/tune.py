"""`visage tune`: search for a better training spec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from visage_jobs.cli.console import JsonFlag, SetOption, bar, emit, say, verb

if TYPE_CHECKING:
    from rich.console import Group
    from rich.progress import Progress

    from visage.specs.tune import TuneSpec
    from visage.tuning.search import Search, Trial
    from visage_jobs.tune import TuneResult

RATIOS = ("val/accuracy", "val/macro_f1")


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("tune")(tune)


@verb
def tune(
    recipe: Annotated[str, typer.Argument(help="What to train: emotion, generator, …")],
    data: Annotated[str, typer.Option(help="Prepared corpus: a URI, or a name in the workspace.")],
    preset: Annotated[
        str | None,
        typer.Option(help="The search: shipped preset or a YAML file.  [tune-<recipe>]"),
    ] = None,
    train_preset: Annotated[
        str | None,
        typer.Option(help="What each trial starts from; default as of visage train."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the search; default from its settings.")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many; default preset.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Training processes of one trial.")] = 1,
    gpu: Annotated[bool, typer.Option("--gpu", help="One GPU for each worker.")] = False,
    assign: SetOption = None,
    train_assign: Annotated[
        list[str] | None,
        typer.Option(
            "--set-train", metavar="KEY=VALUE", help="Override one key of the training preset."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue this search.")] = False,
    workspace: Annotated[str | None, typer.Option(help="Folder or s3:// prefix.")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster; default this machine.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the search and its first trials.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Search learning rates, region weights, or any other keys of a training spec, on Ray Tune.

    Each trial is a run like those of visage train, below runs/<search>/; poor ones stop early
    (ASHA). After a kill, --resume repeats no finished trial and continues the others from their
    checkpoints. A finished search can be made longer with --resume --trials.

    Example: visage tune emotion --data caer-s --train-preset emotion-small --trials 8

    Example: visage tune generator --data vox --trials 8
    """
    from visage.specs.tune import TuneSpec
    from visage.training.recipes import spec_class
    from visage_jobs.parts import fitted
    from visage_jobs.presets import default_preset, find_preset
    from visage_jobs.tune import TuneJob, default_search_name, run_tune
    from visage_jobs.workspace import Workspace

    place = Workspace.open(workspace)
    kind, given = spec_class(recipe), train_assign or ()
    spec = TuneSpec.load(
        find_preset(preset or f"tune-{recipe}"), assignments=assign or (), trials=trials
    )
    chosen = find_preset(train_preset or default_preset(recipe))
    base = fitted(kind.load(chosen, assignments=given), given)
    search_name = name or default_search_name(recipe, spec, base)
    job = TuneJob(
        recipe=recipe,
        spec=spec,
        base=base,
        data_uri=data if "/" in data else place.data(data),
        search_uri=place.run(search_name),
        tracking_uri=place.tracking_uri(),
        experiment=f"{recipe}-tune",
        workers=workers,
        use_gpu=gpu,
        address=address,
        resume=resume,
    )
    if dry_run:
        plan = {"search": job.search_uri, "spec": spec.model_dump(mode="json")}
        emit(plan, as_json=as_json, table=lambda: f"{job.search_uri}\n{spec.to_yaml()}")
        return
    say(f"search {job.search_uri}")
    with bar(quiet=as_json) as progress:
        done = run_tune(job, watch=_Watcher(progress, spec))
    emit(_as_json(done, spec), as_json=as_json, table=lambda: _table(done, spec, recipe))


class _Watcher:
    """Shows the search on a progress bar, and each end of a trial on a line."""

    def __init__(self, progress: Progress, spec: TuneSpec) -> None:
        self._progress, self._spec = progress, spec
        self._task = progress.add_task("trials", total=spec.trials)
        self._told: set[int] = set()

    def __call__(self, trial: Trial, search: Search) -> None:
        ended = [one for one in search.trials if one.state != "running"]
        best = search.best()
        note = f", best {_number(best.score(self._spec), self._spec)}" if best else ""
        self._progress.update(
            self._task,
            description=f"trials, {len(search.unfinished())} running{note}",
            completed=len(ended),
            total=search.size,
        )
        if trial.state != "running" and trial.number not in self._told:
            self._told.add(trial.number)
            say(f"{trial.name} {trial.state} {_number(trial.score(self._spec), self._spec)}"
                f"{'  ' + trial.reason if trial.reason else ''}")  # fmt: skip


def _as_json(done: TuneResult, spec: TuneSpec) -> dict[str, object]:
    return {
        "search": done.search_uri,
        "metric": spec.metric,
        "best": done.best.name,
        "best_spec": done.best_spec.model_dump(mode="json"),
        "best_model": done.best_model_uri,
        "best_preset": done.best_preset_uri,
        "mlflow_run": done.mlflow_run,
        "reused": done.reused,
        "seconds": done.seconds,
        "trials": [
            {
                "trial": one.name,
                "state": one.state,
                "score": one.score(spec),
                "epochs": one.seen[-1].epoch if one.seen else 0.0,
                "values": dict(one.values),
                "reason": one.reason,
            }
            for one in done.trials
        ],
    }


def _table(done: TuneResult, spec: TuneSpec, recipe: str) -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{len(done.trials)} trials, best first")
    metric = spec.metric.removeprefix("val/")
    for title in ("trial", "state", metric, "epochs", *(_short(key, spec) for key in spec.space)):
        side: Literal["left", "right"] = "left" if title in ("trial", "state") else "right"
        table.add_column(title, justify=side, overflow="fold")
    for one in done.trials:
        table.add_row(
            one.name.removeprefix("trial-"),
            one.state,
            _number(one.score(spec), spec),
            f"{one.seen[-1].epoch:.3g}" if one.seen else "-",
            *(_value(one.values[key]) for key in spec.space),
            style="bold" if one is done.best else None,
        )
    failed = [f"{one.name} failed: {one.reason}" for one in done.trials if one.state == "failed"]
    reused = f", {done.reused} trials had ended before" if done.reused else ""
    return Group(
        table,
        Text(
            "\n".join(
                [
                    *failed,
                    f"{done.seconds:.0f} s{reused}",
                    f"best spec {done.best_preset_uri}",
                    f"model     {done.best_model_uri}",
                    f"next: visage train {recipe} --data … --preset {done.best_preset_uri}",
                ]
            )
        ),
    )


def _number(score: float | None, spec: TuneSpec) -> str:
    if score is None:
        return "-"
    return f"{score:.1%}" if spec.metric in RATIOS else f"{score:.4f}"


def _value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _short(key: str, spec: TuneSpec) -> str:
    """The last part of a key where that names it."""
    last = key.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in spec.space) == 1 else key
