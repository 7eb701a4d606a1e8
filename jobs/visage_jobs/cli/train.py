"""`visage train`: one run of a recipe on prepared data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

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
    from rich.progress import Progress

    from visage_jobs.train import TrainResult


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("train")(train)


@verb
def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="What to train: emotion, audio-encoder, motion, style-mapping, generator or "
            "style-transfer."
        ),
    ],
    data: Annotated[str, typer.Option(help="Prepared corpus: a URI, or a name in the workspace.")],
    preset: Annotated[
        str | None,
        typer.Option(
            help="Shipped preset or a YAML file; default emotion-modern, <recipe>-small for others."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the run; default from spec and data.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Training processes.")] = 2,
    grace: Annotated[
        float,
        typer.Option(min=5.0, help="Seconds between SIGTERM and the end of this command."),
    ] = 30.0,
    gpu: Annotated[bool, typer.Option("--gpu", help="One GPU for each worker.")] = False,
    assign: SetOption = None,
    workspace: WorkspaceOption = None,
    address: AddressOption = None,
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Train on Ray Train, with checkpoints, a ledger of consumed samples, and an MLflow run.

    The same command continues a run that was killed or stopped, exactly where its last checkpoint
    was; a finished run is left alone. SIGTERM saves a checkpoint and exits with 75 within --grace.

    Example: visage train emotion --data caer-s --preset emotion-small --set epochs=5

    Example: visage train motion --data vox --set audio_encoder=workspace/runs/audio/model
    """
    from visage.training.recipes import spec_class
    from visage_jobs.parts import fitted
    from visage_jobs.presets import default_preset, find_preset
    from visage_jobs.train import TrainJob, default_run_name, run_train
    from visage_jobs.workspace import Workspace

    place = Workspace.open(workspace)
    kind = spec_class(recipe)
    chosen = find_preset(preset or default_preset(recipe))
    spec = fitted(kind.load(chosen, assignments=assign or ()), assign or ())
    data_uri = data if "/" in data else place.data(data)
    run_name = name or default_run_name(recipe, spec, data_uri)
    job = TrainJob(
        recipe=recipe,
        spec=spec,
        data_uri=data_uri,
        run_uri=place.run(run_name),
        tracking_uri=place.tracking_uri(),
        experiment=recipe,
        workers=workers,
        use_gpu=gpu,
        address=address,
        grace_s=grace,
    )
    if dry_run:
        plan = {"run": job.run_uri, "workers": workers, "spec": spec.model_dump(mode="json")}
        emit(plan, as_json=as_json, table=lambda: f"{job.run_uri}\n{spec.to_yaml()}")
        return
    say(f"run {job.run_uri}")
    with bar(quiet=as_json) as progress:
        watch = Watcher(progress)
        done = run_train(job, watch=watch)
    emit(_as_json(done), as_json=as_json, table=lambda: _text(done))


class Watcher:
    """Shows the events of a run on a progress bar."""

    def __init__(
        self, progress: Progress, *, label: str = "training", first: str = "starting workers"
    ) -> None:
        """first: what is done before the first event."""
        self._progress, self._label = progress, label
        self._task = progress.add_task(f"{label}: {first}", total=None)
        self._notes: dict[str, str] = {}

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take one event."""
        match event.get("type"):
            case "started":
                self._progress.update(self._task, completed=event["step"], total=event["steps"])
                if event["step"]:
                    say(f"continuing after step {event['step']}")
            case "train":
                self._progress.update(self._task, completed=event["step"], total=event["steps"])
                self._notes["loss"] = f"{event['loss']:.3f}"
            case "validation":
                self._notes[str(event["score_name"])] = _number(event["score"], event["score_name"])
            case "restart":
                say(f"worker group restarts: rank {event['rank']}: {event['reason']}")
            case "skipped":
                say(
                    f"checkpoint {event['checkpoint']} is damaged ({event['reason']}); "
                    f"{event['used']} is used"
                )
            case "adopted":
                say(f"checkpoint {event['checkpoint']} was kept on this machine; it is used")
            case "preemption":
                ranks = ", ".join(str(rank) for rank in event["ranks"])
                say(f"the machine of rank {ranks} will be taken away; saving, then training on")
            case "unsaved":
                say(f"checkpoint not published: {event['reason']}; training goes on")
            case "smaller_batch":
                say(
                    f"out of memory: micro_batch halved to {event['micro_batch']}; "
                    "the global batch stays"
                )
            case "stall":
                how = "its process does not answer" if event["is_silent"] else "no progress"
                say(
                    f"rank {event['rank']} stalled at step {event['step']} ({event['phase']}): "
                    f"{how} for {event['still_s']:.0f} s; the workers are restarted"
                )
        notes = " ".join(f"{name} {value}" for name, value in self._notes.items())
        self._progress.update(self._task, description=f"{self._label} {notes}".strip())


def _as_json(done: TrainResult) -> dict[str, object]:
    return {
        "run": done.run_uri,
        "model": done.model_uri,
        "digest": done.model_digest,
        "steps": done.steps,
        "score": done.score,
        "score_name": done.score_name,
        "mlflow_run": done.mlflow_run,
        "reused": done.reused,
        "seconds": done.seconds,
    }


def _text(done: TrainResult) -> str:
    score = ""
    if done.score is not None:
        score = f", validation {done.score_name} {_number(done.score, done.score_name)}"
    state = "was finished before" if done.reused else "finished"
    spent = done.seconds
    told = (
        f"{spent['start_workers']:.0f} s for workers to start, {spent['train']:.0f} s of training, "
        f"{spent['of_which_data_wait']:.1f} s of it waiting for data\n"
        if spent
        else ""
    )
    after = ""
    if done.recipe == "emotion":
        after = f"\nnext: visage evaluate emotion --model {done.model_uri}"
    return f"run {state}: {done.steps} steps{score}\n{told}model {done.model_uri}{after}"


def _number(value: float, name: str) -> str:
    """An accuracy as a share, anything else as a number."""
    return f"{value:.1%}" if name == "accuracy" else f"{value:.4g}"
