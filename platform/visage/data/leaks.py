"""Take out of training what an audit found in the held-out splits as well."""

from __future__ import annotations

from dataclasses import replace

from visage.data.audit import AuditReport
from visage.data.disjoint import surplus
from visage.data.records import Corpus

__all__ = ["without_leaks"]


def without_leaks(corpus: Corpus, report: AuditReport) -> tuple[Corpus, int]:
    """The corpus without records whose copies stand in a split that keeps them, and how many.

    Of two equal pictures test keeps its own, else val does; so test scores stay comparable.
    """
    split_of = {record.key: record.split for record in corpus.records}
    dropped: set[str] = set()
    for pair in report.duplicates.to_pylist():
        keys = (pair["key_a"], pair["key_b"])
        splits = {split_of[key] for key in keys if key in split_of}
        if len(splits) > 1:
            losing = surplus(splits)
            dropped |= {key for key in keys if split_of.get(key) in losing}
    kept = tuple(record for record in corpus.records if record.key not in dropped)
    if not dropped:
        return corpus, 0
    note = f"{len(dropped)} records left out because a held-out split holds a copy"
    return replace(corpus, records=kept, notes=(*corpus.notes, note)), len(dropped)
