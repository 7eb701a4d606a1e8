"""Promises of a talking head's evaluation folder: of one job, whole, and readable for years."""

from __future__ import annotations

from pathlib import Path

import pytest

from visage.errors import CorruptError, NotFoundError
from visage.tracking.head_evaluation import (
    CLIPS_FILE,
    HEAD_EVALUATION_FILE,
    SHEET_FILE,
    HeadEvaluation,
    has_head_evaluation,
    publish_head_evaluation,
)

FIXTURE = Path(__file__).parents[2] / "fixtures" / "formats" / "head_evaluation-1"
SCORES = (FIXTURE / HEAD_EVALUATION_FILE).read_bytes()


def test_of_two_jobs_one_stands_with_all_its_files(tmp_path: Path) -> None:
    uri = str(tmp_path / "one")
    assert not has_head_evaluation(uri)
    publish_head_evaluation(uri, {HEAD_EVALUATION_FILE: SCORES, CLIPS_FILE: b"a"})
    other = SCORES.replace(b'"clips": 2', b'"clips": 7')
    publish_head_evaluation(
        uri, {HEAD_EVALUATION_FILE: other, CLIPS_FILE: b"b", SHEET_FILE: b"jpeg"}
    )
    found = HeadEvaluation.read(uri)
    assert has_head_evaluation(uri)
    assert (found.clips, found.part(CLIPS_FILE), found.sheet()) == (2, b"a", None)


def test_a_file_that_is_damaged_or_gone_is_told(tmp_path: Path) -> None:
    uri = str(tmp_path / "one")
    parts = {HEAD_EVALUATION_FILE: SCORES, SHEET_FILE: b"jpeg", CLIPS_FILE: b"table"}
    publish_head_evaluation(uri, parts)
    found = HeadEvaluation.read(uri)
    next((tmp_path / "one").glob("sheet.*.jpg")).write_bytes(b"other")
    next((tmp_path / "one").glob("clips.*.parquet")).unlink()
    with pytest.raises(CorruptError, match="do not match"):
        found.sheet()
    with pytest.raises(CorruptError, match="missing"):
        found.part(CLIPS_FILE)


def test_an_evaluation_from_before_the_marker_is_still_read(tmp_path: Path) -> None:
    (tmp_path / HEAD_EVALUATION_FILE).write_bytes(SCORES)
    found = HeadEvaluation.read(str(tmp_path))
    assert (found.clips, found.sheet()) == (2, None)
    (tmp_path / SHEET_FILE).write_bytes(b"jpeg")
    assert found.sheet() == b"jpeg"
    with pytest.raises(NotFoundError, match="evaluate talking-head"):
        HeadEvaluation.read(str(tmp_path / "nothing"))
