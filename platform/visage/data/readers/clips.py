"""Layout `clips`: a folder of clips of talking people, grouped by folder or by name.

`DIR/<person>/…/*.mp4`, perhaps below `train`, `val` and `test`; or the names that the makers of
first-order motion models use, `id10283#video#start#end.mp4`, where the person is what stands
before the first `#`. A clip with neither is its own person. Recognised by the names only: any
other folder of clips must be asked for with `--layout clips`, because it could be anything.
"""

from __future__ import annotations

from visage.data.readers.assembly import ReadOptions, assemble
from visage.data.readers.styles import read_styles, splits_of_people
from visage.data.readers.tree import Tree, stem_of
from visage.data.records import Corpus, Record, Split
from visage.data.taxonomy import split_of
from visage.errors import DataError

__all__ = ["EXPLANATION", "NAME", "detect", "read"]

NAME = "clips"
EXPLANATION = "<person>/*.mp4 (only with --layout clips), or id10283#video#start#end.mp4"


def detect(tree: Tree) -> bool:
    """Whether there are only clips, and at least half carry `#` names."""
    media = list(tree.media())
    named = sum(kind == "video" and stem_of(path).count("#") >= 2 for path, kind in media)
    return all(kind == "video" for _, kind in media) and 2 * named >= max(1, len(media))


def read(tree: Tree, options: ReadOptions) -> Corpus:
    """Whole clips grouped and split by person; DataError if a person stands in two splits."""
    clips, told = _clips(tree)
    people: dict[str, Split | None] = {}
    for _, person, split in clips:
        if people.setdefault(person, split) != split:
            raise DataError(
                f"{tree.root}: {person} stands in two splits; a model would be tested on people "
                "it knows. Move all clips of a person to one"
            )
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
    return assemble(tree, NAME, records, (*told, *drawn, *styles.note()), classes=())


def _clips(tree: Tree) -> tuple[list[tuple[str, str, Split | None]], tuple[str, ...]]:
    """Path, person and stated split of each clip, and sentences about how they were read."""
    media = list(tree.media())
    clips = [(path, *_place(path)) for path, kind in media if kind == "video"]
    told = []
    if len({person for _, person, _ in clips}) == 1 and len(clips) > 1:
        clips = [(path, stem_of(path), split) for path, _, split in clips]
        told.append("one folder holds all clips: each counts as its own person")
    if len(clips) < len(media):
        told.append(f"{len(media) - len(clips)} pictures left out: only clips are read")
    return clips, tuple(told)


def _place(path: str) -> tuple[str, Split | None]:
    """The person of a clip, and the split its folder states."""
    folders = path.split("/")[:-1]
    split = split_of(folders[0]) if folders else None
    if split is not None:
        folders = folders[1:]
    stem = stem_of(path)
    if stem.count("#") >= 2:
        return stem.split("#")[0], split
    return folders[0] if folders else stem, split
