"""`visage demo`: see all of it work, in minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

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


STAGES = {
    "emotion": "corpus, audit, prepare, train, evaluate, promote",
    "talking-head": "clips, prepare, train five parts, assemble, transfer a style, animate, score",
    "both": "serve, ask, report",
}


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("demo")(demo)


@verb
def demo(
    corpus: Annotated[
        str | None,
        typer.Option(help="A folder in a known layout; without it a synthetic corpus is drawn."),
    ] = None,
    clips: Annotated[
        str | None, typer.Option(help="Clips of people who speak; without it they are drawn.")
    ] = None,
    only: Annotated[
        Literal["emotion", "talking-head"] | None, typer.Option(help="Show one half alone.")
    ] = None,
    effort: Annotated[
        float, typer.Option(min=0.01, help="Times the talking head's training steps.")
    ] = 1.0,
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
    """The whole life of both models on small corpora, ending with a report and a video in it.

    Emotion: draw or read pictures, audit, prepare, train, evaluate, promote.
    Talking head: draw or read clips, prepare, train its parts, teach it a style,
    make an unseen person speak, compare with the truth.
    Both are then served and asked.

    Takes 13 to 20 minutes on two cores. A second run continues or
    reuses everything that is done.

    Example: visage demo --corpus ~/fer2013
    """
    from pathlib import Path

    from visage_jobs.demo import HALVES, DemoJob, run_demo
    from visage_jobs.workspace import Workspace

    named = corpus or clips
    name = Path(named).resolve().name if named else "synthetic"
    place = Workspace.open(workspace or f"workspace/demo-{name}")
    job = DemoJob(
        workspace=place,
        halves=HALVES if only is None else (only,),
        corpus=Path(corpus) if corpus else None,
        clips=Path(clips) if clips else None,
        effort=effort,
        per_class=per_class,
        preset=preset,
        assignments=tuple(assign or ()),
        workers=workers,
        seed=seed,
    )
    if dry_run:
        plan = {"workspace": place.root, "corpus": corpus or f"{7 * per_class} drawn pictures",
                "preset": preset, "workers": workers, "stages": STAGES}  # fmt: skip
        told = "\n".join(f"{half}: {stages}" for half, stages in STAGES.items())
        emit(plan, as_json=as_json, table=lambda: f"{place.root}\n{told}")
        return
    done = run_demo(job, bars=lambda: bar(quiet=as_json))
    emit(_as_json(done), as_json=as_json, table=lambda: _summary(done, place.root))
    if not as_json:
        say("curves of all runs: mlflow ui --backend-store-uri " + place.tracking_uri())


def _as_json(done: DemoResult) -> dict[str, object]:
    told: dict[str, object] = {"report": done.report, "stages_s": done.stages_s}
    if done.emotion is not None:
        found = done.emotion.evaluation
        told["emotion"] = {
            "accuracy": found.accuracy,
            "accuracy_interval": list(found.accuracy_interval),
            "macro_f1": found.macro_f1,
            "rows": found.rows,
            "promoted": done.emotion.promotion.version,
        }
    if done.talking is not None:
        told["talking_head"] = {
            "model": done.talking.assembled.uri,
            "video": str(done.talking.video.clip.path),
            "scores": done.talking.scores.metrics(),
            "style": {
                name: [one.before, one.after, one.scaled]
                for name, one in done.talking.transferred.scores.items()
            },
        }
    return told


def _summary(done: DemoResult, root: str) -> str:
    from visage_jobs.demo_report import head_sentence

    lines = []
    if done.emotion is not None:
        found = done.emotion.evaluation
        low, high = found.accuracy_interval
        lines.append(
            f"emotion@champion, version {done.emotion.promotion.version}: test accuracy "
            f"{found.accuracy:.1%} (95 % interval {low:.1%} to {high:.1%}, {found.rows} pictures), "
            f"macro-F1 {found.macro_f1:.3f}"
        )
    if done.talking is not None:
        version, told = done.talking.assembled.version, head_sentence(done.talking.scores)
        lines.append(f"talking-head@champion, version {version.version}: {told}")
        lines.append(f"video: {done.talking.video.clip.path}")
    slowest = sorted(done.stages_s.items(), key=lambda item: -item[1])
    lines.append(f"served again by: visage serve --workspace {root}")
    lines.append(
        f"{sum(done.stages_s.values()):.0f} s: "
        + ", ".join(f"{stage} {spent:.0f}" for stage, spent in slowest)
    )
    lines.append(f"report: {done.report}")
    return "\n".join(lines)
