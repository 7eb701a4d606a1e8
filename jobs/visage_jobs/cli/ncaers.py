"""`visage ncaers`: stills of clips whose splits share no video, or no show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from visage_jobs.cli.console import JsonFlag, bar, emit, verb


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""

    @app.command()
    @verb
    def ncaers(
        directory: Annotated[Path, typer.Argument(help="Folder of labelled clips, such as CAER.")],
        out: Annotated[
            Path, typer.Argument(file_okay=False, help="Folder for the pictures and the manifest.")
        ],
        layout: Annotated[
            str, typer.Option(help="How the clips lie on disk; auto finds out.")
        ] = "auto",
        parts: Annotated[int, typer.Option(min=1, help="Stills of each clip.")] = 2,
        seed: Annotated[int, typer.Option(help="Decides which frames are drawn.")] = 0,
        disjoint: Annotated[
            Literal["video", "show"],
            typer.Option(help="What no two splits may share; show draws the splits anew."),
        ] = "video",
        shows: Annotated[
            Path | None,
            typer.Option(help="CSV file with the header path,show, for --disjoint show."),
        ] = None,
        duplicates: Annotated[
            Literal["refuse", "drop"],
            typer.Option(
                help="Equal clips or pictures in two splits: stop, or keep the test copy."
            ),
        ] = "refuse",
        faces: Annotated[
            Literal["auto", "dlib68", "fan", "none"],
            typer.Option(help="Who finds the face boxes; none leaves that to prepare."),
        ] = "auto",
        workers: Annotated[
            int | None, typer.Option(min=1, max=64, help="Decoding threads; by default one a core.")
        ] = None,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")
        ] = False,
        as_json: JsonFlag = False,
    ) -> None:
        """Build NCAER-S: a few stills of each clip, no clip on both sides of a split.

        Frames of one video in train and test make the accuracy meaningless. This corpus has none:
        each clip gives its stills to one split, and the manifest is written only after that is
        proven. A broken build continues where it was.

        Example: visage ncaers corpora/CAER corpora/NCAER-S --parts 2
        """
        from visage_jobs.ncaers import build, plan, render, render_plan

        if dry_run:
            planned = plan(
                directory,
                layout=layout,
                parts=parts,
                seed=seed,
                disjoint=disjoint,
                shows=shows,
                duplicates=duplicates,
            )
            emit(planned, as_json=as_json, table=lambda: render_plan(planned))
            return
        with bar(quiet=as_json) as progress:
            report = build(
                directory,
                out,
                layout=layout,
                parts=parts,
                seed=seed,
                disjoint=disjoint,
                shows=shows,
                duplicates=duplicates,
                faces=faces,
                workers=workers,
                progress=progress,
            )
        emit(report.summary(), as_json=as_json, table=lambda: render(report))
