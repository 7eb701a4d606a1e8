"""`visage synth`: corpora with known truth, drawn on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visage_jobs.cli.console import JsonFlag, SetOption, bar, emit, say, verb

if TYPE_CHECKING:
    from rich.progress import TaskID


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("synth")(synth)


@verb
def synth(
    layout: Annotated[
        str,
        typer.Argument(
            metavar="LAYOUT",
            help="caer-s (pictures), caer, ravdess, voxceleb2 (clips) or common-voice (sounds).",
        ),
    ],
    out: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="Folder of the corpus; its root.")
    ] = None,
    per_class: Annotated[
        int | None, typer.Option(help="Pictures or clips of each emotion (caer-s and caer).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed and settings: same bytes.")] = 0,
    assignments: SetOption = None,
    contact_sheet: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write one JPEG that shows what it looks like."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes; by default one a core.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many files and bytes, draw nothing.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Draw a corpus with known truth: people whose face and setting tell an emotion, or who speak.

    Face and setting are two partly independent cues, so a model that reads both is provably
    better than one that reads either; the best possible accuracies are printed. Of people who
    speak (voxceleb2), the sound determines the mouth. The same command continues a broken run.

    Example: visage synth caer-s corpora/drawn --per-class 200 --contact-sheet look.jpg

    Example: visage synth ravdess corpora/spoken --set actors=4 --dry-run

    Example: visage synth voxceleb2 corpora/talking --set size=512 --set styles=[plain,rap]
    """
    from visage_jobs import synth as driver

    spec = driver.spec_of(layout, seed=seed, per_class=per_class, assignments=assignments or [])
    result = driver.forecast(spec, out)
    if dry_run:
        emit(result, as_json=as_json, table=lambda: driver.render(result))
        return
    if out is None and contact_sheet is None:
        driver.refuse_without_target(layout)
    if out is not None:
        with bar(quiet=as_json) as progress:
            tasks: list[TaskID] = []

            def tell(done: int, total: int) -> None:
                if not tasks:  # a folder that is refused shows no bar
                    tasks.append(progress.add_task(f"drawing {layout}", total=total))
                progress.update(tasks[0], completed=done)

            report = driver.draw(spec, out, workers=workers, progress=tell)
        result = driver.outcome(spec, report)
    if contact_sheet is not None:
        result["contact_sheet"] = str(driver.sheet(spec, contact_sheet))
        say(f"contact sheet: {contact_sheet}")
    emit(result, as_json=as_json, table=lambda: driver.render(result))
