"""Layout `common-voice`: `<locale>/{clips/*.mp3, train.tsv, dev.tsv, test.tsv, validated.tsv, …}`.

Columns are read by their names, which differ between releases: `client_id` and `path` are needed.
Speakers of `test.tsv` are test, those of `dev.tsv` val, and all others in `validated.tsv` or
`train.tsv` train; without those two lists splits are drawn by speaker. What nobody validated is
not read. Several locales under one root are read together.
"""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from visage.data.readers.assembly import ReadOptions, assemble
from visage.data.readers.styles import splits_of_people
from visage.data.readers.tree import AUDIO_SUFFIXES, Tree, suffix_of
from visage.data.records import SPLITS, Corpus, Record, Split
from visage.errors import DataError, SpecError
from visage.seeds import seed_of

__all__ = ["EXPLANATION", "NAME", "detect", "read"]

NAME = "common-voice"
EXPLANATION = "<locale>/{validated,train,dev,test}.tsv beside clips/*.mp3, with client_id and path"

LISTS: tuple[tuple[str, Split], ...] = (
    ("test.tsv", "test"),
    ("dev.tsv", "val"),
    ("train.tsv", "train"),
    ("validated.tsv", "train"),
)
"""Lists that are read, and the split each stands for; the first that names a clip decides."""
DURATIONS = "clip_durations.tsv"
_ESTIMATED_BYTES_A_SECOND = 6_000  # MP3 of the releases, where no list of durations is there
_SHORTEST_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clip:
    path: str
    speaker: str
    stated: Split
    seconds: float
    is_measured: bool


def detect(tree: Tree) -> bool:
    """Whether a list with `client_id` and `path` lies beside a folder of clips."""
    return next(_locales(tree), None) is not None


def read(tree: Tree, options: ReadOptions) -> Corpus:
    """Sounds grouped and split by speaker; DataError for lists that cannot be read."""
    clips: list[_Clip] = []
    told: list[str] = []
    stated: set[str] = set()
    for folder in _locales(tree):
        found, notes = _of_locale(tree, folder)
        clips += found
        told += notes
        stated |= {name for name, _ in LISTS if posixpath.join(folder, name) in tree.files}
    people: dict[str, Split | None] = {}
    for clip in clips:
        people.setdefault(clip.speaker, clip.stated if {"dev.tsv", "test.tsv"} & stated else None)
    clips, left_out = _without_overlap(clips, people)
    splits, drawn = splits_of_people(people, options)
    clips = [replace(clip, stated=splits[clip.speaker]) for clip in clips]
    clips, capped = _capped(clips, options)
    records = [
        Record(
            key=clip.path,
            path=clip.path,
            kind="audio",
            label=None,
            split=clip.stated,
            group=clip.speaker,
        )
        for clip in clips
    ]
    return assemble(tree, NAME, records, (*told, *left_out, *drawn, *capped), classes=())


def _locales(tree: Tree) -> Iterator[str]:
    """Folders that hold a list of this kind; relative, empty for the root itself."""
    names = {name for name, _ in LISTS}
    folders = {posixpath.dirname(path) for path in tree.files if posixpath.basename(path) in names}
    holding = {
        posixpath.dirname(posixpath.dirname(path))
        for path in tree.files
        if suffix_of(path) in AUDIO_SUFFIXES
        and posixpath.basename(posixpath.dirname(path)) == "clips"
    }
    for folder in sorted(folders & holding):
        listed = next(posixpath.join(folder, n) for n, _ in LISTS if _has(tree, folder, n))
        head = tree.source.read(listed, limit=4096).decode("utf-8-sig", "replace")
        if {"client_id", "path"} <= set((head.splitlines() or [""])[0].split("\t")):
            yield folder


def _has(tree: Tree, folder: str, name: str) -> bool:
    return posixpath.join(folder, name) in tree.files


