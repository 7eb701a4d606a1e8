"""The driver of `visage audit`: reads, audits with a bar, and shows the tables to a person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from visage.data.audit import AuditReport, AuditStage, audit_corpus
from visage.data.readers import Layout, read_corpus
from visage.data.records import SPLITS

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["read_and_audit", "render"]

SHOWN_ROWS = 12
_EVIDENCE = {
    "bytes": "same file",
    "pixels": "same pixels",
    "near": "looks the same",
    "group": "same video or actor",
}


def read_and_audit(
    directory: Path,
    *,
    layout: str,
    boxes: Path | None,
    drop: tuple[str, ...],
    near_threshold: int,
    workers: int | None,
    progress: Progress,
) -> AuditReport:
    """Read the corpus and audit it, one bar for each stage; raises what reader and audit raise."""
    corpus = read_corpus(directory, layout=cast(Layout, layout), boxes=boxes, drop=drop)
    tasks: dict[AuditStage, TaskID] = {}

    def show(stage: AuditStage, done: int, count: int) -> None:
        if stage not in tasks:
            tasks[stage] = progress.add_task(stage, total=count)
        progress.update(tasks[stage], completed=done)

    return audit_corpus(corpus, near_threshold=near_threshold, workers=workers, progress=show)


def render(report: AuditReport) -> RenderableType:
    """The report as tables: counts, duplicates, leaks, boxes, unreadable files, notes, verdict."""
    return Group(*_sections(report))


def _sections(report: AuditReport) -> Iterator[RenderableType]:
    yield f"[b]{escape(report.root)}[/b] read as {report.layout}: {report.files.num_rows} records"
    yield _counts(report)
    yield _duplicates(report)
    for note in report.notes:
        yield f"note: {escape(note)}"
    if report.boxes.num_rows:
        yield _rows("boxes", report.boxes.to_pylist(), ("key", "problem", "x1", "y1", "x2", "y2"))
    unreadable = [row for row in report.files.to_pylist() if row["problem"] is not None]
    if unreadable:
        yield _rows("unreadable files", unreadable, ("key", "split", "problem"))
    if report.has_leaks:
        leaks = [{**row, "kind": _EVIDENCE[row["kind"]]} for row in report.leaks.to_pylist()]
        yield _rows("leaks between splits", leaks, ("kind", "splits", *SPLITS, "examples"))
    yield _verdict(report)


def _counts(report: AuditReport) -> Table:
    rows = report.counts.to_pylist()
    splits = [split for split in SPLITS if any(row["split"] == split for row in rows)]
    table = Table(title="records by class", title_justify="left")
    table.add_column("class")
    for split in splits:
        table.add_column(split, justify="right")
    by_place = {(row["split"], row["label"]): row["count"] for row in rows}
    for label in dict.fromkeys(row["label"] for row in rows):
        counts = [by_place.get((split, label), 0) for split in splits]
        table.add_row(escape(label) or "(none)", *(str(n) if n else "[red]0[/red]" for n in counts))
    totals = [sum(n for (at, _), n in by_place.items() if at == split) for split in splits]
    table.add_section()
    table.add_row("all", *(str(n) for n in totals))
    return table


def _duplicates(report: AuditReport) -> Table:
    rows = report.duplicates.to_pylist()
    table = Table(title="duplicate pairs", title_justify="left")
    for name in ("evidence", "within a split", "across splits", "labels differ"):
        table.add_column(name, justify="left" if name == "evidence" else "right")
    for kind in ("bytes", "pixels", "near"):
        mine = [row for row in rows if row["kind"] == kind]
        across = sum(row["split_a"] != row["split_b"] for row in mine)
        differ = sum(row["label_a"] != row["label_b"] for row in mine)
        table.add_row(_EVIDENCE[kind], str(len(mine) - across), str(across), str(differ))
    return table


def _rows(title: str, rows: list[dict[str, object]], columns: tuple[str, ...]) -> Table:
    more = len(rows) - SHOWN_ROWS
    caption = f"and {more} more; --out writes them all" if more > 0 else None
    table = Table(title=f"{title}: {len(rows)}", title_justify="left", caption=caption)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows[:SHOWN_ROWS]:
        table.add_row(*(escape(str(row[column])) for column in columns))
    return table


def _verdict(report: AuditReport) -> str:
    if not report.has_leaks:
        return "[green]no content stands in more than one split[/green]"
    return (
        f"[red]{report.leaks.num_rows} leaks between splits[/red]: accuracy measured on these "
        "splits is too high; remove the copies from train"
    )
