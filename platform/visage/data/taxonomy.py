"""What corpora call the seven emotions and the three splits, and what Visage calls them.

Invariant: a word either has exactly one meaning here or it is refused by name; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from visage.data.records import Split
from visage.specs.emotion import EMOTIONS

__all__ = ["FOREIGN_LABELS", "emotion_words", "label_of", "split_of"]

_WORDS: dict[str, tuple[str, ...]] = {
    "Anger": ("anger", "angry", "ang"),
    "Disgust": ("disgust", "disgusted", "disgusting", "dis"),
    "Fear": ("fear", "fearful", "afraid", "scared", "fea"),
    "Happy": ("happy", "happiness", "joy", "hap"),
    "Neutral": ("neutral", "neutrality", "neu"),
    "Sad": ("sad", "sadness"),
    "Surprise": ("surprise", "surprised", "sur"),
}
_LABELS = {word: label for label in EMOTIONS for word in _WORDS[label]}
_CODE_LENGTH = 3

FOREIGN_LABELS: frozenset[str] = frozenset({"calm", "contempt", "contemptuous"})
"""Words that corpora use for an emotion which the taxonomy does not have."""

_SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def label_of(word: str) -> str | None:
    """The taxonomy's name for a class folder or a label word, or None if it has none."""
    return _LABELS.get(word.strip().casefold())


def split_of(word: str) -> Split | None:
    """The split that a folder or a list is for, or None if the word names no split."""
    return _SPLITS.get(word.strip().casefold())


def emotion_words(stem: str) -> Iterator[tuple[int, str]]:
    """Each token of a file name that names an emotion, own or foreign, with where it starts.

    Tokens are runs of letters between other characters, so `level_3_happy_007` has one. The three
    letter codes of CREMA-D count only in capitals: `sur` and `dis` are also ordinary syllables.
    """
    for match in re.finditer(r"[A-Za-z]+", stem):
        token = match.group()
        if (
            len(token) == _CODE_LENGTH
            and token.casefold() not in ("sad", "joy")
            and not token.isupper()
        ):
            continue
        if label_of(token) is not None or token.casefold() in FOREIGN_LABELS:
            yield match.start(), token
