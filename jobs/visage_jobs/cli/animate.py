"""`visage animate`: a portrait and a sound to a video."""

from __future__ import annotations

from dataclasses import asdict
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
    ending_clean,
    say,
    verb,
)

if TYPE_CHECKING:
    from visage_jobs.animate import Animated


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("animate")(animate)


@verb
def animate(
    portrait: Annotated[Path, typer.Option(help="A picture of one face that looks ahead.")],
    audio: Annotated[
        Path, typer.Option(help="Speech or song: WAV, MP3, M4A, FLAC, Ogg, or a clip.")
    ],
    out: Annotated[Path, typer.Option(help="The MP4 to write.")],
    style: Annotated[
        str | None, typer.Option(help="A style of the model or of this workspace.")
    ] = None,
    style_clip: Annotated[
        Path | None, typer.Option(help="Speak as the person in this clip does.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="Registry reference, or the URI of a model.")
    ] = "talking-head@champion",
    fps: Annotated[float, typer.Option(min=24, max=60, help="Frames a second.")] = 30.0,
    size: Annotated[
        int | None, typer.Option(help="Side of the video; default the model's, 256 at least.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of head motion and blinks.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda:0.")] = "cpu",
    faces: FacesOption = "auto",
    assign: SetOption = None,
    workspace: WorkspaceOption = None,
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a portrait say (or sing) a recording, in a style.

    The sound stays whole and in time; memory does not grow with its length.
    The same inputs, seed and model give the same frames.

    Example: visage animate --portrait me.jpg --audio speech.wav --out me.mp4
    """
    from visage.specs.render import RenderSpec
    from visage_jobs.animate import AnimateJob, plan_animate, run_animate
    from visage_jobs.workspace import Workspace

    spec = RenderSpec.load(assignments=assign or (), fps=fps, size=size, seed=seed)
    job = AnimateJob(
        workspace=Workspace.open(workspace),
        portrait=portrait,
        audio=audio,
        out=out,
        style=style,
        style_clip=style_clip,
        model=model,
        spec=spec,
        device=device,
        faces=faces,
    )
    if dry_run:
        with ending_clean():
            plan = asdict(plan_animate(job, note=say))
        told = {**plan, "size": f"{plan['size']} pixels", "duration_s": f"{plan['duration_s']:.2f}"}
        emit(plan, as_json=as_json, table=lambda: "\n".join(f"{k}: {v}" for k, v in told.items()))
        return
    with ending_clean(), bar(quiet=as_json) as progress:
        task = progress.add_task("rendering", total=None)
        done = run_animate(
            job,
            progress=lambda at, total: progress.update(task, completed=at, total=total),
            note=say,
        )
    emit(_as_json(done), as_json=as_json, table=lambda: _text(done))


def _as_json(done: Animated) -> dict[str, object]:
    clip = done.clip
    return {
        "out": str(clip.path),
        "model": done.model,
        "style": done.style,
        "frames": clip.frames,
        "fps": clip.fps,
        "size": clip.size,
        "duration_s": clip.duration_s,
        "seconds": clip.seconds,
        "notes": list(done.notes),
    }


def _text(done: Animated) -> str:
    clip = done.clip
    spent = ", ".join(
        f"{name} {value:.1f}" for name, value in clip.seconds.items() if name != "all"
    )
    rate = clip.frames / max(1e-9, clip.seconds["all"])
    return (
        f"{clip.path}: {clip.duration_s:.1f} s, {clip.frames} frames of {clip.size} x {clip.size} "
        f"at {clip.fps:g}/s, style {done.style}\n"
        f"{clip.seconds['all']:.1f} s, {rate:.0f} frames/s (seconds: {spent})\n"
        f"model {done.model}; the file says that it is synthetic"
    )
