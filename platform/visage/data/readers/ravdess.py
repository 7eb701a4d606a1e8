"""Layout `ravdess`: clips named `MM-VV-EE-II-SS-RR-AA`, flat or in actors' folders.

Seven numbers: modality, speech or song, emotion, intensity, statement, repetition, actor. Each take
exists as 01 (with sound) and as 02 (without), the same pictures twice: 02 is used only where 01 is
absent. The corpus states no split: it is drawn by actor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from visage.data.readers.assembly import Labels, ReadOptions, assemble
from visage.data.readers.splits import split_groups
from visage.data.readers.tree import AUDIO_SUFFIXES, Tree, media_kind, stem_of, suffix_of
from visage.data.records import Corpus, Record
from visage.errors import DataError

__all__ = ["EXPLANATION", "NAME", "detect", "read"]

NAME = "ravdess"
EXPLANATION = (
    "MM-VV-EE-II-SS-RR-AA.mp4, flat or under Actor_XX/, e.g. Actor_01/01-01-03-02-02-01-01.mp4"
)

EMOTION_WORDS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
_TAKE = re.compile(
    r"(?:RAVDESS[_-])?(?P<modality>0[123])-(?P<take>(?P<vocal>0[12])-(?P<emotion>\d\d)-\d\d-\d\d-\d\d-"
    r"(?P<actor>\d\d))"
)


def detect(tree: Tree) -> bool:
    """Whether at least half of the clips and sounds carry such names."""
    names = [stem_of(path) for path in tree.files if _is_take(path)]
    return 2 * sum(_TAKE.fullmatch(name) is not None for name in names) >= max(1, len(names))


def read(tree: Tree, options: ReadOptions) -> Corpus:
    """Whole clips, grouped and split by actor; raises DataError if there are only sounds."""
    takes, told = _takes(tree)
    actors = [take["actor"] for take in takes.values()]
    splits = split_groups(
        [_group(actor) for actor in actors],
        val_fraction=options.val_fraction,
        test_fraction=options.test_fraction,
        seed=options.seed,
    )
    labels = Labels(options)
    records = []
    for path, take in takes.items():
        word = EMOTION_WORDS.get(take["emotion"], take["emotion"])
        if word == "calm" and options.calm == "drop":
            labels.leave_out(word)
            continue
        label = labels.of(word)
        if label is not None:
            group = _group(take["actor"])
            records.append(
                Record(
                    key=path, path=path, kind="video", label=label, split=splits[group], group=group
                )
            )
    labels.check(tree.root)
    drawn = f"splits drawn by actor with seed {options.seed} ({len(splits)} actors)"
    return assemble(tree, NAME, records, (*labels.notes(), *told, drawn))


def _takes(tree: Tree) -> tuple[dict[str, Mapping[str, str]], tuple[str, ...]]:
    chosen: dict[str, tuple[str, Mapping[str, str]]] = {}
    sounds = silent = foreign = 0
    for path in filter(_is_take, tree.files):
        match = _TAKE.fullmatch(stem_of(path))
        if match is None:
            foreign += 1
        elif media_kind(path) != "video":
            sounds += 1
        else:
            take = match.groupdict()
            before = chosen.get(take["take"])
            silent += before is not None
            if before is None or take["modality"] < before[1]["modality"]:
                chosen[take["take"]] = (path, take)
    if not chosen:
        raise DataError(
            f"{tree.root}: {sounds} sounds but no clip; emotion recognition reads pictures: "
            "add the Video_Speech or Video_Song folders"
        )
    told = {
        f"{sounds} sounds left out: only clips are read": sounds,
        f"{silent} clips left out: another file holds the same take": silent,
        f"{foreign} files without a name of this corpus left out": foreign,
    }
    notes = tuple(text for text, count in told.items() if count)
    return {path: take for path, take in chosen.values()}, notes


def _is_take(path: str) -> bool:
    return media_kind(path) == "video" or suffix_of(path) in AUDIO_SUFFIXES


def _group(actor: str) -> str:
    return f"actor-{actor}"
