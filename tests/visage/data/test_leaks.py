"""Leaks leave training: of two equal pictures in two splits the held-out one stays."""

from __future__ import annotations

import pyarrow as pa
import pytest

from visage.data.audit import AuditReport
from visage.data.leaks import without_leaks
from visage.data.records import Corpus, Record, Split

NOTHING = pa.table({})


def _corpus(**splits: Split) -> Corpus:
    records = tuple(
        Record(key=key, path=key, kind="image", label="Sad", split=split)
        for key, split in sorted(splits.items())
    )
    return Corpus(root="r", layout="l", classes=("Sad",), records=records, notes=("read",))


def _report(*pairs: tuple[str, str]) -> AuditReport:
    table = pa.table({"key_a": [one for one, _ in pairs], "key_b": [two for _, two in pairs]})
    return AuditReport(
        root="r", layout="l", notes=(), files=NOTHING, duplicates=table, leaks=NOTHING,
        boxes=NOTHING, counts=NOTHING,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("one", "two", "kept"),
    [("train", "test", "b"), ("train", "val", "b"), ("val", "test", "b"), ("test", "train", "a"),
     ("train", "train", "ab"), ("test", "test", "ab")],
)  # fmt: skip
def test_test_keeps_its_own_then_val_and_within_a_split_nothing_happens(
    one: Split, two: Split, kept: str
) -> None:
    corpus, dropped = without_leaks(_corpus(a=one, b=two), _report(("a", "b")))
    assert "".join(record.key for record in corpus.records) == kept
    assert dropped == 2 - len(kept)


def test_a_picture_with_several_copies_counts_once_and_a_note_says_how_many() -> None:
    corpus = _corpus(a="train", b="test", c="test", d="train", e="val", f="train")
    kept, dropped = without_leaks(
        corpus, _report(("a", "b"), ("a", "c"), ("d", "e"), ("b", "c"), ("e", "b"))
    )
    assert [record.key for record in kept.records] == ["b", "c", "f"]
    assert dropped == 3
    assert kept.notes == ("read", "3 records left out because a held-out split holds a copy")


def test_a_clean_corpus_is_the_same_corpus() -> None:
    corpus = _corpus(a="train", b="test")
    assert without_leaks(corpus, _report()) == (corpus, 0)


def test_pairs_of_records_that_are_gone_are_no_leak() -> None:
    corpus = _corpus(a="train", b="test")
    assert without_leaks(corpus, _report(("a", "absent"), ("absent", "gone"))) == (corpus, 0)
