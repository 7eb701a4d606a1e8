"""What every layout does alike: options, labels with their refusals, and the finished corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from visage.data.readers.tree import Tree
from visage.data.records import SPLITS, Corpus, Record
from visage.data.taxonomy import FOREIGN_LABELS, label_of
from visage.errors import DataError, SpecError
from visage.specs.emotion import EMOTIONS

__all__ = ["Calm", "Labels", "ReadOptions", "assemble", "count_classes"]

Calm = Literal["drop", "neutral"]
_EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """Choices that a corpus leaves to its reader."""

    boxes: str | None = None
    """Face box lists for CAER-S: file, folder or prefix; None looks in the root and beside it."""
    calm: Calm = "drop"
    """RAVDESS' `calm` has no counterpart: left out, or counted as Neutral."""
    drop: frozenset[str] = frozenset()
    """Label words outside the taxonomy to leave out on purpose, lower case."""
    face_crops: bool = False
    """Every picture is a face without surroundings (known without asking for FER2013)."""
    val_fraction: float = 0.1
    """Share of the groups for val, where the corpus states no split."""
    test_fraction: float = 0.2
    """Share of the groups for test, where the corpus states no split."""
    seed: int = 0
    """Decides which groups go to which split, where the corpus states none."""
    hours: float | None = None
    """Common Voice: at most so much of train, and its val and test fractions of val and test."""

    def __post_init__(self) -> None:
        """Refuse fractions that leave nothing to train on."""
        fractions = (self.val_fraction, self.test_fraction)
        if min(fractions) < 0 or sum(fractions) >= 1:
            raise SpecError(
                f"val_fraction {fractions[0]} and test_fraction {fractions[1]} must be 0 or more "
                "and leave something to train on (sum below 1)"
            )
        if self.hours is not None and not self.hours > 0:
            raise SpecError(f"hours {self.hours}: give a positive number, or nothing for all")
        if self.calm not in ("drop", "neutral"):
            raise SpecError(f"calm={self.calm!r}: choose drop or neutral")


@dataclass(slots=True)
class Labels:
    """Turns label words into the taxonomy's names and remembers what it could not turn."""

    options: ReadOptions
    _renamed: Counter[tuple[str, str]] = field(default_factory=Counter)
    _dropped: Counter[str] = field(default_factory=Counter)
    _foreign: Counter[str] = field(default_factory=Counter)

    def of(self, word: str) -> str | None:
        """The label, or None where the sample is left out; unknown words wait for `check`."""
        label = label_of(word)
        lower = word.strip().casefold()
        if lower == "calm" and self.options.calm == "neutral":
            label = "Neutral"
        if label is None:
            (self._dropped if lower in self.options.drop else self._foreign)[word] += 1
        elif word != label:
            self._renamed[word, label] += 1
        return label

    def leave_out(self, word: str) -> None:
        """Count a sample that the layout leaves out by its own rule."""
        self._dropped[word] += 1

    def check(self, root: str) -> None:
        """Raise DataError with counts if any word had no counterpart."""
        if not self._foreign:
            return
        known = ", ".join(EMOTIONS)
        advice = "rename the folder or leave it out on purpose with drop=(…)"
        if any(word.casefold() in FOREIGN_LABELS for word in self._foreign):
            advice += "; a known emotion without counterpart is never guessed"
        raise DataError(
            f"{root}: labels outside the taxonomy: {_listing(self._foreign)}; "
            f"known are {known}; {advice}"
        )

    def notes(self) -> tuple[str, ...]:
        """Sentences about renamed and left-out labels, with counts."""
        told = []
        if self._renamed:
            pairs = sorted(self._renamed.items())
            told.append(
                "labels read by another name: "
                + ", ".join(f"{word} = {label} {count}" for (word, label), count in pairs)
            )
        if self._dropped:
            told.append(f"labels left out: {_listing(self._dropped)}")
        return tuple(told)


def assemble(
    tree: Tree,
    layout: str,
    records: Iterable[Record],
    notes: Iterable[str],
    *,
    classes: tuple[str, ...] = EMOTIONS,
) -> Corpus:
    """Sort, prove that keys are unique, say what is missing; DataError if nothing is left.

    `classes` is empty for a corpus that states no emotions.
    """
    ordered = tuple(sorted(records, key=lambda record: record.key))
    if not ordered:
        raise DataError(
            f"{tree.root}: no labelled picture or clip lies there as the layout {layout} wants it"
            if classes
            else f"{tree.root}: no clip or sound lies there as the layout {layout} wants it"
        )
    repeated = [key for key, count in Counter(r.key for r in ordered).items() if count > 1]
    if repeated:
        raise DataError(
            f"{tree.root}: {len(repeated)} keys stand there twice, for example "
            f"{', '.join(repeated[:_EXAMPLES])}; each sample must have one label and one split"
        )
    told = (*tree.notes, *notes, *_missing(count_classes(ordered), classes))
    return Corpus(root=tree.root, layout=layout, classes=classes, records=ordered, notes=told)


def count_classes(records: Iterable[Record]) -> dict[str, dict[str, int]]:
    """Records by split and label, every split and class present, unlabelled under an empty name."""
    counts = {split: dict.fromkeys(EMOTIONS, 0) for split in SPLITS}
    for record in records:
        label = record.label or ""
        counts[record.split][label] = counts[record.split].get(label, 0) + 1
    return {split: row for split, row in counts.items() if any(row.values())}


def _missing(counts: Mapping[str, Mapping[str, int]], classes: tuple[str, ...]) -> tuple[str, ...]:
    told = []
    for split, row in counts.items():
        absent = [label for label in classes if not row[label]]
        if absent:
            told.append(f"{split} has no sample of {', '.join(absent)} (of {sum(row.values())})")
    told += [f"there is no {split} split" for split in SPLITS if split not in counts]
    return tuple(told)


def _listing(counts: Counter[str]) -> str:
    return ", ".join(f"{word!r} {count}" for word, count in sorted(counts.items()))