def _of_locale(tree: Tree, folder: str) -> tuple[list[_Clip], list[str]]:
    """The clips of one locale, and sentences about those that were left out."""
    files = frozenset(tree.files)
    durations = _durations(tree, folder)
    clips: dict[str, _Clip] = {}
    missing = short = 0
    for name, split in LISTS:
        if not _has(tree, folder, name):
            continue
        for row in _rows(tree, posixpath.join(folder, name), needed=("client_id", "path")):
            listed = row["path"] if suffix_of(row["path"]) else f"{row['path']}.mp3"
            path = posixpath.join(folder, "clips", listed)
            if path in clips:
                continue
            if path not in files:  # also a path that would leave the folder: it is in no listing
                missing += 1
                continue
            seconds, is_measured = durations.get(listed, 0.0), listed in durations
            if not is_measured:
                version = tree.source.version(path)
                seconds = (version[0] if version else 0) / _ESTIMATED_BYTES_A_SECOND
            elif seconds < _SHORTEST_S:
                short += 1
                continue
            clips[path] = _Clip(
                path=path,
                speaker=row["client_id"],
                stated=split,
                seconds=seconds,
                is_measured=is_measured,
            )
    where = folder or "this locale"
    told = {
        f"{where}: {missing} listed clips are not in the tree": missing,
        f"{where}: {short} clips shorter than {_SHORTEST_S:.0f} s left out": short,
    }
    return list(clips.values()), [text for text, count in told.items() if count]


def _durations(tree: Tree, folder: str) -> dict[str, float]:
    """Seconds by file name, as far as the release states them."""
    if not _has(tree, folder, DURATIONS):
        return {}
    path = posixpath.join(folder, DURATIONS)
    found: dict[str, float] = {}
    for row in _rows(tree, path, needed=("clip", "duration[ms]")):
        try:
            found[row["clip"]] = float(row["duration[ms]"]) / 1000
        except ValueError:
            raise DataError(
                f"{tree.root}/{path}: {row['duration[ms]']!r} is no duration in milliseconds"
            ) from None
    return found


def _rows(tree: Tree, path: str, *, needed: tuple[str, ...]) -> Iterator[Mapping[str, str]]:
    """Rows of a list by the names of its header; DataError for a missing column or field."""
    # Not `splitlines`, which also cuts at U+2028, U+0085 and others that sentences may hold.
    lines = io.StringIO(tree.text(path), newline="")
    reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    absent = [name for name in needed if name not in (reader.fieldnames or ())]
    if absent:
        raise DataError(f"{tree.root}/{path}: no column {' or '.join(absent)} in its first line")
    for row in reader:
        if any(not row[name] for name in needed):
            raise DataError(
                f"{tree.root}/{path}, line {reader.line_num}: {' and '.join(needed)} must be there"
            )
        yield row


def _without_overlap(
    clips: list[_Clip], people: Mapping[str, Split | None]
) -> tuple[list[_Clip], tuple[str, ...]]:
    """Without clips that another list gives to another split than their speaker's."""
    kept = [clip for clip in clips if people[clip.speaker] in (None, clip.stated)]
    count = len(clips) - len(kept)
    note = f"{count} clips left out: their speakers belong to val or test"
    return kept, (note,) if count else ()


def _capped(clips: list[_Clip], options: ReadOptions) -> tuple[list[_Clip], tuple[str, ...]]:
    """At most `hours` of train, and the fractions of it for val and test, drawn by seed."""
    if options.hours is None:
        return clips, ()
    shares = {"train": 1.0, "val": options.val_fraction, "test": options.test_fraction}
    kept: list[_Clip] = []
    told = []
    for split in SPLITS:
        room = 3600 * options.hours * shares[split]
        mine = sorted(
            (clip for clip in clips if clip.stated == split),
            key=lambda clip: (seed_of(options.seed, "hours", clip.path), clip.path),
        )
        taken: list[_Clip] = []
        for clip in mine:
            if clip.seconds <= room:
                room -= clip.seconds
                taken.append(clip)
        kept += taken
        told.append(f"{split} {sum(clip.seconds for clip in taken) / 3600:.2f} h of {len(mine)}")
    if not kept:
        raise SpecError(f"hours {options.hours} leave no clip; give more")
    guessed = "" if all(clip.is_measured for clip in kept) else ", lengths estimated from sizes"
    return kept, (f"limited with seed {options.seed}: {', '.join(told)} clips{guessed}",)
