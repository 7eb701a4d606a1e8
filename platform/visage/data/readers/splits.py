"""Splits drawn by group, so that one actor or one source video never straddles two of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from visage.data.records import Corpus, Record, Split
from visage.errors import DataError, SpecError
from visage.seeds import seed_of

__all__ = ["carve_validation", "split_groups"]


def split_groups(
    groups: Sequence[str], *, val_fraction: float, test_fraction: float, seed: int
) -> dict[str, Split]:
    """A split for each group, drawn by the seed and the group's own name.

    A fraction above 0 gets at least one group as long as train keeps one: test first, then val.
    Equal names give equal places on every machine, whatever order they come in.
    """
    order = _shuffled(sorted(set(groups)), seed, "split")
    count = len(order)
    test = _share(count, test_fraction, spare=count - 1)
    val = _share(count, val_fraction, spare=count - 1 - test)
    splits: dict[str, Split] = {}
    for place, group in enumerate(order):
        splits[group] = "test" if place < test else "val" if place < test + val else "train"
    return splits


def carve_validation(corpus: Corpus, fraction: float, seed: int) -> Corpus:
    """Move about `fraction` of train to val, whole groups at a time, class by class.

    Records without a group count as their own. Where every group has one label, each class gives
    its share; otherwise (actors) the groups are drawn together. Nothing else of the corpus changes.

    Raises:
        SpecError: the fraction is not between 0 and 1.
        DataError: the corpus has a val split already, or train is one single group.
    """
    if not 0 < fraction < 1:
        raise SpecError(f"val fraction {fraction} must lie between 0 and 1")
    if any(record.split == "val" for record in corpus.records):
        raise DataError(f"{corpus.root}: there is a val split already; use it as it is")
    sizes, labels = _train_groups(corpus)
    if len(sizes) < 2:
        raise DataError(
            f"{corpus.root}: train is one group; a val split carved from it would leak. "
            "Add other videos or actors"
        )
    strata: dict[str, list[str]] = defaultdict(list)
    mixed = any(len(names) > 1 for names in labels.values())
    for group in sorted(sizes):
        strata["" if mixed else next(iter(labels[group]))].append(group)
    chosen: set[str] = set()
    for stratum, groups in sorted(strata.items()):
        chosen |= _draw(_shuffled(groups, seed, f"val:{stratum}"), sizes, fraction)
    if not chosen:
        chosen = {_shuffled(sorted(sizes), seed, "val")[0]}
    return _with_val(corpus, chosen, fraction, seed)


def _train_groups(corpus: Corpus) -> tuple[Counter[str], dict[str, set[str]]]:
    sizes: Counter[str] = Counter()
    labels: dict[str, set[str]] = defaultdict(set)
    for record in corpus.records:
        if record.split == "train":
            sizes[_group_of(record)] += 1
            labels[_group_of(record)].add(record.label or "")
    return sizes, labels


def _draw(order: Sequence[str], sizes: Counter[str], fraction: float) -> set[str]:
    """Groups of the order, passing over those that would overshoot; never all of them."""
    goal = fraction * sum(sizes[group] for group in order)
    chosen: set[str] = set()
    taken = 0
    for group in order:
        # Rounding up to half a group keeps small classes represented.
        if taken + sizes[group] / 2 <= goal and len(chosen) + 1 < len(order):
            chosen.add(group)
            taken += sizes[group]
    return chosen


def _with_val(corpus: Corpus, chosen: set[str], fraction: float, seed: int) -> Corpus:
    records: list[Record] = []
    moved = 0
    for record in corpus.records:
        if record.split == "train" and _group_of(record) in chosen:
            record = replace(record, split="val")
            moved += 1
        records.append(record)
    note = (
        f"{moved} records of {len(chosen)} groups moved from train to val "
        f"(fraction {fraction}, seed {seed})"
    )
    kept = tuple(text for text in corpus.notes if text != "there is no val split")
    return replace(corpus, records=tuple(records), notes=(*kept, note))


def _group_of(record: Record) -> str:
    return f"group:{record.group}" if record.group else f"key:{record.key}"


def _shuffled(groups: Sequence[str], seed: int, purpose: str) -> list[str]:
    return sorted(groups, key=lambda group: (seed_of(seed, purpose, group), group))


def _share(count: int, fraction: float, *, spare: int) -> int:
    if fraction == 0:
        return 0
    return max(0, min(max(1, round(count * fraction)), spare))
