"""Layout `fer2013`: `<split>/<class>/*.jpg`, grey face crops of 48x48 pixels without surroundings.

Some copies of the corpus hold a class enlarged by augmentation, `Training_1070239.jpg7.jpg` being
made from `Training_1070239.jpg`: the group is the original, so that its copies stay in one split.
"""

from __future__ import annotations

import re

from visage.data.readers.assembly import Labels, ReadOptions, assemble
from visage.data.readers.folders import placed, stray_note
from visage.data.readers.tree import Tree
from visage.data.records import Corpus, Record
from visage.errors import MediaError, NotFoundError
from visage.media.image import image_size

__all__ = ["EXPLANATION", "NAME", "detect", "read"]

NAME = "fer2013"
EXPLANATION = "<split>/<class>/*.jpg of 48x48 pixels, e.g. train/angry/Training_10120469.jpg"

SIDE_PX = 48
SAMPLES = 16
HEADER_BYTES = 1 << 16
_COPY = re.compile(r"(?P<original>.+?)\.(?:jpe?g|png)\d*$", re.IGNORECASE)


def detect(tree: Tree) -> bool:
    """Whether a sample of the pictures, spread over the tree, is 48x48 by its headers."""
    paths = [found.path for found in placed(tree) if found.kind == "image" and not found.rest]
    if not paths:
        return False
    sample = paths[:: max(1, len(paths) // SAMPLES)]
    sizes = {_size(tree, path) for path in sample} - {None}
    return sizes == {(SIDE_PX, SIDE_PX)}


def read(tree: Tree, options: ReadOptions) -> Corpus:
    """One record for each picture, all of them face crops."""
    labels = Labels(options)
    records = []
    copies = 0
    for found in placed(tree):
        label = labels.of(found.word) if found.kind == "image" else None
        if label is None:
            continue
        copy = _COPY.match(found.stem)
        copies += copy is not None
        records.append(
            Record(
                key=found.path,
                path=found.path,
                kind="image",
                label=label,
                split=found.split,
                is_face_crop=True,
                group=copy["original"] if copy else found.stem,
            )
        )
    labels.check(tree.root)
    told = (f"{copies} pictures are augmented copies of others by their names",) if copies else ()
    return assemble(tree, NAME, records, (*labels.notes(), *told, *stray_note(tree)))


def _size(tree: Tree, path: str) -> tuple[int, int] | None:
    """Width and height by the header alone, or None if it is no picture we read."""
    try:
        return image_size(tree.source.read(path, limit=HEADER_BYTES)[:HEADER_BYTES])
    except (MediaError, NotFoundError):
        return None
