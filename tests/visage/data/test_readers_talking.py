"""Readers of corpora that state no emotions: VoxCeleb2, Common Voice, folders of clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from visage.data.audit import audit_corpus
from visage.data.clip_truth import ClipTruth, Phone, pack_truth, truth_path, unpack_truth
from visage.data.corpus_files import LocalFiles
from visage.data.prepare import fingerprint, plan_chunks
from visage.data.readers import read_corpus
from visage.data.readers.voxceleb2 import clip_truth
from visage.data.records import Record
from visage.errors import CorruptError, DataError, SpecError
from visage.specs.prepare import EmotionPrepareSpec
from visage.store.local import LocalStore

VIDEO = "21Uxsk56VDQ"


def plant(root: Path, *paths: str, data: bytes = b"not decoded by a reader") -> Path:
    for path in paths:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return root


def voxceleb2(root: Path, people: int = 12) -> Path:
    for number in range(people):
        part = "test" if number < 2 else "dev"
        plant(root, *(f"{part}/mp4/id{number:05d}/{VIDEO}/{clip:05d}.mp4" for clip in (1, 2)))
    plant(root, f"dev/txt/id00003/{VIDEO}/00001.txt", f"dev/aac/id00003/{VIDEO}/00001.m4a")
    (root / "vox2_meta.csv").write_text("VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \n")
    return root


def common_voice(root: Path, *, lists: dict[str, list[str]], locale: str = "zh-CN") -> Path:
    """Rows are `speaker clip`; every clip lies on disk."""
    folder = root / "cv-corpus-17.0-2024-03-15" / locale
    for name, rows in lists.items():
        lines = ["path\tup_votes\tclient_id\tsentence"]
        for row in rows:
            speaker, clip = row.split()
            lines.append(f'{clip}.mp3\t2\t{speaker}\tsay "it')
            plant(folder, f"clips/{clip}.mp3", data=b"\0" * 36_000)
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def made_truth(frames: int = 3) -> ClipTruth:
    rng = np.random.default_rng(0)
    return ClipTruth(
        fps=25.0,
        width=224,
        height=224,
        style="rap",
        points=rng.random((frames, 68, 2), dtype=np.float32),
        shape=rng.random((frames, 68, 3), dtype=np.float32),
        pose=rng.random((frames, 3), dtype=np.float32),
        mouth=rng.random((frames, 3), dtype=np.float32),
        phones=(
            Phone(symbol="_", start_s=0.0, stop_s=0.1),
            Phone(symbol="ʃ", start_s=0.1, stop_s=0.2),
        ),
    )


def test_people_of_voxceleb2_never_stand_in_two_splits(tmp_path: Path) -> None:
    corpus = read_corpus(voxceleb2(tmp_path))

    assert (corpus.layout, corpus.classes, len(corpus.records)) == ("voxceleb2", (), 24)
    assert {(record.kind, record.label) for record in corpus.records} == {("video", None)}
    by_split = {
        split: {record.group for record in corpus.records if record.split == split}
        for split in ("train", "val", "test")
    }
    assert by_split["test"] == {"id00000", "id00001"}
    assert len(by_split["val"]) == 1
    assert not by_split["val"] & by_split["train"]
    assert not any("Anger" in note for note in corpus.notes)


@pytest.mark.parametrize("prefix", ["", "mp4/", "dev/mp4/", "dev/"])
def test_one_part_of_voxceleb2_is_read_wherever_its_people_begin(
    tmp_path: Path, prefix: str
) -> None:
    plant(tmp_path, *(f"{prefix}id{person:05d}/{VIDEO}/00001.mp4" for person in range(10)))

    corpus = read_corpus(tmp_path)

    assert corpus.layout == "voxceleb2"
    assert {record.split for record in corpus.records} == {"train", "val", "test"}


def test_a_person_in_dev_and_in_test_is_refused(tmp_path: Path) -> None:
    plant(tmp_path, f"dev/mp4/id00001/{VIDEO}/00001.mp4", f"test/mp4/id00001/{VIDEO}/00002.mp4")

    with pytest.raises(DataError, match="id00001 stands in dev and in test"):
        read_corpus(tmp_path)


def test_styles_come_from_the_truth_of_a_drawn_corpus(tmp_path: Path) -> None:
    path = f"dev/mp4/id00005/{VIDEO}/00001.mp4"
    voxceleb2(tmp_path)
    (tmp_path / "truth.jsonl").write_text(f'{{"path": "{path}", "style": "opera"}}\n')

    records = {record.path: record for record in read_corpus(tmp_path).records}

    assert records[path].style == "opera"
    assert records[path.replace("00001.mp4", "00002.mp4")].style == ""


def test_a_broken_truth_list_is_named_with_its_line(tmp_path: Path) -> None:
    (voxceleb2(tmp_path) / "truth.jsonl").write_text('{"path": "a"}\n{"pa')

    with pytest.raises(DataError, match=r"truth.jsonl, line 2"):
        read_corpus(tmp_path)


def test_emotion_prepare_refuses_a_corpus_without_emotions_in_a_sentence(tmp_path: Path) -> None:
    corpus = read_corpus(voxceleb2(tmp_path / "vox"))

    with pytest.raises(DataError, match="voxceleb2 states no emotions"):
        plan_chunks(corpus, LocalStore(tmp_path / "out"), EmotionPrepareSpec(), settings="x")


def test_a_record_without_a_style_keeps_the_fingerprint_it_had_before_styles(
    tmp_path: Path,
) -> None:
    plain = Record(key="a.jpg", path="a.jpg", kind="image", label="Sad", split="train")
    files = LocalFiles(tmp_path)

    assert fingerprint(files, plain) == "f1b3558a390cad1e2437f0457238357c"
    assert fingerprint(files, replace(plain, style="rap")) != fingerprint(files, plain)


def test_the_truth_of_a_clip_is_read_back_whole(tmp_path: Path) -> None:
    (record,) = read_corpus(
        plant(tmp_path, f"dev/mp4/id00007/{VIDEO}/00001.mp4"), layout="voxceleb2"
    ).records
    truth = made_truth()
    plant(tmp_path, truth_path(record.path), data=pack_truth(truth))

    found = clip_truth(tmp_path, record)

    assert found is not None
    assert (found.fps, found.style, found.phones) == (25.0, "rap", truth.phones)
    for name in ("points", "shape", "pose", "mouth"):
        np.testing.assert_array_equal(getattr(found, name), getattr(truth, name))
    assert pack_truth(found) == pack_truth(truth)


def test_a_clip_without_truth_has_none(tmp_path: Path) -> None:
    record = Record(key="a.mp4", path="a.mp4", kind="video", label=None, split="train")

    assert clip_truth(tmp_path, record) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff" * 64,
        pack_truth(made_truth())[:-1],
        pack_truth(made_truth()).replace(b"/1", b"/9"),
    ],
)
def test_a_damaged_truth_is_an_error_and_no_traceback(body: bytes) -> None:
    with pytest.raises(CorruptError, match="there"):
        unpack_truth(body, origin="there")


def test_a_truth_with_arrays_of_other_lengths_is_an_error() -> None:
    broken = replace(made_truth(), pose=np.zeros((2, 3), np.float32))

    with pytest.raises(CorruptError, match="pose"):
        unpack_truth(pack_truth(broken), origin="there")


def test_clips_with_hash_names_belong_to_who_stands_in_front(tmp_path: Path) -> None:
    plant(
        tmp_path,
        *(f"train/id{n:05d}#vid#000001#0000{k}.mp4" for n in range(10) for k in range(10, 12)),
        "test/id10999#vid#000001#000090.mp4",
    )

    corpus = read_corpus(tmp_path)

    assert corpus.layout == "clips"
    assert {record.group for record in corpus.records if record.split == "test"} == {"id10999"}
    assert len({record.group for record in corpus.records if record.split == "val"}) == 1


def test_a_plain_folder_of_clips_is_read_only_when_asked_for(tmp_path: Path) -> None:
    plant(tmp_path, "anna/one.mp4", "anna/deeper/two.mp4", "ben/one.mp4", "ben/still.jpg")
    (tmp_path / "styles.csv").write_text("path,style\nanna,ballad\nanna/deeper/two.mp4,rap\n")

    with pytest.raises(DataError, match="--layout clips"):
        read_corpus(tmp_path)
    corpus = read_corpus(tmp_path, layout="clips", val_fraction=0.5, test_fraction=0)

    told = {record.path: (record.group, record.style) for record in corpus.records}
    assert told == {
        "anna/deeper/two.mp4": ("anna", "rap"),
        "anna/one.mp4": ("anna", "ballad"),
        "ben/one.mp4": ("ben", ""),
    }
    assert "styles: ballad, rap" in corpus.notes
    assert len({record.split for record in corpus.records if record.group == "anna"}) == 1


def test_clips_in_one_folder_count_as_people_of_their_own(tmp_path: Path) -> None:
    plant(tmp_path, *(f"clips/{n}.mp4" for n in range(10)))

    records = read_corpus(tmp_path, layout="clips").records

    assert len({record.group for record in records}) == 10
    assert {record.split for record in records} == {"train", "val", "test"}


def test_common_voice_is_read_by_column_names_and_split_by_speaker(tmp_path: Path) -> None:
    lists = {
        "train.tsv": ["a a1", "a a2"],
        "dev.tsv": ["b b1"],
        "test.tsv": ["c c1"],
        "validated.tsv": ["a a1", "a a2", "b b1", "b b2", "c c1", "d d1"],
        "invalidated.tsv": ["e e1"],
    }
    corpus = read_corpus(common_voice(tmp_path, lists=lists))

    told = {record.path.split("/")[-1]: (record.group, record.split) for record in corpus.records}
    assert told == {
        "a1.mp3": ("a", "train"),
        "a2.mp3": ("a", "train"),
        "b1.mp3": ("b", "val"),
        "c1.mp3": ("c", "test"),
        "d1.mp3": ("d", "train"),
    }
    assert {record.kind for record in corpus.records} == {"audio"}
    assert any("1 clips left out: their speakers" in note for note in corpus.notes)


def test_common_voice_without_its_own_splits_is_split_by_speaker(tmp_path: Path) -> None:
    rows = [f"s{n} s{n}-{k}" for n in range(20) for k in range(2)]
    corpus = read_corpus(common_voice(tmp_path, lists={"validated.tsv": rows}), seed=3)

    splits: dict[str, set[str]] = {}
    for record in corpus.records:
        splits.setdefault(record.group, set()).add(record.split)
    assert all(len(found) == 1 for found in splits.values())
    assert {next(iter(found)) for found in splits.values()} == {"train", "val", "test"}


def test_hours_are_capped_by_seed_and_the_choice_is_repeatable(tmp_path: Path) -> None:
    rows = [f"s{n} s{n}-{k}" for n in range(20) for k in range(20)]
    root = common_voice(tmp_path, lists={"validated.tsv": rows})
    table = "\n".join(["clip\tduration[ms]", *(f"{row.split()[1]}.mp3\t36000" for row in rows)])
    (root / "cv-corpus-17.0-2024-03-15/zh-CN/clip_durations.tsv").write_text(table)

    first, again = (read_corpus(root, hours=1.0, seed=1).records for _ in range(2))
    other = read_corpus(root, hours=1.0, seed=2).records

    assert first == again
    assert {record.path for record in first} != {record.path for record in other}
    assert sum(record.split == "train" for record in first) == 100
    assert sum(record.split == "val" for record in first) == 10


def test_clips_under_a_second_are_left_out(tmp_path: Path) -> None:
    root = common_voice(tmp_path, lists={"train.tsv": ["a long", "b short"]})
    (root / "cv-corpus-17.0-2024-03-15/zh-CN/clip_durations.tsv").write_text(
        "clip\tduration[ms]\nlong.mp3\t4000\nshort.mp3\t900\n"
    )

    assert [record.group for record in read_corpus(root).records] == ["a"]


def test_lists_that_name_what_is_not_there_are_counted(tmp_path: Path) -> None:
    root = common_voice(tmp_path, lists={"train.tsv": ["a a1", "b b1"]})
    (root / "cv-corpus-17.0-2024-03-15/zh-CN/clips/b1.mp3").unlink()

    corpus = read_corpus(root)

    assert len(corpus.records) == 1
    assert any("1 listed clips are not in the tree" in note for note in corpus.notes)


@pytest.mark.parametrize(
    ("line", "words"),
    [("\t2\ta\tx", "line 2: client_id and path must be there"), ("../up.mp3\t2\ta\tx", "no clip")],
)
def test_a_row_that_names_no_clip_of_the_folder_is_not_followed(
    tmp_path: Path, line: str, words: str
) -> None:
    root = common_voice(tmp_path, lists={"train.tsv": ["a a1"]})
    listed = root / "cv-corpus-17.0-2024-03-15/zh-CN/train.tsv"
    listed.write_text(f"path\tup_votes\tclient_id\tsentence\n{line}\n")

    with pytest.raises(DataError, match=words):
        read_corpus(root)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\x85", "\x1c", "\v", "\f", '"'])
def test_a_sentence_may_hold_what_some_take_for_the_end_of_a_line(
    tmp_path: Path, odd: str, end: str
) -> None:
    root = common_voice(tmp_path, lists={"train.tsv": ["a a1", "b b1"]})
    listed = root / "cv-corpus-17.0-2024-03-15/zh-CN/train.tsv"
    lines = ["path\tup_votes\tsentence\tclient_id"]
    lines += [f"{name}1.mp3\t2\t{odd}one{odd} two\t{name}" for name in "ab"]
    listed.write_bytes((end.join(lines) + end).encode())

    assert [record.group for record in read_corpus(root).records] == ["a", "b"]


def test_a_name_may_hold_what_some_take_for_the_end_of_a_line(tmp_path: Path) -> None:
    plant(tmp_path, "an\u2028na/one.mp4", "ben\x85/one.mp4")
    (tmp_path / "styles.csv").write_text("path,style\r\nan\u2028na,ballad\r\n", newline="")
    (tmp_path / "truth.jsonl").write_text('{"path": "ben\x85/one.mp4", "style": "rap"}\r\n')

    records = read_corpus(tmp_path, layout="clips").records

    assert [record.style for record in records] == ["ballad", "rap"]


def test_an_audit_of_sounds_is_refused_in_a_sentence(tmp_path: Path) -> None:
    corpus = read_corpus(common_voice(tmp_path, lists={"train.tsv": ["a a1", "b b1"]}))

    with pytest.raises(DataError, match="2 records of layout common-voice are sounds"):
        audit_corpus(corpus)


def test_hours_for_another_layout_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="hours limits the layout common-voice"):
        read_corpus(voxceleb2(tmp_path), hours=2.0)
