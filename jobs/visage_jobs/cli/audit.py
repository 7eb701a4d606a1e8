"""`visage audit`: what must not be in a corpus, found before it is trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visage_jobs.cli.console import JsonFlag, bar, emit, say, verb


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""

    @app.command()
    @verb
    def audit(
        directory: Annotated[Path, typer.Argument(help="Folder that holds the corpus.")],
        layout: Annotated[
            str, typer.Option(help="How the corpus lies on disk; auto finds out.")
        ] = "auto",
        boxes: Annotated[
            Path | None, typer.Option(help="File or folder of face box lists for CAER-S.")
        ] = None,
        drop: Annotated[
            list[str] | None,
            typer.Option(help="A label outside the taxonomy to leave out, e.g. contempt."),
        ] = None,
        near_threshold: Annotated[
            int,
            typer.Option(
                min=-1,
                max=20,
                help="Hash bits by which near duplicates may differ; -1: exact only.",
            ),
        ] = 10,
        out: Annotated[
            Path | None,
            typer.Option(file_okay=False, help="Folder for the tables as Parquet files."),
        ] = None,
        workers: Annotated[
            int | None, typer.Option(min=1, max=64, help="Decoding threads; by default one a core.")
        ] = None,
        as_json: JsonFlag = False,
    ) -> None:
        """Find duplicates, leaks between splits, bad boxes and missing classes in a corpus.

        Ends with 1 if the same content stands in more than one split (the same file, the same
        pixels, a picture that looks the same, a source video or an actor), and with 0 otherwise.

        Example: visage audit corpora/CAER-S --boxes lists/ --out audit/
        """
        from visage_jobs.audit import read_and_audit, render

        with bar(quiet=as_json) as progress:
            report = read_and_audit(
                directory,
                layout=layout,
                boxes=boxes,
                drop=tuple(drop or ()),
                near_threshold=near_threshold,
                workers=workers,
                progress=progress,
            )
        emit(report.summary(), as_json=as_json, table=lambda: render(report))
        if out is not None:
            written = report.write(out)
            say(f"{len(written)} tables in {out}: {', '.join(path.name for path in written)}")
        if report.has_leaks:
            raise typer.Exit(1)
