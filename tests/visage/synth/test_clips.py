"""The drawn CAER and RAVDESS: layouts, names, motion, and a mouth that belongs to the sound."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from visage.data.readers import read_corpus
from visage.media.audio import decode_audio
from visage.media.video import iter_frames, probe_video
from visage.synth.caer import write_caer
from visage.synth.ravdess import takes_of, write_ravdess
from visage.synth.spec import CaerSpec, RavdessSpec
from visage.synth.voice import SENTENCES, speak

CLIPS = CaerSpec(per_class=3, height=128, width=170, frames=4, identities=6)
TAKES = RavdessSpec(actors=1, height=128, width=192, duration_s=0.5)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("caer")
    write_caer(root, CLIPS, workers=1)
    return root


@pytest.fixture(scope="module")
def takes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ravdess")
    write_ravdess(root, TAKES, workers=1)
    return root


def test_the_reader_of_caer_reads_the_drawn_clips(clips: Path) -> None:
    found = read_corpus(clips)
    assert found.layout == "caer"
    assert len(found.records) == CLIPS.total()
    assert {record.path.split("/")[0] for record in found.records} == {
        "train",
        "validation",
        "test",
    }


def test_a_clip_has_its_frames_and_moves(clips: Path) -> None:
    path = clips / "train/Happy/0001.avi"
    frames = list(iter_frames(path))
    assert probe_video(path).fps == pytest.approx(CLIPS.fps)
    assert len(frames) == CLIPS.frames
    assert frames[0].shape == (CLIPS.height, CLIPS.width, 3)
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 0.5


def test_the_truth_of_a_clip_has_a_row_for_every_frame(clips: Path) -> None:
    rows = [json.loads(line) for line in (clips / "truth.jsonl").read_text().splitlines()]
    assert len(rows) == CLIPS.total()
    assert all(len(row["frames"]) == CLIPS.frames for row in rows)
    assert all(np.array(row["frames"][0]["landmarks"]).shape == (68, 2) for row in rows)


def test_a_lost_clip_is_drawn_again_to_the_byte_and_the_others_are_kept(
    clips: Path, takes: Path, tmp_path: Path
) -> None:
    for source, name in ((clips, "test/Fear/0001.avi"), (takes, takes_of(TAKES)[0].path)):
        root = tmp_path / source.name
        shutil.copytree(source, root)
        (root / name).unlink()
        report = (
            write_caer(root, CLIPS, workers=1)
            if source == clips
            else write_ravdess(root, TAKES, workers=1)
        )
        assert report.written == 1
        assert (root / name).read_bytes() == (source / name).read_bytes()
        assert (root / "truth.jsonl").read_bytes() == (source / "truth.jsonl").read_bytes()


def test_names_are_those_of_ravdess_and_the_reader_agrees(takes: Path) -> None:
    names = sorted(path.relative_to(takes).as_posix() for path in takes.rglob("*.mp4"))
    assert len(names) == TAKES.total() == 15
    assert all(re.fullmatch(r"Actor_01/01-01-0[1-8]-0[12]-01-01-01\.mp4", name) for name in names)
    assert not any(name.startswith("Actor_01/01-01-01-02") for name in names)
    found = read_corpus(takes)
    assert found.layout == "ravdess"
    assert {record.label for record in found.records} == {
        "Anger",
        "Disgust",
        "Fear",
        "Happy",
        "Neutral",
        "Sad",
        "Surprise",
    }


def test_a_take_has_sound_as_long_as_its_picture(takes: Path) -> None:
    path = takes / takes_of(TAKES)[0].path
    info = probe_video(path)
    samples = decode_audio(path, sample_rate=16_000)
    assert info.has_audio
    assert info.fps == pytest.approx(30000 / 1001, rel=1e-3)
    assert len(samples) / 16_000 == pytest.approx(TAKES.duration_s, abs=0.12)
    assert 0.01 < float(np.abs(samples).max()) <= 1.0


def test_the_mouth_opens_when_there_is_sound() -> None:
    said = speak(
        SENTENCES[1],
        duration_s=2.0,
        sample_rate=8000,
        pitch_hz=120,
        energy=0.6,
        rng=np.random.Generator(np.random.Philox(1)),
    )
    times = np.arange(0, 2.0, 0.02)
    loud = [float(np.sqrt(np.mean(said.samples[int(t * 8000) :][:160] ** 2))) for t in times]
    opening = [said.mouth(t)[0] for t in times]
    assert np.corrcoef(loud, opening)[0, 1] > 0.5
    assert said.mouth(0.0) == (0.0, 0.0)
    assert said.mouth(5.0) == (0.0, 0.0)


def test_the_truth_of_a_take_opens_the_mouth_it_speaks_with(takes: Path) -> None:
    rows = [json.loads(line) for line in (takes / "truth.jsonl").read_text().splitlines()]
    for row in rows:
        opened = [frame["mouth_open"] for frame in row["frames"]]
        assert max(opened) - opened[0] > 0.2
    calm = [row for row in rows if row["emotion"] == "calm"]
    assert all(row["label"] is None for row in calm)
