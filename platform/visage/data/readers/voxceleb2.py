"""Layout `voxceleb2`: `{dev,test}/mp4/idNNNNN/<video>/NNNNN.mp4`, clips of talking people.

`dev` is train; its people give val, so nobody stands in two splits. The `aac` and `txt` trees and
`vox2_meta.csv` may lie beside it and are not needed: a clip holds its own sound. No emotions are
stated. A drawn corpus of this layout also holds the truth of every frame (`clip_truth`).
"""

from __future__ import annotations

import re
from pathlib import Path

from visage.data.clip_truth import ClipTruth, read_truth
from visage.data.readers.assembly import ReadOptions, assemble
from visage.data.readers.styles import read_styles, splits_of_people
from visage.data.readers.tree import Tree
from visage.data.records import Corpus, Record, Split
from visage.errors import DataError

__all__ = ["EXPLANATION", "NAME", "clip_truth", "detect", "read"]

NAME = "voxceleb2"
EXPLANATION = "{dev,test}/mp4/idNNNNN/<video>/NNNNN.mp4, e.g. dev/mp4/id00012/21Uxsk56VDQ/00001.mp4"

_CLIP = re.compile(
    r"(?:(?P<part>dev|test)/)?(?:mp4/)?(?P<person>id\d{5})/(?P<video>[\w-]{11})/\d{5}\.mp4",
    re.ASCII,
)
_PARTS: dict[str | None, Split | None] = {"dev": "train", "test": "test", None: None}


def detect(tree: Tree) -> bool:
    """Whether at least half of the clips and pictures lie where such clips lie."""
    media = [path for path, _ in tree.media()]
    return 2 * sum(_CLIP.fullmatch(path) is not None for path in media) >= max(1, len(media))


def read(tree: Tree, options: ReadOptions) -> Corpus:
    """Whole clips grouped and split by person; DataError if a person is in dev and in test."""
    clips = [
        (path, match["person"], match["part"])
        for path, _ in tree.media()
        if (match := _CLIP.fullmatch(path)) is not None
    ]
    people: dict[str, Split | None] = {}
    for _, person, part in clips:
        if people.setdefault(person, _PARTS[part]) != _PARTS[part]:
            raise DataError(f"{tree.root}: {person} stands in dev and in test; keep one of them")
    splits, drawn = splits_of_people(people, options)
    styles = read_styles(tree)
    records = [
        Record(
            key=path,
            path=path,
            kind="video",
            label=None,
            split=splits[person],
            group=person,
            style=styles.of(path),
        )
        for path, person, _ in clips
    ]
    strays = sum(1 for _ in tree.media()) - len(clips)
    told = (f"{strays} files at other places left out",) if strays else ()
    return assemble(tree, NAME, records, (*told, *drawn, *styles.note()), classes=())


def clip_truth(root: str | Path, record: Record) -> ClipTruth | None:
    """What is known about every frame of a drawn clip; None for a real one.

    Raises:
        CorruptError: the file is there and is not what it should be.
    """
    return read_truth(root, record)
