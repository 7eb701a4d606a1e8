"""The driver of `visage ncaers`: reads the clips, builds with a bar, and shows what was built."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from visage.data.disjoint import read_shows
from visage.data.ncaers import Disjoint, Duplicates, NcaersReport, build_ncaers, plan_splits
from visage.data.readers import Layout, read_corpus
from visage.data.records import SPLITS
from visage.specs.emotion import EMOTIONS

if TYPE_CHECKING:
    from rich.progress import Progress

    from visage.faces.provider import FaceProvider

__all__ = ["FaceChoice", "build", "plan", "render", "render_plan"]

FaceChoice = Literal["auto", "dlib68", "fan", "none"]


def build(
    directory: Path,
    out: Path,
    *,
    layout: str,
    parts: int,
    seed: int,
    disjoint: Disjoint,
    shows: Path | None,
    duplicates: Duplicates,
    faces: FaceChoice,
    workers: int | None,
    progress: Progress,
) -> NcaersReport:
    """Read the clips and build, with a bar over clips; raises what reader and builder raise."""
    corpus = read_corpus(directory, layout=cast(Layout, layout), seed=seed)
    task = progress.add_task("drawing stills", total=len(corpus.records))
    return build_ncaers(
        corpus,
        out,
        parts=parts,
        seed=seed,
        disjoint=disjoint,
        shows=read_shows(shows) if shows is not None else None,
        duplicates=duplicates,
        provider=_provider(faces),
        workers=workers,
        progress=lambda done, count: progress.update(task, completed=done, total=count),
    )


def plan(
    directory: Path,
    *,
    layout: str,
    parts: int,
    seed: int,
    disjoint: Disjoint,
    shows: Path | None,
    duplicates: Duplicates,
) -> dict[str, object]:
    """What a build would write: pictures by split and class, and clips left out as copies."""
    corpus = read_corpus(directory, layout=cast(Layout, layout), seed=seed)
    records, dropped = plan_splits(
        corpus,
        disjoint=disjoint,
        shows=read_shows(shows) if shows is not None else None,
        seed=seed,
        duplicates=duplicates,
    )
    counts = Counter((record.split, record.label) for record in records)
    return {
        "root": corpus.root,
        "layout": corpus.layout,
        "pictures": parts * len(records),
        "dropped": dropped,
        "counts": {
            split: {label: parts * counts[split, label] for label in EMOTIONS}
            for split in SPLITS
            if any(at == split for at, _ in counts)
        },
        "notes": list(corpus.notes),
    }


def render(report: NcaersReport) -> RenderableType:
    """Counts by split and class, and a line about what was made, reused and left out."""
    summary = report.summary()
    rejected = ", ".join(f"{code} {count}" for code, count in report.rejected.items()) or "none"
    return Group(
        _counts(summary),
        f"{len(report.stills)} pictures in {escape(report.out)}: {report.written} written, "
        f"{report.reused} reused, {summary['without_box']} without a face box",
        f"clips rejected: {rejected}; left out as copies: {report.dropped}",
        "[green]no source video stands in more than one split[/green]",
    )


def render_plan(planned: dict[str, object]) -> RenderableType:
    """The plan as a table; nothing was written."""
    return Group(
        _counts(planned),
        f"{planned['pictures']} pictures would be written; {planned['dropped']} clips left out as "
        "copies",
    )


def _counts(summary: dict[str, object]) -> Table:
    counts = cast(dict[str, dict[str, int]], summary["counts"])
    splits = [split for split in SPLITS if split in counts]
    table = Table(title="pictures by class", title_justify="left")
    table.add_column("class")
    for split in splits:
        table.add_column(split, justify="right")
    for label in EMOTIONS:
        table.add_row(label, *(str(counts[split].get(label, 0)) for split in splits))
    table.add_section()
    table.add_row("all", *(str(sum(counts[split].values())) for split in splits))
    return table


def _provider(choice: FaceChoice) -> FaceProvider | None:
    if choice == "none":
        return None
    from visage.faces import open_provider

    return open_provider(choice)
