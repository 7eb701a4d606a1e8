"""From a drawn clip to its rows: nothing lost, nothing repeated, everything in step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_people import talking, write_film

from visage.data import clip_builder as builder_module
from visage.data.chunks import Chunk, ChunkDone, prepare_chunk
from visage.data.clip_builder import ClipRowMaker
from visage.data.clip_rows import CLIP_SCHEMA, unpack_clip
from visage.data.clip_truth import truth_path
from visage.data.readers import read_corpus
from visage.data.records import Corpus, Record
from visage.errors import MediaError
from visage.faces.dlib68 import Dlib68
from visage.faces.provider import Box, Face, Followed, Image, Landmarks
from visage.media.image import decode_image, encode_jpeg
from visage.media.sandbox import MediaSandbox
from visage.media.video import iter_frames, write_video
from visage.models.projection import Camera, project
from visage.specs.prepare import ClipPrepareSpec
from visage.store.open import open_store
from visage.synth.spec import VoxCeleb2Spec
from visage.synth.voxceleb2 import write_voxceleb2

SPEC = ClipPrepareSpec(size=96, segment_s=1.0, shortest_s=0.5)


class _NoProvider:
    """Stands where true points make a detector unnecessary."""

    name = licence = "none"

    def detect(self, image: Image) -> list[Face]:
        raise AssertionError("a drawn clip brings its points")

    def landmarks(self, image: Image, box: Box) -> Landmarks:
        raise AssertionError("a drawn clip brings its points")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[MediaSandbox]:
    with MediaSandbox() as made:
        yield made


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    root = tmp_path_factory.mktemp("vox")
    spec = VoxCeleb2Spec(
        identities=2, test_identities=1, clips=1, seconds=2.5, styles=("rap",), size=128
    )
    write_voxceleb2(root, spec, workers=1)
    return read_corpus(root)


@pytest.fixture(scope="module")
def record(corpus: Corpus) -> Record:
    return corpus.records[0]


@pytest.fixture(scope="module")
def rows(corpus: Corpus, record: Record, sandbox: MediaSandbox) -> list[dict[str, object]]:
    return _maker(sandbox).rows(record, Path(corpus.root), {})


def _maker(sandbox: MediaSandbox, **changes: object) -> ClipRowMaker:
    spec = ClipPrepareSpec.parse({**SPEC.model_dump(), **changes})
    return ClipRowMaker(spec=spec, provider=_NoProvider(), sandbox=sandbox)


def test_segments_cover_the_clip_without_gap_or_overlap(rows: list[dict[str, object]]) -> None:
    assert [row["frames"] for row in rows] == [74, 74]  # 62 frames of 25 a second
    assert [row["start_s"] for row in rows] == [0.0, 74 / 60]
    assert all(set(CLIP_SCHEMA.names) == row.keys() for row in rows)
    pictures = sum(len(row["images"]) for row in rows)  # type: ignore[arg-type]
    assert pictures >= 62, "every frame of the source is kept once"


def test_points_poses_and_pictures_are_in_step(rows: list[dict[str, object]]) -> None:
    for row in rows:
        arrays = unpack_clip(row)
        back = project(
            torch.from_numpy(arrays.landmarks.copy()),
            torch.from_numpy(arrays.pose.copy()),
            Camera.of_size(96),
        )
        np.testing.assert_allclose(back.numpy(), arrays.points, atol=5e-3)
        assert arrays.points.min() > -1
        assert arrays.points.max() < 97
        picture = decode_image(row["images"][0])  # type: ignore[index]
        assert picture.shape == (96, 96, 3)


def test_the_mouth_moves_at_every_frame_of_60_hz(rows: list[dict[str, object]]) -> None:
    lips = np.concatenate([unpack_clip(row).landmarks[:, 57] for row in rows])
    still = (np.abs(np.diff(lips, axis=0)).max(axis=1) == 0).mean()
    assert still < 0.2, "frames are interpolated, not repeated"


def test_the_sound_belongs_to_the_mouth(rows: list[dict[str, object]]) -> None:
    opening, loud = [], []
    for row in rows:
        arrays = unpack_clip(row)
        opening.append(arrays.landmarks[:, 66, 1] - arrays.landmarks[:, 62, 1])
        loud.append(arrays.mel.reshape(len(arrays), -1).mean(axis=1))
    related = np.corrcoef(np.concatenate(opening), np.concatenate(loud))[0, 1]
    assert related > 0.3


def test_references_show_mouths_in_their_order(rows: list[dict[str, object]]) -> None:
    points = np.frombuffer(rows[0]["reference_points"], "<f4").reshape(5, 68, 2)  # type: ignore[call-overload]
    opening = points[:, 66, 1] - points[:, 62, 1]
    names = dict(zip(("neutral", "None", "M", "R", "O"), opening, strict=True))
    assert names["M"] <= names["None"] + 1
    assert names["O"] > names["M"] + 1
    assert len(rows[0]["references"]) == 5  # type: ignore[arg-type]
    assert len(rows[0]["coverage"]) == 4  # type: ignore[arg-type]


def test_shoulders_are_followed_where_they_are_wanted(
    corpus: Corpus, record: Record, sandbox: MediaSandbox
) -> None:
    made = _maker(sandbox, torso="flow", margin=1.2).rows(record, Path(corpus.root), {})
    torso = unpack_clip(made[0]).torso
    assert torso is not None
    assert torso.shape == (74, 18, 2)
    assert np.isfinite(torso).all(axis=-1).any(axis=-1).mean() > 0.5


@pytest.mark.parametrize(
    ("change", "code"), [({"shortest_s": 3.0, "segment_s": 4.0}, "too_short"),
                         ({"longest_s": 1.0}, "too_long")],
)  # fmt: skip
def test_clips_of_a_wrong_length_are_rejected_with_a_code(
    change: dict[str, object], code: str, corpus: Corpus, record: Record, sandbox: MediaSandbox
) -> None:
    with pytest.raises(MediaError) as found:
        _maker(sandbox, **change).rows(record, Path(corpus.root), {})
    assert found.value.code == code


def test_a_clip_whose_pictures_weigh_too_much_is_rejected_while_they_are_made(
    corpus: Corpus, record: Record, sandbox: MediaSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bytes] = []

    def encode(picture: Image, quality: int) -> bytes:
        made.append(encode_jpeg(picture, quality))
        return made[-1]

    monkeypatch.setattr(builder_module, "encode_jpeg", encode)
    monkeypatch.setattr(builder_module, "MOST_PICTURES_BYTES", 40_000)
    with pytest.raises(MediaError, match=r"of 2 s take .* cut it into parts") as found:
        _maker(sandbox).rows(record, Path(corpus.root), {})
    assert found.value.code == "too_long"
    assert sum(map(len, made[:-1])) <= 40_000, "nothing was made beyond the bound"


@pytest.mark.parametrize(
    ("picture_ms", "sound_ms"), [(0, 0), (300, 0), (0, 300), (5000, 5240)]
)  # fmt: skip
def test_picture_and_sound_stay_in_step_whichever_begins_first(
    picture_ms: int, sound_ms: int, tmp_path: Path, record: Record, sandbox: MediaSandbox
) -> None:
    times_ms = [picture_ms + 40 * index for index in range(20)]
    click_s = times_ms[12] / 1000  # on the clock of the container, as frame 12
    sound = np.zeros(32_000, np.float32)
    click = round((click_s - sound_ms / 1000) * 16_000)
    sound[click : click + 80] = 0.9
    write_film(
        tmp_path / "clip.mkv", talking(2, 20), times_ms=times_ms, sound=sound,
        sound_start_ms=sound_ms,
    )  # fmt: skip
    one = replace(record, key="clip.mkv", path="clip.mkv")
    spec = ClipPrepareSpec(size=96, segment_s=0.5, shortest_s=0.4)
    maker = ClipRowMaker(spec=spec, provider=Dlib68(), sandbox=sandbox)
    (row,) = maker.rows(one, tmp_path, {})
    begin_s = max(picture_ms, sound_ms) / 1000
    heard_s = float(np.abs(unpack_clip(row).audio.astype(int)).argmax()) / 16_000
    assert heard_s == pytest.approx(click_s - begin_s, abs=1e-3)
    shown = [round((at / 1000 - begin_s) * 60) for at in times_ms]
    assert row["image_at"] == [at for at in shown if at >= 0]
    assert row["frames"] == int((times_ms[-1] / 1000 + 0.04 - begin_s) * 60 + 1e-6)


def test_pictures_without_the_face_are_left_out_and_no_place_has_two(
    tmp_path: Path, record: Record, sandbox: MediaSandbox
) -> None:
    times_ms = [8 * index for index in range(60)]  # faster than 60 a second
    write_film(tmp_path / "fast.mkv", talking(2, 60), times_ms=times_ms)
    one = replace(record, key="fast.mkv", path="fast.mkv")

    class Blinking(Dlib68):
        def follow(self, image: Image, before: Landmarks) -> Followed:
            self.asked = getattr(self, "asked", 0) + 1
            found = super().follow(image, before)
            return replace(found, spread=1.0) if 30 <= self.asked < 33 else found

    spec = ClipPrepareSpec(size=96, segment_s=0.5, shortest_s=0.4, without_sound="silence")
    maker = ClipRowMaker(spec=spec, provider=Blinking(), sandbox=sandbox)
    (row,) = maker.rows(one, tmp_path, {})
    at = row["image_at"]
    assert len(at) == len(row["images"])
    assert len(set(at)) == len(at)
    lost = set(range(row["frames"])) - set(at)
    assert 1 <= len(lost) <= 5, "some of the trajectory has no picture"
    assert np.isfinite(unpack_clip(row).points).all()


@pytest.mark.parametrize("level", [None, 0.0, 0.0005])
def test_a_clip_without_sound_is_rejected(
    tmp_path: Path, record: Record, sandbox: MediaSandbox, level: float | None
) -> None:
    """Found on footage whose track held nothing but zeros: the lips moved, and taught silence."""
    hiss = np.random.default_rng(0).uniform(-1, 1, 48_000 * 30 // 25).astype(np.float32)
    write_video(
        tmp_path / "mute.mp4", [np.zeros((64, 64, 3), np.uint8)] * 30, fps=25,
        audio=None if level is None else level * hiss, audio_rate=48_000,
    )  # fmt: skip
    mute = replace(record, key="mute.mp4", path="mute.mp4")
    with pytest.raises(MediaError) as found:
        _maker(sandbox).rows(mute, tmp_path, {})
    assert found.value.code == "no_audio"


def test_a_clip_without_sound_becomes_silent_rows_where_silence_may_stand_for_it(
    tmp_path: Path, corpus: Corpus, record: Record, sandbox: MediaSandbox
) -> None:
    _without_sound(Path(corpus.root), record, tmp_path)
    made = _maker(sandbox, without_sound="silence").rows(record, tmp_path, {})
    assert [row["frames"] for row in made] == [74, 74]
    for row in made:
        arrays = unpack_clip(row)
        assert not arrays.audio.any()
        assert np.ptp(arrays.mel, axis=0).max() == 0.0, "every frame is as silent as the others"
        assert np.ptp(arrays.landmarks[:, 57], axis=0).max() > 0


def test_a_chunk_says_how_long_its_clips_are_and_where_the_time_went(
    tmp_path: Path, corpus: Corpus, record: Record, sandbox: MediaSandbox
) -> None:
    broken = replace(record, key="broken.mp4", path="broken.mp4")
    chunk = Chunk(key="c", split="train", records=(record, broken), fingerprints=("a", "b"))
    store = open_store(str(tmp_path))

    def prepare() -> ChunkDone:
        maker = _maker(sandbox, torso="flow")
        return prepare_chunk(chunk, maker, root=Path(corpus.root), store=store, settings="s")

    done = prepare()
    assert (done.prepared, done.rejected) == (1, 1)
    assert done.media_s == pytest.approx(148 / 60)
    assert set(done.seconds) == {"decode", "crop", "pose", "encode", "flow", "mel", "write"}
    assert min(done.seconds.values()) >= 0
    again = prepare()
    assert (again.prepared, again.media_s, again.seconds) == (1, 0.0, {})


def test_following_a_face_is_told_apart_from_finding_it(
    tmp_path: Path, record: Record, sandbox: MediaSandbox
) -> None:
    write_film(tmp_path / "clip.mkv", talking(2, 20))
    one = replace(record, key="clip.mkv", path="clip.mkv")
    spec = ClipPrepareSpec(size=96, segment_s=0.5, shortest_s=0.4, without_sound="silence")
    seconds: dict[str, float] = {}
    ClipRowMaker(spec=spec, provider=Dlib68(), sandbox=sandbox).rows(one, tmp_path, seconds)
    assert seconds.keys() >= {"scenes", "detect", "landmarks"}


def _without_sound(root: Path, record: Record, out: Path) -> None:
    """The same clip and its truth in another folder, the sound left out."""
    for path in (record.path, truth_path(record.path)):
        (out / path).parent.mkdir(parents=True, exist_ok=True)
    (out / truth_path(record.path)).write_bytes((root / truth_path(record.path)).read_bytes())
    write_video(out / record.path, iter_frames(root / record.path), fps=25)


def test_a_drawn_clip_brings_its_truth_to_its_place(corpus: Corpus, record: Record) -> None:
    assert (Path(corpus.root) / truth_path(record.path)).is_file()
