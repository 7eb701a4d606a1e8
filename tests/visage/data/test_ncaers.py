"""The NCAER-S builder: draws by name, proves splits apart, and goes on where it was broken."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_scenes import scene

from visage.data.audit import audit_corpus
from visage.data.disjoint import assign_shows, prove_disjoint, read_shows, surplus
from visage.data.ncaers import NcaersReport, build_ncaers, plan_splits
from visage.data.readers import read_corpus
from visage.data.records import Record, Split
from visage.data.stills import BuildJournal, draw_stills
from visage.errors import DataError, MediaError, SpecError
from visage.faces.provider import Box, Face, Image, Landmarks
from visage.media.image import encode_jpeg, encode_png
from visage.media.sandbox import MediaSandbox
from visage.media.video_writer import write_video

CLIPS = {
    "train/Happy/0001.mp4": 1,
    "train/Sad/0001.mp4": 2,
    "validation/Happy/0001.mp4": 3,
    "test/Happy/0001.mp4": 4,
}


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Short clips of different scenes, by seed; frame n is brighter than frame n - 1."""
    folder = tmp_path_factory.mktemp("clips")
    made = {}
    for seed in range(1, 7):
        still = scene(seed, height=48, width=64)
        frames = [
            np.clip(still.astype(int) - 40 + 8 * n, 0, 255).astype(np.uint8) for n in range(9)
        ]
        write_video(folder / f"{seed}.mp4", frames, fps=12)
        made[seed] = folder / f"{seed}.mp4"
    return made


@pytest.fixture
def caer(tmp_path: Path, clips: dict[int, Path]) -> Path:
    """A small corpus in CAER's layout."""
    return plant(tmp_path / "CAER", clips, CLIPS)


def plant(root: Path, clips: dict[int, Path], places: dict[str, int]) -> Path:
    for place, seed in places.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clips[seed], root / place)
    return root


@pytest.fixture(scope="module")
def sandbox() -> Iterator[MediaSandbox]:
    with MediaSandbox() as made:
        yield made


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def build(
    caer: Path, out: Path, *, parts: int = 2, seed: int = 0, sandbox: MediaSandbox | None = None
) -> NcaersReport:
    return build_ncaers(read_corpus(caer), out, parts=parts, seed=seed, workers=2, sandbox=sandbox)


class OneFace:
    """A provider that sees a face in the upper left of bright pictures only."""

    name = "one-face"
    licence = "none"

    def detect(self, image: Image) -> list[Face]:
        return [Face(box=(-2, 3, 20, 30), score=1.0)] if image.mean() > 110 else []

    def landmarks(self, image: Image, box: Box) -> Landmarks:
        raise NotImplementedError


