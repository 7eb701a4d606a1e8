"""Drawn people who speak, in the layouts of VoxCeleb2 and Common Voice, with the truth of both."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from visage.data.readers import read_corpus
from visage.data.readers.voxceleb2 import clip_truth
from visage.errors import DataError, SpecError
from visage.faces.dlib68 import Dlib68
from visage.faces.pose import rotation_of
from visage.media.audio import decode_audio
from visage.media.video import iter_frames, probe_video
from visage.synth.common_voice import readings_of, write_common_voice
from visage.synth.face import draw_person
from visage.synth.spec import CommonVoiceSpec, VoxCeleb2Spec
from visage.synth.style_sheet import style_sheet
from visage.synth.takes import shoot, takes_of
from visage.synth.voxceleb2 import write_voxceleb2

CLIPS = VoxCeleb2Spec(
    identities=3, test_identities=1, clips=2, seconds=0.6, size=128, styles=("plain", "opera"),
    sounds=True,
)  # fmt: skip
SOUNDS = CommonVoiceSpec(speakers=4, clips=2, shortest_s=1.0, longest_s=1.4)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("voxceleb2")
    write_voxceleb2(root, CLIPS, workers=1)
    return root


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("common-voice")
    write_common_voice(root, SOUNDS, workers=1)
    return root


def files_of(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_the_reader_of_voxceleb2_reads_the_drawn_clips(clips: Path) -> None:
    corpus = read_corpus(clips)
    assert (corpus.layout, len(corpus.records)) == ("voxceleb2", CLIPS.total())
    assert {record.style for record in corpus.records} == set(CLIPS.styles)
    assert {record.group for record in corpus.records if record.split == "test"} == {"id00003"}
    assert [record.path for record in corpus.records] == [take.path for take in takes_of(CLIPS)]


def test_a_clip_is_a_square_with_its_frames_and_its_sound(clips: Path) -> None:
    path = clips / takes_of(CLIPS)[0].path
    probed = probe_video(path)
    assert (probed.width, probed.height) == (CLIPS.size, CLIPS.size)
    assert probed.fps == pytest.approx(CLIPS.fps)
    assert len(list(iter_frames(path))) == round(CLIPS.seconds * CLIPS.fps)
    sound = decode_audio(path, sample_rate=16_000)
    assert len(sound) / 16_000 == pytest.approx(CLIPS.seconds, abs=0.08)
    alone = decode_audio(
        clips / takes_of(CLIPS)[0].path.replace("mp4", "aac", 1).replace(".mp4", ".m4a"),
        sample_rate=16_000,
    )
    assert np.corrcoef(sound[:8000], alone[:8000])[0, 1] > 0.99


def test_the_lists_beside_the_clips_have_the_form_of_the_real_ones(clips: Path) -> None:
    take = takes_of(CLIPS)[0]
    lines = (clips / f"{take.part}/txt/{take.name}.txt").read_text().splitlines()
    assert lines[0].split(":")[1].strip() == "id00001"
    assert lines[6].split() == ["FRAME", "X", "Y", "W", "H"]
    boxes = np.array([[float(cell) for cell in line.split()] for line in lines[7:]])
    assert len(boxes) == round(CLIPS.seconds * CLIPS.fps)
    assert (boxes[:, 1:] > 0).all()
    assert (boxes[:, 1:3] + boxes[:, 3:] < 1).all()
    header, *people = (clips / "vox2_meta.csv").read_text().splitlines()
    assert header.split(",")[0].strip() == "VoxCeleb2 ID"
    assert [row.split(",")[2].strip() for row in people] == ["m", "f", "m"]
    assert [row.split(",")[3].strip() for row in people] == ["dev", "dev", "test"]


def test_the_truth_is_read_back_and_belongs_to_its_clip(clips: Path) -> None:
    for record, take in zip(read_corpus(clips).records, takes_of(CLIPS), strict=True):
        truth = clip_truth(clips, record)
        drawn = shoot(CLIPS, take).truth
        assert truth is not None
        assert (truth.fps, truth.style) == (CLIPS.fps, record.style)
        np.testing.assert_array_equal(truth.points, drawn.points)
        np.testing.assert_array_equal(truth.mouth, drawn.mouth)
        assert truth.phones == drawn.phones
    rows = [json.loads(line) for line in (clips / "truth.jsonl").read_text().splitlines()]
    assert all((clips / row["truth"]).is_file() for row in rows)


def test_pose_and_shape_project_to_the_points() -> None:
    spec = VoxCeleb2Spec(seconds=2.0, styles=("rap",))
    truth = shoot(spec, takes_of(spec)[3]).truth
    assert np.ptp(truth.pose, axis=0).max() > 4
    for points, shape, (pitch, yaw, roll) in zip(
        truth.points, truth.shape, truth.pose, strict=True
    ):
        turn = rotation_of(yaw_deg=float(yaw), pitch_deg=float(pitch), roll_deg=float(roll))
        flat = (shape @ turn.T)[:, :2]
        flat, seen = flat - flat.mean(axis=0), points - points.mean(axis=0)
        scale = (flat * seen).sum() / (flat * flat).sum()
        assert np.abs(scale * flat - seen).max() < 0.01


def test_opening_is_what_the_lips_of_the_68_points_do() -> None:
    spec = VoxCeleb2Spec(seconds=3.0, styles=("rap",))
    truth = shoot(spec, takes_of(spec)[0]).truth
    gap = truth.shape[:, 66, 1] - truth.shape[:, 62, 1]
    assert np.corrcoef(gap, truth.mouth[:, 0])[0, 1] > 0.98


def test_dlib_finds_the_face_where_the_truth_says() -> None:
    spec = VoxCeleb2Spec(seconds=1.0, identities=4, test_identities=1)
    detector = Dlib68(upsample=1)
    errors = []
    for take in takes_of(spec)[::4]:
        shot = shoot(spec, take)
        picture = shot.film.frame(*shot.people[12])
        face, *others = detector.detect(picture)
        assert not others
        truth = shot.truth.points[12]
        unit = np.linalg.norm(truth[36] - truth[45])
        found = detector.landmarks(picture, face.box)
        errors.append(np.linalg.norm(found - truth, axis=1).mean() / unit)
    assert max(errors) < 0.10
    assert np.mean(errors) < 0.06


@pytest.mark.parametrize("person", range(1, 9))
def test_a_filmed_face_is_the_drawn_one(person: int) -> None:
    spec = VoxCeleb2Spec(seconds=0.5, identities=8, clips=1, size=160)
    shot = shoot(spec, next(take for take in takes_of(spec) if take.person == person))
    (still, features), drawn = shot.people[6], shot.film.backdrop.copy()
    draw_person(drawn, still)
    filmed = shot.film.frame(still, features)
    face = filmed[20:130, 40:120].astype(int) - drawn[20:130, 40:120]
    assert np.abs(face).mean() < 5.0
    assert np.abs(face.mean()) < 2.0


def test_a_lost_clip_is_drawn_again_to_the_byte_and_the_others_are_kept(
    clips: Path, tmp_path: Path
) -> None:
    root = tmp_path / "again"
    shutil.copytree(clips, root)
    take = takes_of(CLIPS)[1]
    (root / take.path).unlink()
    assert write_voxceleb2(root, CLIPS, workers=1).written == 1
    assert files_of(root) == files_of(clips)


def test_two_processes_give_the_same_bytes(clips: Path, tmp_path: Path) -> None:
    write_voxceleb2(tmp_path, CLIPS, workers=2)
    assert files_of(tmp_path) == files_of(clips)


def test_other_settings_in_the_same_folder_are_refused(clips: Path) -> None:
    with pytest.raises(DataError, match=r"seconds 0\.6 there, 0\.7 asked"):
        write_voxceleb2(clips, CLIPS.model_copy(update={"seconds": 0.7}), workers=1)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("styles=[plain, metal]", "no style 'metal'"),
        ("styles=[]", "one style or more"),
        ("size=225", "even"),
        ("test_identities=12", "leave none to train on"),
    ],
)
def test_a_spec_that_cannot_be_drawn_is_refused_in_a_sentence(assignment: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        VoxCeleb2Spec.load(assignments=[assignment])


def test_a_person_keeps_face_and_voice_and_changes_clothes_between_recordings() -> None:
    spec = VoxCeleb2Spec(seconds=0.5, identities=3, clips=4)
    shots = [shoot(spec, take) for take in takes_of(spec) if take.person == 1]
    people = [shot.people[0][0].identity for shot in shots]
    assert len({person.chin for person in people}) == 1
    assert len({person.fabric for person in people}) > 1


def test_the_reader_of_common_voice_reads_the_made_sounds(sounds: Path) -> None:
    corpus = read_corpus(sounds)
    assert (corpus.layout, len(corpus.records)) == ("common-voice", SOUNDS.total())
    assert {record.split for record in corpus.records} == {"train", "val", "test"}
    assert len({record.group for record in corpus.records}) == SOUNDS.speakers
    capped = read_corpus(sounds, hours=1.5 / 3600, val_fraction=0.5, test_fraction=0.4)
    assert 1 <= len(capped.records) < len(corpus.records)
    assert not any("estimated" in note for note in capped.notes)


def test_an_mp3_is_as_long_as_its_list_says(sounds: Path) -> None:
    folder = sounds / readings_of(SOUNDS)[0].folder
    rows = (folder / "clip_durations.tsv").read_text().splitlines()[1:]
    for row in rows[:3]:
        name, length_ms = row.split("\t")
        sound = decode_audio(folder / "clips" / name, sample_rate=16_000)
        assert len(sound) / 16 == pytest.approx(float(length_ms), abs=90)
        assert np.abs(sound).max() > 0.05


def test_made_sounds_are_the_same_bytes_again(sounds: Path, tmp_path: Path) -> None:
    write_common_voice(tmp_path, SOUNDS, workers=1)
    assert files_of(tmp_path) == files_of(sounds)
    assert write_common_voice(tmp_path, SOUNDS, workers=1).kept == SOUNDS.total()


def test_the_sheet_has_a_row_for_each_style() -> None:
    spec = VoxCeleb2Spec(seconds=0.8, identities=3, size=128, clips=2, styles=("plain", "rap"))
    sheet = style_sheet(spec, columns=3)
    assert sheet.shape[0] == pytest.approx(2 * 218, abs=12)
    assert sheet.std() > 20
