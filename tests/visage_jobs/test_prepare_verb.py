"""What `visage prepare` tells a person, and a program, when it is done."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import visage_jobs.prepare
from visage.data.manifest import Manifest
from visage_jobs.cli import app
from visage_jobs.prepare import PrepareResult

CLIPS = PrepareResult(
    manifest=Manifest(
        kind="clips/1",
        classes=(),
        shards=(),
        settings={},
        source={},
        counts={"train": {"unknown": 3}},
        rejected={"scene_cut": 1},
    ),
    uri="out",
    reused_records=0,
    prepared_records=4,
    wall_s=12.0,
    stage_s={"decode": 2.0, "landmarks": 5.0, "detect": 1.0},
    media_s=24.0,
    provider="dlib68",
)


def _told(done: PrepareResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> str:
    person = tmp_path / "corpus" / "ann"
    person.mkdir(parents=True)
    (person / "a.mp4").write_bytes(b"not looked into")
    monkeypatch.setattr(visage_jobs.prepare, "run_prepare", lambda job, progress: done)
    words = ["prepare", str(tmp_path / "corpus"), "--layout", "clips", *more]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*words, "--workspace", str(tmp_path)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_clips_are_told_in_seconds_of_video_with_the_stages_that_took_longest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = " ".join(_told(CLIPS, tmp_path, monkeypatch).split())
    assert "rejected: scene_cut 1" in told
    assert "24.0 s of video, 3 s of it per second of a core" in told
    assert "landmarks 62%, decode 25%, detect 12%" in told


def test_a_program_is_told_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = json.loads(_told(CLIPS, tmp_path, monkeypatch, "--json"))
    assert told["media_s"] == 24.0
    assert told["media_per_core_s"] == 3.0
    assert told["stage_s"] == {"decode": 2.0, "landmarks": 5.0, "detect": 1.0}
    assert told["rejected"] == {"scene_cut": 1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"media_s": 0.0}, "records per core and second: decode 2, landmarks 1, detect 4"),
        ({"media_s": 0.0, "stage_s": {}}, "records per core and second: nothing to do"),
    ],
)
def test_what_has_no_length_is_told_in_records(
    change: dict[str, object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = replace(CLIPS, **change)  # type: ignore[arg-type]  # a test's fields
    assert said in " ".join(_told(done, tmp_path, monkeypatch).split())
    assert done.media_per_core_s() == 0.0