def test_each_clip_gives_one_still_of_each_part(caer: Path, tmp_path: Path) -> None:
    report = build(caer, tmp_path / "out", parts=3)

    assert Counter(still.source_video for still in report.stills) == dict.fromkeys(CLIPS, 3)
    for source in CLIPS:
        frames = [still.frame for still in report.stills if still.source_video == source]
        assert [frame // 3 for frame in sorted(frames)] == [0, 1, 2]


def test_clips_in_an_object_store_are_refused_before_anything_is_written(
    caer: Path, tmp_path: Path
) -> None:
    there = replace(read_corpus(caer), root="s3://bucket/caer")
    with pytest.raises(SpecError, match="local folder"):
        build_ncaers(there, tmp_path / "out", parts=1, seed=0)
    assert not (tmp_path / "out").exists()


def test_what_is_built_reads_back_and_passes_its_audit(caer: Path, tmp_path: Path) -> None:
    report = build(caer, tmp_path / "out")

    corpus = read_corpus(tmp_path / "out")

    assert corpus.layout == "ncaer-s"
    assert [(r.key, r.label, r.split) for r in corpus.records] == [
        (still.path, still.label, still.split) for still in report.stills
    ]
    assert len({(record.group, record.split) for record in corpus.records}) == len(CLIPS)
    assert not audit_corpus(corpus).has_leaks


def test_the_manifest_tells_the_truth_about_each_picture(
    caer: Path, tmp_path: Path, sandbox: MediaSandbox
) -> None:
    build(caer, tmp_path / "out")

    rows = [json.loads(line) for line in (tmp_path / "out/manifest.jsonl").read_text().splitlines()]

    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    for row in rows:
        data = (tmp_path / "out" / row["path"]).read_bytes()
        source = row["source_video"]
        drawn = dict(draw_stills(caer / source, source, parts=2, seed=0, sandbox=sandbox))
        assert hashlib.sha256(data).hexdigest() == row["sha256"]
        assert data == encode_jpeg(drawn[row["frame"]], 95)


def test_the_same_build_gives_the_same_bytes_anywhere(caer: Path, tmp_path: Path) -> None:
    build(caer, tmp_path / "a")
    build(caer, tmp_path / "b")
    build(caer, tmp_path / "c", seed=1)

    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert tree(tmp_path / "a").keys() != tree(tmp_path / "c").keys()


def test_boxes_stand_in_crop_files_and_zeros_mean_no_face(caer: Path, tmp_path: Path) -> None:
    report = build_ncaers(read_corpus(caer), tmp_path / "out", provider=OneFace(), parts=9)

    boxes = {still.path: still.box for still in report.stills}
    read = {record.key: record.box for record in read_corpus(tmp_path / "out").records}
    assert set(boxes.values()) == {None, (-2, 3, 20, 30)}
    assert read == boxes
    faceless = next(path for path, box in boxes.items() if box is None)
    crop = tmp_path / "out" / faceless.replace("images/", "crop/", 1).replace(".jpg", ".txt")
    assert crop.read_text() == "0,0,0,0\n"


class Stop(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_broken_build_goes_on_and_ends_like_an_unbroken_one(
    caer: Path, tmp_path: Path, after: int
) -> None:
    def stop(done: int, count: int) -> None:
        if done == after:
            raise Stop

    with pytest.raises(Stop):
        build_ncaers(read_corpus(caer), tmp_path / "a", progress=stop)
    assert not (tmp_path / "a/manifest.jsonl").exists()

    report = build(caer, tmp_path / "a")
    build(caer, tmp_path / "b")

    assert (report.reused, report.written) == (2 * after, 2 * (len(CLIPS) - after))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_journal_cut_at_any_byte_costs_work_but_no_picture(
    caer: Path, tmp_path: Path, sandbox: MediaSandbox
) -> None:
    build(caer, tmp_path / "whole", sandbox=sandbox)
    expected = tree(tmp_path / "whole")
    journal = expected["build.jsonl"]
    start = journal.index(b"\n") + 1

    for cut in range(start, len(journal), 97):
        shutil.rmtree(tmp_path / "cut", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "cut")
        (tmp_path / "cut/build.jsonl").write_bytes(journal[:cut])
        build(caer, tmp_path / "cut", sandbox=sandbox)
        assert tree(tmp_path / "cut") == expected


def test_a_damaged_picture_is_made_again(caer: Path, tmp_path: Path) -> None:
    report = build(caer, tmp_path / "out")
    before = tree(tmp_path / "out")
    (tmp_path / "out" / report.stills[0].path).write_bytes(b"damaged")
    (tmp_path / "out" / report.stills[-1].path).unlink()

    again = build(caer, tmp_path / "out")

    assert (again.written, again.reused) == (4, 4)
    pictures = {name: data for name, data in tree(tmp_path / "out").items() if "images" in name}
    assert pictures == {name: data for name, data in before.items() if "images" in name}


def test_a_build_of_other_settings_is_not_mixed_in(caer: Path, tmp_path: Path) -> None:
    build(caer, tmp_path / "out")

    with pytest.raises(SpecError, match="parts 2 there, 3 here"):
        build(caer, tmp_path / "out", parts=3)


def test_a_foreign_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "build.jsonl").write_text("not ours\n")

    with pytest.raises(SpecError, match="no journal of this version"):
        BuildJournal.open(tmp_path, {"parts": 2})


def test_an_unusable_clip_becomes_a_count(caer: Path, tmp_path: Path) -> None:
    (caer / "train/Happy/0002.mp4").write_bytes(b"no clip")

    report = build(caer, tmp_path / "out")

    assert report.rejected == {"unsupported_format": 1}
    assert len(report.stills) == 2 * len(CLIPS)


def test_a_clip_shorter_than_its_parts_is_rejected(caer: Path, sandbox: MediaSandbox) -> None:
    with pytest.raises(MediaError, match="9 frames cannot be cut into 10 parts"):
        draw_stills(caer / "train/Happy/0001.mp4", "x", parts=10, seed=0, sandbox=sandbox)


def test_nothing_usable_is_an_error_and_leaves_no_manifest(tmp_path: Path) -> None:
    clip = tmp_path / "CAER/train/Happy/0001.mp4"
    clip.parent.mkdir(parents=True)
    clip.write_bytes(b"no clip")

    with pytest.raises(DataError, match="no clip could be used"):
        build(tmp_path / "CAER", tmp_path / "out")

    assert not (tmp_path / "out/manifest.jsonl").exists()


def test_equal_clips_in_two_splits_are_refused_by_name(
    caer: Path, tmp_path: Path, clips: dict[int, Path]
) -> None:
    plant(caer, clips, {"train/Sad/0009.mp4": 4})

    with pytest.raises(DataError, match="identical files stand in more than one split"):
        build(caer, tmp_path / "out")


def test_equal_clips_can_be_left_out_of_train(
    caer: Path, tmp_path: Path, clips: dict[int, Path]
) -> None:
    plant(caer, clips, {"train/Sad/0009.mp4": 4, "train/Sad/0010.mp4": 2})

    report = build_ncaers(read_corpus(caer), tmp_path / "out", duplicates="drop")

    sources = {still.source_video for still in report.stills}
    assert sources == {*CLIPS, "train/Sad/0010.mp4"}
    assert report.dropped == 1


def test_pictures_are_not_clips(tmp_path: Path) -> None:
    (tmp_path / "train/Happy").mkdir(parents=True)
    (tmp_path / "train/Happy/a.png").write_bytes(encode_png(scene(1)))

    with pytest.raises(DataError, match="1 of 1 records are no whole labelled clips"):
        build(tmp_path, tmp_path / "out")


def test_clips_whose_pictures_would_share_a_name_are_refused(
    tmp_path: Path, clips: dict[int, Path]
) -> None:
    root = plant(tmp_path, clips, {"train/Sad/a_b/c.mp4": 1, "train/Sad/a/b_c.mp4": 2})

    with pytest.raises(DataError, match="of one name"):
        build(root, tmp_path / "out")


@pytest.mark.parametrize("parts", [0, -1])
def test_no_parts_are_refused(caer: Path, tmp_path: Path, parts: int) -> None:
    with pytest.raises(SpecError, match="at least 1"):
        build(caer, tmp_path / "out", parts=parts)


def test_shows_share_no_split_and_are_what_the_reader_groups_by(
    tmp_path: Path, clips: dict[int, Path]
) -> None:
    places = {"train/Sad/0001.mp4": 1, "train/Sad/0002.mp4": 2, "test/Sad/0001.mp4": 3}
    root = plant(tmp_path / "CAER", clips, places)
    shows = {"train/Sad/0001.mp4": "a", "train/Sad/0002.mp4": "b", "test/Sad/0001.mp4": "b"}

    report = build_ncaers(read_corpus(root), tmp_path / "out", disjoint="show", shows=shows)

    assert len({(still.group, still.split) for still in report.stills}) == 2
    assert {record.group for record in read_corpus(tmp_path / "out").records} == {"a", "b"}


def test_disjoint_shows_need_the_shows(caer: Path) -> None:
    with pytest.raises(SpecError, match="--shows"):
        plan_splits(read_corpus(caer), disjoint="show", shows=None, seed=0)
    with pytest.raises(DataError, match="3 clips have no show"):
        plan_splits(read_corpus(caer), disjoint="show", shows={"train/Sad/0001.mp4": "a"}, seed=0)


splits = st.sampled_from(("train", "train", "train", "val", "test"))


@given(
    pairs=st.lists(st.tuples(st.integers(0, 30), splits), min_size=1, max_size=120),
    seed=st.integers(0, 99),
)
def test_assigning_shows_keeps_clips_and_never_cuts_a_show(
    pairs: list[tuple[int, Split]], seed: int
) -> None:
    records = [
        Record(key=f"{at}", path=f"{at}", kind="video", label="Sad", split=split)
        for at, (_, split) in enumerate(pairs)
    ]
    shows = {f"{at}": f"show {show}" for at, (show, _) in enumerate(pairs)}
    wanted = {split for _, split in pairs}
    if len(set(shows.values())) < len(wanted):
        with pytest.raises(DataError, match="cannot fill"):
            assign_shows(records, shows, seed=seed)
        return

    assigned = assign_shows(records, shows, seed=seed)

    assert [record.key for record in assigned] == [record.key for record in records]
    assert {record.split for record in assigned} == wanted
    prove_disjoint("shows", ((shows[record.path], record.split) for record in assigned))


def test_many_shows_keep_the_shares_of_the_splits() -> None:
    records = [
        Record(
            key=f"{at}",
            path=f"{at}",
            kind="video",
            label="Sad",
            split="train" if at % 10 < 7 else "val" if at % 10 == 7 else "test",
        )
        for at in range(1000)
    ]
    shows = {record.path: f"show {int(record.path) % 79}" for record in records}

    counts = Counter(record.split for record in assign_shows(records, shows, seed=0))

    assert abs(counts["train"] - 700) <= 20
    assert abs(counts["val"] - 100) <= 20
    assert abs(counts["test"] - 200) <= 20


def test_a_proof_names_what_straddles() -> None:
    prove_disjoint("videos", [("a", "train"), ("a", "train"), ("b", "test")])
    with pytest.raises(DataError, match="1 videos stand in more than one split, for example a"):
        prove_disjoint("videos", [("a", "train"), ("a", "test")])


def test_test_keeps_what_several_splits_hold() -> None:
    assert surplus(["train", "test"]) == {"train"}
    assert surplus(["val", "train"]) == {"train"}
    assert surplus(["val", "train", "test"]) == {"train", "val"}
    assert surplus(["train", "train"]) == frozenset()


def test_shows_are_read_from_csv(tmp_path: Path) -> None:
    (tmp_path / "shows.csv").write_text("\ufeffpath,show\ntrain/Sad/0001.avi, Friends\n")

    assert read_shows(tmp_path / "shows.csv") == {"train/Sad/0001.avi": "Friends"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clip,show\na,b\n", "csv:2"),
        ("path,show\na,b\na,c\n", "csv:3: 'a' belongs to two shows"),
        ("path,show\na,\n", "csv:2"),
    ],
)
def test_a_wrong_list_of_shows_is_refused_with_its_line(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "shows.csv").write_text(text)

    with pytest.raises(DataError, match=said):
        read_shows(tmp_path / "shows.csv")
