"""What a batch renders: a table of (portrait, audio, style) rows, or a folder of RAVDESS takes.

Rows carry references, never media; nothing is decoded here. Paths are relative to one root and stay
inside it: a table that somebody else wrote cannot make this machine read its other files.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from visage.data.corpus_files import CorpusFiles, LocalFiles, open_files
from visage.data.readers import read_corpus
from visage.data.readers.tree import media_kind, stem_of, suffix_of
from visage.data.records import Record
from visage.errors import DataError, MediaError, SpecError, StoreError
from visage.store.base import check_key

__all__ = ["RenderRow", "RenderTable", "checked_path", "is_clip", "read_rows"]

COLUMNS = ("portrait", "audio", "style", "key")
NEEDED = COLUMNS[:2]
TABLE_SUFFIXES = (".csv", ".jsonl", ".parquet")
LONGEST_NAME = 255
"""Bytes of a file's or folder's name, on every file system that media come to."""
NEUTRAL_WORDS = ("01", "02")
"""Emotion numbers of RAVDESS takes that show a face at rest, the best first: neutral, calm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderRow:
    """One video that is wished for."""

    name: str
    """Unique in the table: its column `key`, or the number of the row."""
    portrait: str
    """A picture, or a clip whose first frame is the portrait; relative to the table's root."""
    audio: str
    """A recording, or a clip with sound; relative to the table's root."""
    style: str | None = None
    """None = the model's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderTable:
    """Rows, and where their paths begin."""

    source: str
    """Where the rows were read from."""
    files: CorpusFiles
    rows: tuple[RenderRow, ...]
    notes: tuple[str, ...] = ()
    """What a person should know: columns that were not read, takes left out."""


def read_rows(source: str, *, root: str | None = None) -> RenderTable:
    """The rows of a .csv, .jsonl or .parquet table, or of a folder of RAVDESS takes.

    A table has the columns `portrait` and `audio`, and may have `style` and `key`. Of RAVDESS, each
    take is a row: its sound, said by the first frame of a neutral take of the same actor.

    Args:
        source: Path or s3:// URI.
        root: Where the paths of a table begin; its own folder unless given.

    Raises:
        NotFoundError: there is no such table.
        SpecError: a suffix that is no table's.
        DataError: a damaged table, a column that is missing, a cell that is no text, a key that
            stands twice, no row.
    """
    suffix = suffix_of(source)
    if suffix not in TABLE_SUFFIXES:
        if suffix and not _is_folder(source):
            raise SpecError(
                f"{source}: rows are read from {', '.join(TABLE_SUFFIXES)} or from a RAVDESS folder"
            )
        if root is not None:
            raise SpecError("--root belongs to a table; a RAVDESS folder is its own root")
        return _ravdess(source)
    folder, _, name = _absolute(source).rpartition("/")
    folder = folder or "/"
    body = open_files(folder).read(name)
    records, notes = _records(body, suffix, source)
    rows = tuple(_row(number, record) for number, record in enumerate(records, 1))
    _check(rows, source)
    files = open_files(folder if root is None else _absolute(root))
    return RenderTable(source=source, files=files, rows=rows, notes=notes)


def checked_path(files: CorpusFiles, path: str) -> str:
    """The path itself if it stays inside the root, links resolved.

    Raises:
        MediaError: `not_found` otherwise; nothing was opened.
    """
    try:
        check_key(path)
    except StoreError:
        raise MediaError(
            "not_found",
            f"{path!r}: paths are relative to {files.uri} and stay inside it; --root moves it",
        ) from None
    if "\0" in path or any(len(part.encode()) > LONGEST_NAME for part in path.split("/")):
        raise MediaError("not_found", f"{path[:LONGEST_NAME]!r} is no name of a file")
    if isinstance(files, LocalFiles):
        root = files.root.resolve()
        try:
            target = (root / path).resolve()
        except (OSError, RuntimeError) as err:  # RuntimeError up to Python 3.12: links in a circle
            raise MediaError("not_found", f"{path!r} is no name of a file: {err}") from None
        if not target.is_relative_to(root):
            raise MediaError("not_found", f"{path}: a link leads out of {root}; --root moves it")
    return path


def is_clip(path: str) -> bool:
    """Whether a portrait is a clip, whose first frame is taken."""
    return media_kind(path) == "video"


def _absolute(place: str) -> str:
    """A path from the root of the file system, so that every process means the same; or a URI."""
    return place if "://" in place else os.path.abspath(os.path.expanduser(place))


def _is_folder(source: str) -> bool:
    return "://" in source or Path(source).is_dir()


def _ravdess(root: str) -> RenderTable:
    found = read_corpus(root, layout="ravdess", calm="neutral")
    rest = {record.group: record.path for record in sorted(found.records, key=_unrest)[::-1]}
    rows = tuple(
        RenderRow(name=record.key, portrait=rest[record.group], audio=record.path)
        for record in found.records
    )
    _check(rows, root)
    return RenderTable(source=root, files=open_files(found.root), rows=rows, notes=found.notes)


def _unrest(record: Record) -> tuple[int, str]:
    """Smallest for the take of an actor that shows a resting face best."""
    emotion = stem_of(record.path).split("-")[-5]
    at = NEUTRAL_WORDS.index(emotion) if emotion in NEUTRAL_WORDS else len(NEUTRAL_WORDS)
    return at, record.path


def _records(
    body: bytes, suffix: str, source: str
) -> tuple[Sequence[Mapping[str, Any]], tuple[str, ...]]:
    records: Sequence[Mapping[str, Any]]
    try:
        match suffix:
            case ".parquet":
                table = pq.read_table(io.BytesIO(body))
                names = table.column_names
                records = table.select([one for one in COLUMNS if one in names]).to_pylist()
            case ".jsonl":
                records = _json_rows(body)
                names = sorted({name for record in records for name in record})
            case _:
                text = body.decode("utf-8-sig")
                first = text.partition("\n")[0]
                reader = csv.DictReader(
                    io.StringIO(text), delimiter=max(",;\t", key=first.count), strict=True
                )
                records, names = list(reader), list(reader.fieldnames or ())
    except (ValueError, csv.Error, pa.ArrowException, OSError) as err:
        raise DataError(f"{source}: not readable as {suffix.removeprefix('.')}: {err}") from None
    lacking = [name for name in NEEDED if name not in names]
    if lacking:
        raise DataError(
            f"{source}: no column {' and no '.join(lacking)}; it has {', '.join(names) or 'none'}. "
            f"Needed are {' and '.join(NEEDED)}; {' and '.join(COLUMNS[2:])} may be there"
        )
    unread = [str(name) for name in names if name not in COLUMNS]
    return records, (f"columns not read: {', '.join(unread)}",) if unread else ()


def _json_rows(body: bytes) -> list[Mapping[str, Any]]:
    records: list[Mapping[str, Any]] = []
    for number, line in enumerate(io.StringIO(body.decode("utf-8-sig")), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as err:
            raise ValueError(f"line {number}: {err}") from None
        if not isinstance(record, dict):
            raise ValueError(f"line {number} is no object")
        records.append(record)
    return records


def _row(number: int, record: Mapping[str, Any]) -> RenderRow:
    cells = {name: _cell(record.get(name)) for name in COLUMNS}
    return RenderRow(
        name=cells["key"] or f"row-{number:06d}",
        portrait=cells["portrait"],
        audio=cells["audio"],
        style=cells["style"] or None,
    )


def _cell(value: object) -> str:
    return "" if value is None else str(value).strip()


def _check(rows: Iterable[RenderRow], source: str) -> None:
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        for cell in (row.name, row.portrait, row.audio, row.style or ""):
            try:
                cell.encode()
            except UnicodeEncodeError:  # half of a surrogate pair, which no outcome could repeat
                raise DataError(f"{source}: row {number}: {cell!r} is no text") from None
        before = seen.setdefault(row.name, number)
        if before != number:
            raise DataError(
                f"{source}: key {row.name!r} stands in rows {before} and {number}; a key names one "
                "row"
            )
    if not seen:
        raise DataError(f"{source}: the table has no row")
