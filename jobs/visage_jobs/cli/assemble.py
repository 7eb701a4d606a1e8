"""`visage assemble`: parts to a talking head with a name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from visage_jobs.cli.console import JsonFlag, WorkspaceOption, emit, verb

if TYPE_CHECKING:
    from visage_jobs.assemble import Assembled


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("assemble")(assemble)


@verb
def assemble(
    motion: Annotated[str, typer.Option(help="Run (or model) of recipe motion.")],
    generator: Annotated[str, typer.Option(help="Run (or model) of recipe generator.")],
    data: Annotated[
        str, typer.Option(help="Prepared clips that show the styles: a URI, or a name.")
    ],
    audio_encoder: Annotated[
        str | None, typer.Option(help="Run of audio-encoder; default the one of the motion run.")
    ] = None,
    style_mapping: Annotated[
        str | None, typer.Option(help="Run of style-mapping; default the generator's.")
    ] = None,
    style_run: Annotated[
        list[str] | None,
        typer.Option(help="Run of style-transfer, for the motion of its style; may be repeated."),
    ] = None,
    name: Annotated[str, typer.Option(help="Registered model.")] = "talking-head",
    alias: Annotated[str, typer.Option(help="Alias to point to it.")] = "champion",
    workspace: WorkspaceOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Put trained parts and the styles of a corpus together into one talking head.

    Parts that were not trained for each other are refused. The model is
    published, registered, and found by its alias afterwards.

    Example: visage assemble --motion motion-1a2b --generator generator-3c4d --data vox
    """
    from visage_jobs.assemble import AssembleJob, run_assemble
    from visage_jobs.workspace import Workspace

    done = run_assemble(
        AssembleJob(
            workspace=Workspace.open(workspace),
            motion=motion,
            generator=generator,
            data=data,
            audio_encoder=audio_encoder,
            style_mapping=style_mapping,
            style_runs=tuple(style_run or ()),
            name=name,
            alias=alias,
        )
    )
    emit(_as_json(done), as_json=as_json, table=lambda: _text(done))


def _as_json(done: Assembled) -> dict[str, object]:
    return {
        "model": f"{done.version.name}@{done.alias}",
        "version": done.version.version,
        "uri": done.uri,
        "digest": done.digest,
        "styles": list(done.styles),
        "parts": done.parts,
    }


def _text(done: Assembled) -> str:
    return (
        f"{done.version.name}@{done.alias} is version {done.version.version} ({done.digest[:12]})\n"
        f"styles: {', '.join(done.styles)}\n{done.uri}\n"
        "next: visage animate --portrait PICTURE --audio SOUND --out out.mp4"
    )
