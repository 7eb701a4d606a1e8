"""`visage ncaers`: stills of clips whose splits share no video, or no show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from visage_jobs.cli.console import JsonFlag, bar, emit, verb

Layout = Annotated[str, typer.Option(help="How the clips lie on disk; auto finds out.")]
Parts = Annotated[int, typer.Option(min=1, help="Stills of each clip.")]
Seed = Annotated[int, typer.Option(help="Decides which frames are drawn.")]
Disjoint = Annotated[
    Literal["video", "show"],
    typer.Option(help="What no two splits may share; show draws the splits anew."),
]
Shows = Annotated[
    Path | None, typer.Option(help="CSV file with the header path,show, for --disjoint show.")
]
Duplicates = Annotated[
    Literal["refuse", "drop"],
    typer.Option(help="Equal clips or pictures in two splits: stop, or keep the test copy."),
]
Faces = Annotated[
    Literal["auto", "dlib68", "fan", "none"],
    typer.Option(help="Who finds the face boxes; none leaves that to prepare."),
]
Workers = Annotated[
    int | None, typer.Option(min=1, max=64, help="Decoding threads; by default one a core.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")
]


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""

    @app.command()
    @verb
    def ncaers(
        directory: Annotated[Path, typer.Argument(help="Folder of labelled clips, such as CAER.")],
        out: Annotated[
            Path, typer.Argument(file_okay=False, help="Folder for the pictures and the manifest.")
        ],
        layout: Layout = "auto",
        parts: Parts = 2,
        seed: Seed = 0,
        disjoint: Disjoint = "video",
        shows: Shows = None,
        duplicates: Duplicates = "refuse",
        faces: Faces = "auto",
        workers: Workers = None,
        dry_run: DryRun = False,
        as_json: JsonFlag = False,
    ) -> None:
        """Build NCAER-S: a few stills of each clip, no clip on both sides of a split.

        Frames of one video in train and test make the accuracy meaningless. This corpus has none:
        each clip gives its stills to one split, and the manifest is written only after that is
        proven. A broken build continues where it was.

        Example: visage ncaers corpora/CAER corpora/NCAER-S --parts 2
        """
        from visage_jobs.ncaers import Choices, build, plan, render, render_plan

        choices = Choices(
            layout=layout,
            parts=parts,
            seed=seed,
            disjoint=disjoint,
            shows=shows,
            duplicates=duplicates,
        )
        if dry_run:
            planned = plan(directory, choices)
            emit(planned, as_json=as_json, table=lambda: render_plan(planned))
            return
        with bar(quiet=as_json) as progress:
            report = build(directory, out, choices, faces=faces, workers=workers, progress=progress)
        emit(report.summary(), as_json=as_json, table=lambda: render(report))
