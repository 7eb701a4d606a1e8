"""What the talking demo shows: clips of unseen people, prepared, known before any training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from made_clips import write_clip_corpus

from visage.data.records import Corpus, Record
from visage.data.shards import ShardRows, load_manifest
from visage.errors import DataError
from visage.media.audio import decode_audio
from visage.media.audio_writer import write_sound
from visage.media.video import probe_video
from visage.metrics.head_tables import Spread
from visage.synth.spec import VoxCeleb2Spec
from visage.synth.takes import takes_of
from visage_jobs import demo_talking
from visage_jobs.demo_talking import (
    MOST_SAID_S,
    TalkingJob,
    _said,
    _style_clip,
    _test_clips,
    head_gates,
)
from visage_jobs.workspace import Workspace


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


@pytest.mark.parametrize("length_s", [1.0, 12.0])
def test_of_a_long_sound_the_beginning_is_said(length_s: float, tmp_path: Path):
    job = TalkingJob(workspace=Workspace.open(str(tmp_path)))
    times = np.arange(round(length_s * 48_000)) / 48_000
    clip = tmp_path / "clip.m4a"
    write_sound(clip, (0.5 * np.sin(700 * times)).astype(np.float32), 48_000, kind="m4a")
    said = _said(job, clip)
    assert (said == clip) == (length_s < MOST_SAID_S)
    heard_s = len(decode_audio(said, sample_rate=8_000)) / 8_000
    assert heard_s == pytest.approx(min(length_s, MOST_SAID_S), abs=0.05)


def test_a_style_is_taught_from_a_drawn_clip_that_the_corpus_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(demo_talking, "STYLE_CLIP_S", 1.0)
    clip = _style_clip(TalkingJob(workspace=Workspace.open(str(tmp_path)), people=3), [])
    corpus = takes_of(VoxCeleb2Spec(identities=3))
    unseen = {take.person for take in corpus if take.part == "test"}
    assert clip.name not in {Path(take.path).name for take in corpus}
    assert int(clip.parts[-3].removeprefix("id")) in unseen
    assert probe_video(clip).duration_s == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("lmd", "opening", "passed"),
    [
        (2.0, 0.9, [True, True, True]),
        (5.0, 0.9, [False, True, True]),
        (2.0, 0.5, [True, True, False]),
    ],
)
def test_a_model_that_is_no_better_than_a_still_face_fails_a_gate(
    lmd: float, opening: float, passed: list[bool]
):
    def told(lmd: float, opening: float) -> dict[str, Spread]:
        values = {"lmd": lmd, "d_a": 2.0 if opening else 4.0, "opening_r": opening}
        return {name: Spread(mean=value, deviation=0.0, clips=3) for name, value in values.items()}

    found = SimpleNamespace(
        subjects={"generated": told(lmd, opening), "frozen": told(4.0, 0.0), "mean": told(5.0, 0.0)}
    )
    assert [gate.passed for gate in head_gates(found)] == passed
