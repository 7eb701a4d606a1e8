"""What the talking demo shows: clips of unseen people, prepared, known before any training."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_clips import write_clip_corpus

from visage.data.records import Corpus, Record
from visage.data.shards import ShardRows, load_manifest
from visage.errors import DataError
from visage.tracking.head_evaluation import SHEET_FILE
from visage_jobs.demo_report import _sheet
from visage_jobs.demo_talking import _test_clips


def _corpus(*clips: str, split: str = "test") -> Corpus:
    records = tuple(
        Record(key=one, path=one, kind="video", label=None, split=split, group=one) for one in clips
    )
    return Corpus(layout="made", root="/clips", records=records, classes=())


def test_a_clip_that_was_rejected_is_neither_taught_nor_said(tmp_path: Path):
    uri = write_clip_corpus(tmp_path / "data", train=1, val=1, test=2, size=32, frames=60)
    prepared = ShardRows(*load_manifest(uri), "test").column("clip")
    found = _test_clips(_corpus("crowd.mp4", *prepared, "dark.mp4"), uri)
    assert [record.key for record in found] == list(dict.fromkeys(prepared))


def test_without_anybody_unseen_the_demo_ends_before_it_trains(tmp_path: Path):
    uri = write_clip_corpus(tmp_path / "data", train=1, val=1, test=1, size=32, frames=60)
    with pytest.raises(DataError, match="every test clip was rejected"):
        _test_clips(_corpus("crowd.mp4"), uri)
    with pytest.raises(DataError, match="no clip is for the test"):
        _test_clips(_corpus("a.mp4", split="train"), uri)
    none = write_clip_corpus(tmp_path / "none", train=1, val=1, test=0, size=32, frames=60)
    with pytest.raises(DataError, match="every test clip was rejected"):
        _test_clips(_corpus("a.mp4"), none)


def test_the_page_of_clips_that_could_not_be_shown_has_no_sheet_and_is_a_page(tmp_path: Path):
    assert _sheet(str(tmp_path)) is None
    (tmp_path / SHEET_FILE).write_bytes(b"jpeg")
    assert _sheet(str(tmp_path)) == b"jpeg"
