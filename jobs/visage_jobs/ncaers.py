"""The driver of `visage ncaers`: reads the clips, builds with a bar, and shows what was built."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from visage.data.disjoint import read_shows
from visage.data.ncaers import Disjoint, Duplicates, NcaersReport, build_ncaers, plan_splits
from visage.data.readers import Layout, read_corpus
from visage.data.records import SPLITS, Corpus
from visage.specs.emotion import EMOTIONS

if TYPE_CHECKING:
    from rich.progress import Progress

    from visage.faces.provider import FaceProvider

__all__ = ["Choices", "FaceChoice", "build", "plan", "render", "render_plan"]

FaceChoice = Literal["auto", "dlib68", "fan", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What decides the stills, the same for a plan and a build."""

    layout: str
    parts: int
    seed: int
    disjoint: Disjoint
    shows: Path | None
    """CSV file with the header path,show."""
    duplicates: Duplicates


def build(
    directory: Path,
    out: Path,
    choices: Choices,
    *,
    faces: FaceChoice,
    workers: int | None,
    progress: Progress,
) -> NcaersReport:
    """Read the clips and build, with a bar over clips; raises what reader and builder raise."""
    corpus = _corpus(directory, choices)
    task = progress.add_task("drawing stills", total=len(corpus.records))
    return build_ncaers(
        corpus,
        out,
        parts=choices.parts,
        seed=choices.seed,
        disjoint=choices.disjoint,
        shows=_shows(choices),
        duplicates=choices.duplicates,
        provider=_provider(faces),
        workers=workers,
        progress=lambda done, count: progress.update(task, completed=done, total=count),
    )


def plan(directory: Path, choices: Choices) -> dict[str, object]:
    """What a build would write: pictures by split and class, and clips left out as copies."""
    corpus = _corpus(directory, choices)
    parts = choices.parts
    records, dropped = plan_splits(
        corpus,
        disjoint=choices.disjoint,
        shows=_shows(choices),
        seed=choices.seed,
        duplicates=choices.duplicates,
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


def _corpus(directory: Path, choices: Choices) -> Corpus:
    return read_corpus(directory, layout=cast(Layout, choices.layout), seed=choices.seed)


def _shows(choices: Choices) -> dict[str, str] | None:
    return read_shows(choices.shows) if choices.shows is not None else None


def _provider(choice: FaceChoice) -> FaceProvider | None:
    if choice == "none":
        return None
    from visage.faces import open_provider

    return open_provider(choice)
