"""Stills of a clip: which frames are drawn, and the journal that lets a broken build go on.

Invariant: a clip stands in the journal only after all its pictures and boxes are whole on disk; the
journal's first line holds the settings, so that two builds never mix in one folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from visage.data.records import Split
from visage.errors import DataError, MediaError, SpecError
from visage.faces.provider import Box, Image
from visage.media.sandbox import MediaSandbox
from visage.seeds import rng_of

__all__ = ["BuildJournal", "Still", "draw_stills", "json_lines", "write_whole"]

JOURNAL = "build.jsonl"
JOURNAL_SCHEMA = "visage.ncaers/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Still:
    """One line of the manifest."""

    path: str
    """Of the picture, relative to the build's folder."""
    label: str
    split: Split
    box: Box | None
    """Surest face in pixels, None without a face or without a provider."""
    source_video: str
    """Path of the clip, relative to its corpus."""
    frame: int
    """Index of the frame in the clip, counted from 0."""
    sha256: str
    """Of the picture's bytes."""
    group: str
    """What shares no split with its like: the show, the actor, or the clip itself."""


def draw_stills(
    path: Path, source: str, *, parts: int, seed: int, sandbox: MediaSandbox
) -> list[tuple[int, Image]]:
    """One frame of each of `parts` equal parts of a clip, with its index, in order.

    The draw depends on seed, source, part and the clip's length alone. Containers may promise more
    frames than they hold: the frames are then counted and drawn anew.

    Raises:
        MediaError: the clip cannot be decoded, or has fewer frames than parts (`empty`).
    """
    indices = _indices(sandbox.probe_video(path).frames, source, parts=parts, seed=seed)
    try:
        return [(index, sandbox.read_frame(path, index)) for index in indices]
    except MediaError as err:
        if err.code != "not_found" or not path.is_file():
            raise
    frames = sandbox.count_frames(path)
    indices = _indices(frames, source, parts=parts, seed=seed)
    return [(index, sandbox.read_frame(path, index)) for index in indices]


class BuildJournal:
    """What is done, one line a clip; a line cut off while it was written does not count."""

    def __init__(self, out: Path, rows: Mapping[str, tuple[Still, ...]]) -> None:
        """Use `open`."""
        self._out = out
        self._rows = rows

    @classmethod
    def open(cls, out: Path, settings: Mapping[str, object]) -> BuildJournal:
        """Start a build in `out` or continue the one there; SpecError if its settings differ."""
        path = out / JOURNAL
        header = {"schema": JOURNAL_SCHEMA, "settings": dict(settings)}
        rows: dict[str, tuple[Still, ...]] = {}
        if path.exists():
            lines = path.read_text(encoding="utf-8").split("\n")
            found = _parse(lines[0])
            if found != header:
                raise SpecError(f"{out}: {_difference(found, settings)}; choose another folder")
            for row in map(_parse, lines[1:]):
                if row is not None:
                    rows[row["clip"]] = tuple(_still(values) for values in row["stills"])
        # Rewritten, so that a cut-off last line cannot run into the next one.
        kept = [{"clip": clip, "stills": _plain(stills)} for clip, stills in rows.items()]
        write_whole(path, json_lines([header, *kept]))
        return cls(out, rows)

    def add(self, clip: str, stills: Sequence[Still]) -> None:
        """Note a clip as done; its pictures must be on disk."""
        with (self._out / JOURNAL).open("ab") as file:
            file.write(json_lines([{"clip": clip, "stills": _plain(stills)}]))
            file.flush()
            os.fsync(file.fileno())

    def whole(self, clip: str) -> tuple[Still, ...]:
        """The stills of a clip if all its pictures are there with their checksums, else none."""
        stills = self._rows.get(clip, ())
        return (
            stills
            if all(_is_whole(self._out / still.path, still.sha256) for still in stills)
            else ()
        )


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it appears whole or not at all, replacing what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def json_lines(rows: Iterable[Mapping[str, object]]) -> bytes:
    """The rows as JSON, one a line."""
    return "".join(f"{json.dumps(row, sort_keys=True)}\n" for row in rows).encode()


def _indices(frames: int, source: str, *, parts: int, seed: int) -> list[int]:
    if frames < parts:
        raise MediaError("empty", f"{source}: {frames} frames cannot be cut into {parts} parts")
    bounds = [part * frames // parts for part in range(parts + 1)]
    return [
        int(rng_of(seed, "ncaers", source, part).integers(bounds[part], bounds[part + 1]))
        for part in range(parts)
    ]


def _parse(line: str) -> dict[str, Any] | None:
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def _difference(found: Mapping[str, Any] | None, settings: Mapping[str, object]) -> str:
    theirs = found.get("settings") if found else None
    if found is None or found.get("schema") != JOURNAL_SCHEMA or not isinstance(theirs, dict):
        return f"{JOURNAL} there is no journal of this version"
    differing = [
        f"{key} {theirs.get(key)!r} there, {value!r} here"
        for key, value in settings.items()
        if theirs.get(key) != value
    ]
    return f"holds a build of other settings ({', '.join(differing)})"


def _still(values: Mapping[str, Any]) -> Still:
    try:
        box = values["box"]
        return Still(**{**values, "box": None if box is None else tuple(box)})
    except (KeyError, TypeError) as err:
        raise DataError(
            f"{JOURNAL}: a line is incomplete ({err}); build into an empty folder"
        ) from None


def _plain(stills: Sequence[Still]) -> list[dict[str, Any]]:
    return [asdict(still) for still in stills]


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except OSError:
        return False
