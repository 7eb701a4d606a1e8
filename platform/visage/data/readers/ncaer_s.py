"""Layout `ncaer-s`: `images/<split>/<Class>/x.jpg` with face boxes in `crop/<split>/<Class>/x.txt`.

A box file holds one line `x1,y1,x2,y2`; 0,0,0,0 says that no face was found. Picture names may hold
several dots, so only the last suffix is exchanged. A `manifest.jsonl` names the source videos, or
what groups them (show, actor).
"""

from __future__ import annotations

import io
import json
import posixpath

from visage.data.readers.assembly import Labels, ReadOptions, assemble
from visage.data.readers.box_lists import parse_box
from visage.data.readers.folders import Placed, place
from visage.data.readers.tree import Tree
from visage.data.records import Corpus, Record
from visage.errors import DataError

__all__ = ["EXPLANATION", "MANIFEST", "NAME", "detect", "read"]

NAME = "ncaer-s"
EXPLANATION = (
    "images/<split>/<Class>/*.jpg, boxes in crop/<split>/<Class>/*.txt, optionally manifest.jsonl"
)
MANIFEST = "manifest.jsonl"
_IMAGES, _CROP = "images/", "crop/"


def detect(tree: Tree) -> bool:
    """Whether pictures lie under `images/<split>/<Class>/`."""
    return any(_place(path) is not None for path in tree.files)


def read(tree: Tree, options: ReadOptions) -> Corpus:
    """Records with the boxes of `crop/` and the source videos of the manifest, where known."""
    labels = Labels(options)
    listed = frozenset(tree.files)
    sources = _sources(tree) if MANIFEST in listed else {}
    records = []
    boxless = faceless = 0
    for path in tree.files:
        picture = _place(path)
        label = labels.of(picture.word) if picture else None
        if picture is None or label is None:
            continue
        crop = f"{_CROP}{posixpath.splitext(picture.path)[0]}.txt"
        box = None
        if crop in listed:
            box = parse_box(tree.text(crop).strip(), origin=crop)
            faceless += box is None
        else:
            boxless += 1
        records.append(
            Record(
                key=path,
                path=path,
                kind="image",
                label=label,
                split=picture.split,
                box=box,
                group=sources.get(path, "/".join(picture.rest)),
            )
        )
    labels.check(tree.root)
    told = {
        f"{boxless} pictures have no file in crop/: their faces will be searched": boxless,
        f"{faceless} pictures have no face by their box file (0,0,0,0)": faceless,
        "no manifest.jsonl: the source videos are unknown": not sources,
    }
    notes = (text for text, count in told.items() if count)
    return assemble(tree, NAME, records, (*labels.notes(), *notes))


def _place(path: str) -> Placed | None:
    if not path.startswith(_IMAGES):
        return None
    found = place(path.removeprefix(_IMAGES))
    return found if found is not None and found.kind == "image" else None


def _sources(tree: Tree) -> dict[str, str]:
    sources: dict[str, str] = {}
    for number, line in enumerate(io.StringIO(tree.text(MANIFEST)), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            sources[str(row["path"])] = str(row.get("group") or row["source_video"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError(
                f"{tree.root}/{MANIFEST}:{number}: not a row with `path` and `source_video`; "
                "build the corpus again"
            ) from None
    return sources
