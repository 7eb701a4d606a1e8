"""Community lists of face boxes for CAER-S: `relpath,label,x1,y1,x2,y2`, a line for each picture.

A list decides the split of its pictures: the val pictures of the published lists lie under `test/`.
Invariant: a listed path never leaves the corpus root, and each picture stands in one list only.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from visage.data.records import Split
from visage.data.taxonomy import label_of, split_of
from visage.errors import DataError
from visage.specs.emotion import EMOTIONS

__all__ = ["BoxRow", "find_lists", "parse_box", "read_list"]

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


def find_lists(root: Path, given: Path | None) -> tuple[Path, ...]:
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
    for folder in (root, root.parent):
        found = tuple(folder / name for name in LIST_NAMES if _looks_like_list(folder / name))
        if found:
            return found
    return ()


def read_list(path: Path) -> tuple[BoxRow, ...]:
    """All rows of one list; raises DataError naming file and line for what cannot be read."""
    split = _split_of_list(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(f"{path}: not readable as text: {err}") from None
    return tuple(
        _parse_row(line, split=split, origin=f"{path}:{number}")
        for number, line in enumerate(lines, start=1)
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


def _in_place(given: Path) -> tuple[Path, ...]:
    if given.is_file():
        return (given,)
    if not given.is_dir():
        return ()
    found = sorted(given.glob("*.txt")) + sorted(given.glob("*/*.txt"))
    return tuple(path for path in found if _looks_like_list(path))


def _looks_like_list(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open(encoding="utf-8-sig") as lines:
            first = next((line for line in lines if line.strip()), "")
        _split_row(first, origin=str(path))
    except (OSError, UnicodeDecodeError, DataError):
        return False
    return True


def _split_of_list(path: Path) -> Split | None:
    """By the name (`val.txt`, `test_Anger.txt`), else by the folder (`test/Anger.txt`)."""
    return split_of(re.split(r"[^A-Za-z]", path.stem)[0]) or split_of(path.parent.name)


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
