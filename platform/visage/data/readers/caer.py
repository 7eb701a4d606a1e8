"""Layout `caer`: `<split>/<Class>/NNNN.avi`, 13,201 clips of 79 television shows.

Each clip is its own source video; which show it comes from is not written in its name.
"""

from __future__ import annotations

import posixpath

from visage.data.readers.assembly import Labels, ReadOptions, assemble
from visage.data.readers.folders import placed, stray_note
from visage.data.readers.tree import Tree
from visage.data.records import Corpus, Record

__all__ = ["EXPLANATION", "NAME", "detect", "read"]

NAME = "caer"
EXPLANATION = "<split>/<Class>/*.avi (or .mp4), clips only, e.g. train/Anger/0001.avi"


def detect(tree: Tree) -> bool:
    """Whether clips, and no pictures, lie directly in class folders."""
    kinds = {found.kind for found in placed(tree) if not found.rest}
    return kinds == {"video"}


def read(tree: Tree, options: ReadOptions) -> Corpus:
    """One record for each whole clip, its group the clip itself."""
    labels = Labels(options)
    records = []
    for found in placed(tree):
        label = labels.of(found.word) if found.kind == "video" else None
        if label is None:
            continue
        group = "/".join(found.rest) or posixpath.splitext(found.path)[0]
        records.append(
            Record(
                key=found.path,
                path=found.path,
                kind="video",
                label=label,
                split=found.split,
                group=group,
            )
        )
    labels.check(tree.root)
    return assemble(tree, NAME, records, (*labels.notes(), *stray_note(tree)))
