"""Layout `folders`: `<split>/<Class>/…/<file>`, the tree that CAER, CAER-S and FER2013 share.

A folder below the class names the source of what lies in it (a video's frames): its group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from visage.data.readers.assembly import Labels, ReadOptions, assemble
from visage.data.readers.tree import Tree, media_kind, stem_of
from visage.data.records import Corpus, Record, Split
from visage.data.taxonomy import split_of

__all__ = ["EXPLANATION", "NAME", "Placed", "detect", "place", "placed", "read", "stray_note"]

NAME = "folders"
EXPLANATION = "<split>/<Class>/*.{jpg,png,mp4,avi,…}, e.g. train/Happy/0001.jpg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """One file whose folders say its split and its label word."""

    path: str
    kind: Literal["image", "video"]
    split: Split
    word: str
    """The class folder as it is called on disk."""
    rest: tuple[str, ...]
    """Folders below the class folder, if any."""

    @property
    def stem(self) -> str:
        """File name without its last suffix; dots inside it stay."""
        return stem_of(self.path)


def place(path: str) -> Placed | None:
    """Read split and class from the folders of a path, or None if they are not there."""
    parts = path.split("/")
    kind = media_kind(path)
    split = split_of(parts[0])
    if kind is None or split is None or len(parts) < 3:
        return None
    return Placed(path=path, kind=kind, split=split, word=parts[1], rest=tuple(parts[2:-1]))


def placed(tree: Tree) -> Iterator[Placed]:
    """Every picture and clip that lies under a split and a class folder."""
    for path in tree.files:
        found = place(path)
        if found is not None:
            yield found


def stray_note(tree: Tree) -> tuple[str, ...]:
    """A sentence about media outside `<split>/<Class>/`, which no layout of this family reads."""
    stray = [path for path, _ in tree.media() if place(path) is None]
    if not stray:
        return ()
    return (f"{len(stray)} files outside <split>/<Class>/ left out, for example {stray[0]}",)


def detect(tree: Tree) -> bool:
    """Whether any picture or clip lies under a split and a class folder."""
    return next(placed(tree), None) is not None


def read(tree: Tree, options: ReadOptions) -> Corpus:
    """Records of any such tree; raises DataError for class folders outside the taxonomy."""
    labels = Labels(options)
    records = []
    for found in placed(tree):
        label = labels.of(found.word)
        if label is None:
            continue
        records.append(
            Record(
                key=found.path,
                path=found.path,
                kind=found.kind,
                label=label,
                split=found.split,
                is_face_crop=options.face_crops and found.kind == "image",
                group="/".join(found.rest),
            )
        )
    labels.check(tree.root)
    return assemble(tree, NAME, records, (*labels.notes(), *stray_note(tree)))
