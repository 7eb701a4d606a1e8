"""Splits of video corpora that share nothing: no file, no source video, no show.

Invariant: what `prove_disjoint` lets pass has every source and every picture in one split.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from visage.data.records import SPLITS, Record, Split
from visage.errors import DataError
from visage.seeds import seed_of

__all__ = ["assign_shows", "identical_files", "prove_disjoint", "read_shows", "surplus"]

_READ_BYTES = 1 << 20
_EXAMPLES = 3


def read_shows(path: Path) -> dict[str, str]:
    """Show of each clip from a CSV file with the header `path,show`; raises DataError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise DataError(f"{path}: not readable as CSV: {err}") from None
    shows: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        clip, show = (row.get("path") or "").strip(), (row.get("show") or "").strip()
        if not clip or not show:
            raise DataError(f"{path}:{number}: give a path and a show under the header path,show")
        if shows.setdefault(clip, show) != show:
            raise DataError(f"{path}:{number}: {clip!r} belongs to two shows; keep one line")
    return shows


def assign_shows(
    records: Sequence[Record], shows: Mapping[str, str], *, seed: int
) -> tuple[Record, ...]:
    """The records with each show in one split, the splits' shares kept as well as shows allow.

    Big shows are placed first, each into the split that misses most; the seed orders equals.

    Raises:
        DataError: a record's show is unknown, or there are fewer shows than splits.
    """
    unknown = [record.path for record in records if record.path not in shows]
    if unknown:
        raise DataError(
            f"{len(unknown)} clips have no show, for example {', '.join(unknown[:_EXAMPLES])}; "
            "add them to the CSV file with the header path,show"
        )
    sizes = Counter(shows[record.path] for record in records)
    missing = Counter(record.split for record in records)
    if len(sizes) < len(missing):
        raise DataError(f"{len(sizes)} shows cannot fill {len(missing)} splits; use disjoint=video")
    order = sorted(sizes, key=lambda show: (-sizes[show], seed_of(seed, "show", show)))
    split_of: dict[str, Split] = {}
    unfilled = {split for split in SPLITS if missing[split]}
    for place, show in enumerate(order):
        # As many shows left as empty splits: each must get one now.
        choices = unfilled if len(order) - place == len(unfilled) else set(missing)
        chosen = max(choices, key=lambda split: (missing[split], -SPLITS.index(split)))
        split_of[show] = chosen
        missing[chosen] -= sizes[show]
        unfilled.discard(chosen)
    return tuple(replace(record, split=split_of[shows[record.path]]) for record in records)


def identical_files(root: Path, records: Sequence[Record]) -> list[list[Record]]:
    """Groups of records whose files hold the same bytes; only files of equal size are read."""
    by_size: dict[int, list[Record]] = defaultdict(list)
    for record in records:
        by_size[_size(root / record.path)].append(record)
    groups: dict[str, list[Record]] = defaultdict(list)
    for size_bytes, same_size in sorted(by_size.items()):
        if len(same_size) > 1 and size_bytes > 0:
            for record in same_size:
                groups[_sha256(root / record.path)].append(record)
    return [group for group in groups.values() if len(group) > 1]


def surplus(splits: Iterable[Split]) -> frozenset[Split]:
    """The splits that lose what stands in several: test keeps it, else val does."""
    present = set(splits)
    keeper = next(split for split in ("test", "val", "train") if split in present)
    return frozenset(present - {keeper})


def prove_disjoint(what: str, members: Iterable[tuple[str, Split]]) -> None:
    """Raise DataError, with examples, if any name stands in more than one split."""
    splits: dict[str, set[Split]] = defaultdict(set)
    for name, split in members:
        splits[name].add(split)
    straddling = sorted(name for name, found in splits.items() if len(found) > 1)
    if straddling:
        raise DataError(
            f"{len(straddling)} {what} stand in more than one split, for example "
            f"{', '.join(straddling[:_EXAMPLES])}; an accuracy measured on them would be too high"
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror}); read the corpus again") from None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
