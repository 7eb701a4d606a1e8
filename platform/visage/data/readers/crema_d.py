"""Layout `crema-d`: clips named `1001_DFA_ANG_XX` under `VideoFlash/`, sounds under `AudioWAV/`.

Four fields: actor, sentence, emotion, intensity. There is no surprise. The corpus states no
split: it is drawn by actor.
"""

from __future__ import annotations

import re

from visage.data.readers.assembly import Labels, ReadOptions, assemble
from visage.data.readers.splits import split_groups
from visage.data.readers.tree import AUDIO_SUFFIXES, Tree, media_kind, stem_of, suffix_of
from visage.data.records import Corpus, Record
from visage.errors import DataError

__all__ = ["EXPLANATION", "NAME", "detect", "read"]

NAME = "crema-d"
EXPLANATION = "NNNN_SSS_EMO_LL.flv (or .mp4), e.g. VideoFlash/1001_DFA_ANG_XX.flv"

_CLIP = re.compile(r"(?P<actor>\d{4})_[A-Z]{3}_(?P<emotion>[A-Z]{3})_[A-Z]{1,2}", re.IGNORECASE)


def detect(tree: Tree) -> bool:
    """Whether at least half of the clips and sounds carry such names."""
    names = [stem_of(path) for path in tree.files if _is_clip_or_sound(path)]
    return 2 * sum(_CLIP.fullmatch(name) is not None for name in names) >= max(1, len(names))


def read(tree: Tree, options: ReadOptions) -> Corpus:
    """Whole clips, grouped and split by actor; raises DataError if there are only sounds."""
    clips, told = _clips(tree)
    splits = split_groups(
        [group for _, group, _ in clips],
        val_fraction=options.val_fraction,
        test_fraction=options.test_fraction,
        seed=options.seed,
    )
    labels = Labels(options)
    records = [
        Record(key=path, path=path, kind="video", label=label, split=splits[group], group=group)
        for path, group, word in clips
        if (label := labels.of(word)) is not None
    ]
    labels.check(tree.root)
    drawn = f"splits drawn by actor with seed {options.seed} ({len(splits)} actors)"
    return assemble(tree, NAME, records, (*labels.notes(), *told, drawn))


def _clips(tree: Tree) -> tuple[list[tuple[str, str, str]], tuple[str, ...]]:
    """Path, group and emotion code of each clip, and sentences about what was left out."""
    chosen: dict[str, tuple[str, str, str]] = {}
    sounds = foreign = copies = 0
    for path in filter(_is_clip_or_sound, tree.files):
        stem = stem_of(path)
        match = _CLIP.fullmatch(stem)
        if match is None:
            foreign += 1
        elif media_kind(path) != "video":
            sounds += 1
        else:
            copies += stem in chosen
            # A converted copy beside the Flash original is preferred: it can be sought in.
            if stem not in chosen or chosen[stem][0].lower().endswith(".flv"):
                chosen[stem] = (path, f"actor-{match['actor']}", match["emotion"])
    if not chosen:
        raise DataError(
            f"{tree.root}: {sounds} sounds but no clip; emotion recognition reads pictures: "
            "add the VideoFlash folder"
        )
    told = {
        f"{sounds} sounds left out: only clips are read": sounds,
        f"{copies} clips left out: another file holds the same take": copies,
        f"{foreign} files without a name of this corpus left out": foreign,
    }
    return list(chosen.values()), tuple(text for text, count in told.items() if count)


def _is_clip_or_sound(path: str) -> bool:
    return media_kind(path) == "video" or suffix_of(path) in AUDIO_SUFFIXES
