"""Styles and splits of corpora that state no emotions.

How somebody speaks (ballad, rap, …) stands in `styles.csv` (`path,style`; a path is a clip or a
folder, the longest that fits decides), or in the `truth.jsonl` of a drawn corpus.
"""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from visage.data.readers.assembly import ReadOptions
from visage.data.readers.splits import split_groups
from visage.data.readers.tree import Tree
from visage.data.records import Split
from visage.errors import DataError

__all__ = ["Styles", "read_styles", "splits_of_people"]

LIST_FILE, TRUTH_FILE = "styles.csv", "truth.jsonl"


@dataclass(frozen=True, slots=True)
class Styles:
    """Styles by path, of clips and of folders."""

    names: Mapping[str, str]

    def of(self, path: str) -> str:
        """The style of a clip; empty if none is stated."""
        while path:
            if path in self.names:
                return self.names[path]
            path = posixpath.dirname(path)
        return ""

    def note(self) -> tuple[str, ...]:
        """A sentence about what is known, if anything is."""
        known = sorted(set(self.names.values()) - {""})
        return (f"styles: {', '.join(known)}",) if known else ()


def read_styles(tree: Tree) -> Styles:
    """The styles that a corpus states; DataError for a list that cannot be read."""
    names: dict[str, str] = {}
    if TRUTH_FILE in tree.files:
        names |= _from_truth(tree)
    if LIST_FILE in tree.files:
        names |= _from_list(tree)
    return Styles(names)


def splits_of_people(
    people: Mapping[str, Split | None], options: ReadOptions
) -> tuple[dict[str, Split], tuple[str, ...]]:
    """A split for each person, and what was drawn; what the corpus states stays.

    Args:
        people: The stated split of each, or None.
        options: Fractions and seed of what is not stated.
    """
    stated = {person: split for person, split in people.items() if split is not None}
    held = set(stated.values())
    # Where only val is missing it comes from train; where nothing is stated all is drawn.
    pool = [person for person, split in people.items() if split in (None, "train")]
    if "val" in held and "test" in held and len(stated) == len(people):
        return dict(stated), ()
    if held == {"test"} and not pool:
        pool, stated, held = list(people), {}, set()
    drawn = split_groups(
        pool,
        val_fraction=0.0 if "val" in held else options.val_fraction,
        test_fraction=0.0 if "test" in held else options.test_fraction,
        seed=options.seed,
    )
    told = " and ".join(name for name in ("val", "test") if name not in held)
    note = f"{told} drawn by person with seed {options.seed} ({len(pool)} people)"
    return {**stated, **drawn}, (note,) if told else ()


def _from_truth(tree: Tree) -> dict[str, str]:
    names: dict[str, str] = {}
    for number, line in enumerate(io.StringIO(tree.text(TRUTH_FILE)), 1):
        try:
            row = json.loads(line)
            names[str(row["path"])] = str(row.get("style", ""))
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            raise DataError(
                f"{tree.root}/{TRUTH_FILE}, line {number}: no JSON object with a path ({err}); "
                "repair or remove the file"
            ) from None
    return names


def _from_list(tree: Tree) -> dict[str, str]:
    text = io.StringIO(tree.text(LIST_FILE), newline="")
    rows: Sequence[Sequence[str]] = list(csv.reader(text))
    if not rows or [cell.strip() for cell in rows[0]] != ["path", "style"]:
        raise DataError(f"{tree.root}/{LIST_FILE}: the first line must be path,style")
    names: dict[str, str] = {}
    for number, row in enumerate(rows[1:], 2):
        if len(row) != 2 or not row[0].strip():
            raise DataError(
                f"{tree.root}/{LIST_FILE}, line {number}: give a path and a style, not {row}"
            )
        names[row[0].strip().strip("/")] = row[1].strip()
    return names
