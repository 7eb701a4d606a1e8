"""Layout `caer-s`: `<split>/<Class>/NNNN.png`, about 70,000 television stills.

The archive has no val split and no face boxes. Community lists of boxes bring both, and decide the
split of what they list; pictures that stand in no list are then left out, as the published numbers
do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from visage.data.readers.assembly import Labels, ReadOptions, assemble
from visage.data.readers.box_lists import BoxRow, find_lists, read_list
from visage.data.readers.folders import Placed, placed, stray_note
from visage.data.readers.tree import Tree
from visage.data.records import Corpus, Record
from visage.data.taxonomy import label_of, split_of
from visage.errors import DataError

__all__ = ["EXPLANATION", "NAME", "detect", "read"]

NAME = "caer-s"
EXPLANATION = (
    "<split>/<Class>/NNNN.png, optionally with box lists train.txt, val.txt, test.txt "
    "(relpath,label,x1,y1,x2,y2) in or beside it"
)

_NUMBERED = re.compile(r"\d{4,}")
_EXAMPLES = 3
_Address = tuple[str, str, str]  # split as on disk, label, path below the class folder


def detect(tree: Tree) -> bool:
    """Whether pictures lie in class folders, and they are numbered or box lists are there."""
    pictures = [found for found in placed(tree) if found.kind == "image" and not found.rest]
    if not pictures:
        return False
    numbered = all(_NUMBERED.fullmatch(found.stem) for found in pictures)
    return numbered or bool(find_lists(tree.source, None))


def read(tree: Tree, options: ReadOptions) -> Corpus:
    """Records with boxes and splits of the lists if there are any, else as the folders say."""
    labels = Labels(options)
    found: list[tuple[Placed, str]] = []
    for picture in placed(tree):
        label = labels.of(picture.word) if picture.kind == "image" else None
        if label is not None:
            found.append((picture, label))
    labels.check(tree.root)
    lists = find_lists(tree.source, options.boxes)
    if lists:
        rows = [row for one in lists for row in read_list(one)]
        records, told = _listed(tree, found, rows)
    else:
        records = [_record(picture, label, None) for picture, label in found]
        told = ("no box lists found: faces will be searched",)
    return assemble(tree, NAME, records, (*labels.notes(), *told, *stray_note(tree)))


def _record(picture: Placed, label: str, row: BoxRow | None) -> Record:
    return Record(
        key=picture.path,
        path=picture.path,
        kind="image",
        label=label,
        split=row.split if row else picture.split,
        box=row.box if row else None,
        group="/".join(picture.rest),
    )


def _listed(
    tree: Tree, found: Sequence[tuple[Placed, str]], rows: Sequence[BoxRow]
) -> tuple[list[Record], tuple[str, ...]]:
    by_address = {_address(picture, label): (picture, label) for picture, label in found}
    chosen: dict[str, BoxRow] = {}
    missing: list[BoxRow] = []
    repeated = 0
    for row in rows:
        picture = _resolve(row, by_address)
        if picture is None:
            missing.append(row)
            continue
        earlier = chosen.setdefault(picture.path, row)
        if earlier.split != row.split:
            raise DataError(
                f"{row.origin}: {row.path!r} is also in {earlier.split} ({earlier.origin}); "
                "a picture may stand in one split only"
            )
        repeated += earlier is not row
    if not chosen:
        raise DataError(
            f"{tree.root}: none of the {len(rows)} listed pictures is there "
            f"(looked for {rows[0].path!r}, say); do the lists belong to this corpus?"
            if rows
            else f"{tree.root}: the box lists are empty"
        )
    records = [
        _record(picture, label, chosen[picture.path])
        for picture, label in found
        if picture.path in chosen
    ]
    told = _list_notes(len(found) - len(records), missing, repeated, records)
    return records, told


def _list_notes(
    unlisted: int, missing: Sequence[BoxRow], repeated: int, records: Sequence[Record]
) -> tuple[str, ...]:
    without_face = sum(record.box is None for record in records)
    elsewhere = sum(split_of(record.path.split("/")[0]) != record.split for record in records)
    examples = ", ".join(row.path for row in missing[:_EXAMPLES])
    told = {
        f"{unlisted} pictures stand in no box list and are left out": unlisted,
        f"{len(missing)} listed pictures are not in the tree, e.g. {examples}": len(missing),
        f"{repeated} lines repeat a picture; its first box counts": repeated,
        f"{without_face} pictures have no face box by the lists": without_face,
        f"{elsewhere} pictures lie in another split's folder than their list says": elsewhere,
    }
    return tuple(text for text, count in told.items() if count)


def _address(picture: Placed, label: str) -> _Address:
    return picture.split, label, picture.path.split("/", 2)[2]


def _resolve(row: BoxRow, by_address: Mapping[_Address, tuple[Placed, str]]) -> Placed | None:
    """Find the picture a row means: `Angry` is `Anger`, and the split's folder may be unsaid."""
    parts = row.path.split("/")
    stated = split_of(parts[0])
    class_at = 1 if stated else 0
    if len(parts) < class_at + 2:
        return None
    label = label_of(parts[class_at])
    if label != row.label:
        raise DataError(
            f"{row.origin}: the folder {parts[class_at]!r} and the label {row.label} disagree; "
            "the list may count its classes in another order"
        )
    name = "/".join(parts[class_at + 1 :])
    # Val pictures of the published lists lie under test/ where there is no val folder.
    places = (stated,) if stated else (row.split, "test") if row.split == "val" else (row.split,)
    for split in places:
        entry = by_address.get((split, label, name))
        if entry is not None:
            return entry[0]
    return None
