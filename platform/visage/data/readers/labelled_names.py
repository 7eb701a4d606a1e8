"""Layout `labelled-names`: a folder of clips or pictures whose names say the emotion.

`MEAD_W036_level_3_happy_007.mp4` is Happy and belongs to the person W036. Who it is comes from the
name: a letter with digits (W036, id10001), RAVDESS' seven numbers, else what stands before the
emotion. No split is stated: it is drawn by that identity.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from visage.data.readers.assembly import Labels, ReadOptions, assemble
from visage.data.readers.splits import split_groups
from visage.data.readers.tree import Tree, stem_of
from visage.data.records import Corpus, Record
from visage.data.taxonomy import emotion_words, label_of

__all__ = ["EXPLANATION", "NAME", "detect", "read"]

NAME = "labelled-names"
EXPLANATION = "files with an emotion word in their name, e.g. MEAD_W036_level_3_happy_007.mp4"

_EXAMPLES = 3
_RAVDESS = re.compile(r"(?:^|_)\d\d(?:-\d\d){5}-(?P<actor>\d\d)(?:_|$)")
_PERSON = re.compile(r"(?:^|[_\-.])(?P<person>[A-Za-z]{1,5}\d{2,})(?=[_\-.]|$)")

_Named = tuple[str, Literal["image", "video"], str, str]  # path, kind, label word, identity


def detect(tree: Tree) -> bool:
    """Whether at least half of the pictures and clips have exactly one emotion in their name."""
    named, unnamed = _named(tree)
    return len(named) >= max(1, len(unnamed))


def read(tree: Tree, options: ReadOptions) -> Corpus:
    """Records grouped and split by the identity in the name."""
    named, unnamed = _named(tree)
    splits = split_groups(
        [identity for *_, identity in named],
        val_fraction=options.val_fraction,
        test_fraction=options.test_fraction,
        seed=options.seed,
    )
    labels = Labels(options)
    records = [
        Record(
            key=path,
            path=path,
            kind=kind,
            label=label,
            split=splits[identity],
            is_face_crop=options.face_crops and kind == "image",
            group=identity,
        )
        for path, kind, word, identity in named
        if (label := labels.of(word)) is not None
    ]
    labels.check(tree.root)
    notes = [f"splits drawn by identity with seed {options.seed} ({len(splits)} identities)"]
    if unnamed:
        examples = ", ".join(unnamed[:_EXAMPLES])
        notes.append(f"{len(unnamed)} files without one clear emotion left out, e.g. {examples}")
    return assemble(tree, NAME, records, (*labels.notes(), *notes))


def _named(tree: Tree) -> tuple[list[_Named], Sequence[str]]:
    named: list[_Named] = []
    unnamed: list[str] = []
    for path, kind in tree.media():
        pair = _read_name(stem_of(path))
        if pair is None:
            unnamed.append(path)
        else:
            named.append((path, kind, *pair))
    return named, unnamed


def _read_name(stem: str) -> tuple[str, str] | None:
    """The label word and the identity, or None if there is no emotion or more than one."""
    found = list(emotion_words(stem))
    if len({label_of(word) or word.casefold() for _, word in found}) != 1:
        return None
    start, word = found[0]
    ravdess = _RAVDESS.search(stem)
    if ravdess is not None:
        return word, f"ravdess-actor-{ravdess['actor']}"
    prefix = stem[:start].rstrip("_-. ")
    person = _PERSON.search(prefix)
    if person is not None:
        return word, stem[: person.end("person")]
    return word, prefix or stem
