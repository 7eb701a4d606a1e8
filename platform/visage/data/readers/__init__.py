"""Corpora as they lie on disk, read into records; nothing is decoded and nothing is written.

`read_corpus(root)` finds out the layout in a fixed order, the most telling first: ncaer-s, ravdess,
crema-d, voxceleb2, common-voice, clips, caer, fer2013, caer-s, folders, labelled-names. A tree that
fits none is refused. voxceleb2, common-voice and clips state no emotions: their records have no
label, and their corpus has no classes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from visage.data.corpus_files import open_files
from visage.data.readers import (
    caer,
    caer_s,
    clips,
    common_voice,
    crema_d,
    fer2013,
    folders,
    labelled_names,
    ncaer_s,
    ravdess,
    voxceleb2,
)
from visage.data.readers.assembly import Calm, ReadOptions, count_classes
from visage.data.readers.splits import carve_validation, split_groups
from visage.data.readers.tree import Tree, scan
from visage.data.records import Corpus
from visage.errors import DataError, SpecError
from visage.store.base import join_uri

__all__ = [
    "LAYOUTS",
    "Calm",
    "Layout",
    "ReadOptions",
    "carve_validation",
    "count_classes",
    "explain_layouts",
    "read_corpus",
    "split_groups",
]

Layout = Literal[
    "auto",
    "ncaer-s",
    "ravdess",
    "crema-d",
    "voxceleb2",
    "common-voice",
    "clips",
    "caer",
    "fer2013",
    "caer-s",
    "folders",
    "labelled-names",
]


@dataclass(frozen=True, slots=True)
class _Reader:
    name: str
    explanation: str
    detect: Callable[[Tree], bool]
    read: Callable[[Tree, ReadOptions], Corpus]


_READERS: tuple[_Reader, ...] = tuple(
    _Reader(module.NAME, module.EXPLANATION, module.detect, module.read)
    for module in (
        ncaer_s,
        ravdess,
        crema_d,
        voxceleb2,
        common_voice,
        clips,
        caer,
        fer2013,
        caer_s,
        folders,
        labelled_names,
    )
)
LAYOUTS: tuple[str, ...] = tuple(reader.name for reader in _READERS)
"""Names of the layouts, in the order in which `auto` tries them."""


def read_corpus(
    root: str | Path,
    *,
    layout: Layout = "auto",
    boxes: str | Path | None = None,
    calm: Calm = "drop",
    drop: Collection[str] = (),
    face_crops: bool = False,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    hours: float | None = None,
) -> Corpus:
    """Read the corpus under a folder or an s3:// prefix; `ReadOptions` says what each choice means.

    The same tree and the same options give the same records, in the same order, on every machine.

    Raises:
        DataError: no such folder, no known layout, labels outside the taxonomy, a link or a listed
            path that leaves the root, a sample in two splits, or no sample at all.
        SpecError: an option or the layout's name is wrong.
    """
    options = ReadOptions(
        boxes=str(boxes) if boxes is not None else None,
        calm=calm,
        drop=frozenset(word.casefold() for word in drop),
        face_crops=face_crops,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        seed=seed,
        hours=hours,
    )
    if layout != "auto" and layout not in LAYOUTS:
        raise SpecError(f"layout {layout!r} is unknown; choose auto or one of {', '.join(LAYOUTS)}")
    tree = scan(root)
    reader = _choose(tree, layout)
    if hours is not None and reader.name != common_voice.NAME:
        raise SpecError(
            f"hours limits the layout {common_voice.NAME}; {tree.root} is {reader.name}"
        )
    return reader.read(tree, options)


def explain_layouts() -> str:
    """What each layout looks like, one line each, in the order of detection."""
    width = max(len(name) for name in LAYOUTS)
    return "\n".join(f"  {reader.name:<{width}}  {reader.explanation}" for reader in _READERS)


def _choose(tree: Tree, layout: Layout) -> _Reader:
    for reader in _READERS:
        if reader.name == layout or (layout == "auto" and reader.detect(tree)):
            return reader
    raise DataError(
        f"{tree.root}: no layout fits{_hint(tree)}. Known layouts:\n{explain_layouts()}"
    )


def _hint(tree: Tree) -> str:
    """What to try instead, where the tree itself suggests it."""
    if not any(True for _ in tree.media()):
        return f" ({len(tree.files)} files, no picture or clip among them)"
    fitting = []
    for name in sorted({path.split("/")[0] for path in tree.files if "/" in path}):
        prefix = f"{name}/"
        inside = tuple(p.removeprefix(prefix) for p in tree.files if p.startswith(prefix))
        part = Tree(source=open_files(join_uri(tree.root, name)), files=inside, notes=())
        if any(True for _ in part.media()) and any(reader.detect(part) for reader in _READERS):
            fitting.append(prefix)
    return f" here, but one does below: give {' or '.join(fitting)} instead" if fitting else ""
