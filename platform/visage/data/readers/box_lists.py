"""Community lists of face boxes for CAER-S: `relpath,label,x1,y1,x2,y2`, a line for each picture.

A list decides the split of its pictures: the val pictures of the published lists lie under `test/`.
Invariant: a listed path never leaves the corpus root, and each picture stands in one list only.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from visage.data.corpus_files import CorpusFiles, LocalFiles, open_files
from visage.data.readers.tree import stem_of
from visage.data.records import Split
from visage.data.taxonomy import label_of, split_of
from visage.errors import DataError, NotFoundError
from visage.specs.emotion import EMOTIONS

__all__ = ["BoxList", "BoxRow", "find_lists", "parse_box", "read_list"]

LIST_NAMES = ("train.txt", "val.txt", "valid.txt", "validation.txt", "test.txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxRow:
    """One line of a list."""

    path: str
    """As written, slashes forward; relative, never leaving its root."""
    label: str
    box: tuple[int, int, int, int] | None
    """None where the list writes 0,0,0,0: no face was found."""
    split: Split
    origin: str
    """`file:line`, for messages."""


@dataclass(frozen=True, slots=True)
class BoxList:
    """One list file."""

    source: CorpusFiles
    path: str

    @property
    def origin(self) -> str:
        """For messages."""
        return f"{self.source.uri}/{self.path}"

    def lines(self) -> list[str]:
        """Its lines; raises DataError if it is not there or no text."""
        try:
            return self.source.read(self.path).decode("utf-8-sig").split("\n")
        except (NotFoundError, UnicodeDecodeError) as err:
            raise DataError(f"{self.origin}: not readable as text: {err}") from None


def find_lists(root: CorpusFiles, given: str | None) -> tuple[BoxList, ...]:
    """The lists to use: the given file or folder, else those in the root, else those beside it.

    Raises DataError if a given place holds none. Files that are not such lists are passed over when
    searching on our own, so that a foreign `train.txt` beside a corpus does no harm.
    """
    if given is not None:
        found = _in_place(given)
        if not found:
            raise DataError(
                f"{given}: no box list there; expected files such as train.txt or test/Anger.txt "
                "with lines relpath,label,x1,y1,x2,y2"
            )
        return found
    for folder in (root, root.parent()):
        lists = [BoxList(folder, name) for name in LIST_NAMES] if folder is not None else []
        found = tuple(one for one in lists if _looks_like_list(one))
        if found:
            return found
    return ()


def read_list(one: BoxList) -> tuple[BoxRow, ...]:
    """All rows of one list; raises DataError naming file and line for what cannot be read."""
    split = _split_of_list(one)
    return tuple(
        _parse_row(line, split=split, origin=f"{one.origin}:{number}")
        for number, line in enumerate(one.lines(), start=1)
        if line.strip()
    )


def parse_box(text: str, *, origin: str) -> tuple[int, int, int, int] | None:
    """Read `x1,y1,x2,y2`, fractions rounded outwards; None for 0,0,0,0, else DataError."""
    try:
        x1, y1, x2, y2 = (float(part) for part in text.split(","))
        box = (math.floor(x1), math.floor(y1), math.ceil(x2), math.ceil(y2))
    except (ValueError, OverflowError):
        raise DataError(
            f"{origin}: {text.strip()[:80]!r} is no box; write four numbers x1,y1,x2,y2"
        ) from None
    return None if box == (0, 0, 0, 0) else box


def _in_place(given: str) -> tuple[BoxList, ...]:
    folder, _, name = given.rstrip("/").rpartition("/")
    if name.endswith(".txt"):
        return (BoxList(open_files(folder or "."), name),)
    source = open_files(given)
    if isinstance(source, LocalFiles):
        paths = [*source.root.glob("*.txt"), *source.root.glob("*/*.txt")]
        names = [path.relative_to(source.root).as_posix() for path in paths]
    else:
        names = [one for one in source.listing if one.endswith(".txt") and one.count("/") <= 1]
    ordered = sorted(names, key=lambda one: (one.count("/"), one))
    return tuple(
        one for one in (BoxList(source, name) for name in ordered) if _looks_like_list(one)
    )


def _looks_like_list(one: BoxList) -> bool:
    try:
        first = next((line for line in one.lines() if line.strip()), "")
        _split_row(first, origin=one.origin)
    except DataError:
        return False
    return True


def _split_of_list(one: BoxList) -> Split | None:
    """By the name (`val.txt`, `test_Anger.txt`), else by the folder (`test/Anger.txt`)."""
    *_, folder, name = one.origin.split("/")
    return split_of(re.split(r"[^A-Za-z]", stem_of(name))[0]) or split_of(folder)


def _split_row(line: str, *, origin: str) -> tuple[str, str, str]:
    # From the right: a file name may hold commas.
    path, *fields = line.strip().rsplit(",", 5)
    if len(fields) != 5 or not path.strip():
        raise DataError(f"{origin}: {line.strip()[:80]!r} is not relpath,label,x1,y1,x2,y2")
    return path.strip().replace("\\", "/"), fields[0].strip(), ",".join(fields[1:])


def _parse_row(line: str, *, split: Split | None, origin: str) -> BoxRow:
    text, word, box = _split_row(line, origin=origin)
    path = PurePosixPath(text)
    if path.is_absolute() or not path.parts or ".." in path.parts or ":" in text:
        raise DataError(f"{origin}: {text!r} leaves the corpus; write paths relative to its root")
    chosen = split or split_of(path.parts[0])
    if chosen is None:
        raise DataError(
            f"{origin}: neither the list's name nor {text!r} says the split; "
            "name the list train.txt, val.txt or test.txt"
        )
    return BoxRow(
        path=str(path),
        label=_label(word, origin),
        box=parse_box(box, origin=origin),
        split=chosen,
        origin=origin,
    )


def _label(word: str, origin: str) -> str:
    if word.isdecimal() and int(word) < len(EMOTIONS):
        return EMOTIONS[int(word)]
    label = label_of(word)
    if label is None:
        raise DataError(
            f"{origin}: label {word!r} is outside the taxonomy; "
            f"known are 0 to {len(EMOTIONS) - 1} or {', '.join(EMOTIONS)}"
        )
    return label
