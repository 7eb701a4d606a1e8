"""Readers of corpora with boxes and coded names: CAER-S lists, NCAER-S, RAVDESS, CREMA-D."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from visage.data.corpus_files import LocalFiles
from visage.data.readers import read_corpus
from visage.data.readers.box_lists import BoxList, parse_box, read_list
from visage.errors import DataError


def plant(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"not decoded by a reader")
    return root


def caer_s(root: Path, **lists: str) -> Path:
    """Two pictures each of train/Anger and test/Anger, one of test/Happy, and lists beside."""
    plant(root, "train/Anger/0001.png", "train/Anger/0002.png")
    plant(root, "test/Anger/0001.png", "test/Anger/0002.png", "test/Happy/0001.png")
    for name, text in lists.items():
        (root / f"{name}.txt").write_text(text)
    return root


def test_the_list_decides_the_split_even_where_val_lies_under_test(tmp_path: Path) -> None:
    root = caer_s(
        tmp_path,
        train="Angry/0001.png,0,1,2,30,40\n",
        val="Angry/0001.png,0,5,6,70,80\n",
        test="Angry/0002.png,0,-3,0,9,9\nHappy/0001.png,3,0,0,0,0\n",
    )

    corpus = read_corpus(root)

    assert {record.key: (record.split, record.box) for record in corpus.records} == {
        "train/Anger/0001.png": ("train", (1, 2, 30, 40)),
        "test/Anger/0001.png": ("val", (5, 6, 70, 80)),
        "test/Anger/0002.png": ("test", (-3, 0, 9, 9)),
        "test/Happy/0001.png": ("test", None),
    }
    assert "1 pictures stand in no box list and are left out" in corpus.notes
    assert "1 pictures have no face box by the lists" in corpus.notes
    assert "1 pictures lie in another split's folder than their list says" in corpus.notes


def test_lists_with_the_split_in_the_path_are_read_from_beside_the_tree(tmp_path: Path) -> None:
    root = caer_s(tmp_path / "CAER-S")
    (tmp_path / "test.txt").write_text("test/Angry/0001.png,0,1,2,3,4\r\n\r\n")

    corpus = read_corpus(root)

    assert [(record.key, record.box) for record in corpus.records] == [
        ("test/Anger/0001.png", (1, 2, 3, 4))
    ]


def test_a_foreign_text_file_beside_the_tree_is_no_list(tmp_path: Path) -> None:
    root = caer_s(tmp_path / "CAER-S")
    (tmp_path / "train.txt").write_text("notes about the training\n")

    assert "no box lists found: faces will be searched" in read_corpus(root).notes


def test_a_given_folder_holds_lists_by_split_and_class(tmp_path: Path) -> None:
    root = caer_s(tmp_path / "CAER-S")
    lists = tmp_path / "lists" / "test"
    lists.mkdir(parents=True)
    (lists / "Anger.txt").write_text("test/Anger/0001.png,0,1,2,3,4\n")
    (lists / "Happy.txt").write_text("test/Happy/0001.png,Happy,1.5,2,3.2,4\n")

    corpus = read_corpus(root, boxes=tmp_path / "lists")

    assert [record.box for record in corpus.records] == [(1, 2, 3, 4), (1, 2, 4, 4)]


def test_without_lists_the_folders_decide(tmp_path: Path) -> None:
    corpus = read_corpus(caer_s(tmp_path))

    assert Counter(record.split for record in corpus.records) == {"train": 2, "test": 3}
    assert all(record.box is None for record in corpus.records)


@pytest.mark.parametrize(
    "path",
    [".", "../secret.png", "/etc/x.png", "Anger/../../x.png", "..\\x\\y.png", "C:/Anger/x.png"],
)
def test_a_listed_path_that_leaves_the_corpus_is_refused(tmp_path: Path, path: str) -> None:
    root = caer_s(tmp_path, train=f"Anger/0001.png,0,1,2,3,4\n{path},0,1,2,3,4\n")

    with pytest.raises(DataError, match=r"train\.txt:2: .* leaves the corpus"):
        read_corpus(root)


def test_a_listed_name_may_hold_commas(tmp_path: Path) -> None:
    plant(tmp_path, "train/Anger/a,b.png")
    (tmp_path / "train.txt").write_text("Anger/a,b.png,0,1,2,3,4\n")

    (record,) = read_corpus(tmp_path).records

    assert (record.key, record.box) == ("train/Anger/a,b.png", (1, 2, 3, 4))


def test_a_picture_in_two_lists_is_refused_with_both_places(tmp_path: Path) -> None:
    row = "test/Anger/0001.png,0,1,2,3,4\n"

    with pytest.raises(DataError, match=r"also in val \(.*val\.txt:1\)"):
        read_corpus(caer_s(tmp_path, val=row, test=row))


def test_a_line_that_repeats_a_picture_counts_once(tmp_path: Path) -> None:
    root = caer_s(tmp_path, train="Anger/0001.png,0,1,2,3,4\nAnger/0001.png,0,5,6,7,8\n")

    corpus = read_corpus(root)

    assert [record.box for record in corpus.records] == [(1, 2, 3, 4)]
    assert "1 lines repeat a picture; its first box counts" in corpus.notes


def test_listed_pictures_that_are_missing_are_told(tmp_path: Path) -> None:
    root = caer_s(tmp_path, train="Anger/0001.png,0,1,2,3,4\nAnger/9999.png,0,1,2,3,4\n")

    assert "1 listed pictures are not in the tree, e.g. Anger/9999.png" in read_corpus(root).notes


def test_lists_of_another_corpus_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="do the lists belong to this corpus"):
        read_corpus(caer_s(tmp_path, train="Anger/9999.png,0,1,2,3,4\n"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Anger/0001.png,3,1,2,3,4", "disagree"),
        ("Anger/0001.png,9,1,2,3,4", "outside the taxonomy"),
        ("Anger/0001.png,contempt,1,2,3,4", "outside the taxonomy"),
        ("Anger/0001.png,0,1,2,3", "is not relpath,label"),
        ("Anger/0001.png,0,1,2,3,x", "is no box"),
        ("Anger/0001.png,0,1,2,3,inf", "is no box"),
        ("Anger/0001.png,0,nan,2,3,4", "is no box"),
    ],
)
def test_a_wrong_line_is_named_with_its_number(tmp_path: Path, line: str, said: str) -> None:
    root = caer_s(tmp_path, train=f"Anger/0002.png,0,1,2,3,4\n{line}\n")

    with pytest.raises(DataError, match=said) as refusal:
        read_corpus(root)

    assert "train.txt:2" in str(refusal.value)


def test_boxes_are_rounded_outwards_and_zeros_mean_no_face() -> None:
    assert parse_box(" 1.9, 2 ,3.1,4 ", origin="x") == (1, 2, 4, 4)
    assert parse_box("-1.5,0,1,1", origin="x") == (-2, 0, 1, 1)
    assert parse_box("0,0,0,0\n", origin="x") is None


@pytest.mark.media
def test_real_community_lists_are_read(media_dir: Path) -> None:
    folder = media_dir / "emotion_images" / "caers_annotation"

    rows = read_list(BoxList(LocalFiles(folder), "test_Happy_head50.txt"))

    assert len(rows) >= 49
    assert {(row.split, row.label) for row in rows} == {("test", "Happy")}
    assert all(row.box is not None and row.box[2] > row.box[0] for row in rows)


def test_ncaer_s_pairs_boxes_by_the_last_dot_only(tmp_path: Path) -> None:
    plant(tmp_path, "images/train/Anger/s01.e02.001.jpg", "images/train/Anger/s01.e02.002.jpg")
    plant(tmp_path, "images/val/Happy/a.jpg", "images/test/Sad/b.jpg")
    for name, text in {
        "train/Anger/s01.e02.001": "1,2,30,40\n",
        "train/Anger/s01.e02.002": "-5,2,30,40",
        "train/Anger/s01": "9,9,9,9",
        "val/Happy/a": "0,0,0,0",
    }.items():
        crop = tmp_path / "crop" / f"{name}.txt"
        crop.parent.mkdir(parents=True, exist_ok=True)
        crop.write_text(text)

    corpus = read_corpus(tmp_path)

    assert [record.box for record in corpus.records] == [
        None,
        (1, 2, 30, 40),
        (-5, 2, 30, 40),
        None,
    ]
    assert "1 pictures have no file in crop/: their faces will be searched" in corpus.notes
    assert "1 pictures have no face by their box file (0,0,0,0)" in corpus.notes


def test_ncaer_s_takes_the_source_videos_from_its_manifest(tmp_path: Path) -> None:
    plant(tmp_path, "images/train/Anger/a.jpg", "images/train/Anger/b.jpg")
    rows = [
        {"path": "images/train/Anger/a.jpg", "source_video": "train/Anger/0001.avi"},
        {"path": "images/train/Anger/b.jpg", "source_video": "x.avi", "group": "friends"},
    ]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))

    groups = [record.group for record in read_corpus(tmp_path).records]

    assert groups == ["train/Anger/0001.avi", "friends"]


def test_names_in_lists_may_hold_what_some_take_for_the_end_of_a_line(tmp_path: Path) -> None:
    plant(tmp_path, "images/train/Anger/a\u2028b.jpg")
    row = {"path": "images/train/Anger/a\u2028b.jpg", "source_video": "x.avi"}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\r\n")
    (tmp_path / "train.txt").write_text("train/Anger/a\u2028b.jpg,0,1,2,3,4\r\n")

    assert [record.group for record in read_corpus(tmp_path).records] == ["x.avi"]
    rows = read_list(BoxList(LocalFiles(tmp_path), "train.txt"))
    assert [row.path for row in rows] == ["train/Anger/a\u2028b.jpg"]


@pytest.mark.parametrize("line", ["{", '{"path": "x"}', "[1]", '"text"'])
def test_a_damaged_manifest_of_ncaer_s_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    plant(tmp_path, "images/train/Anger/a.jpg")
    (tmp_path / "manifest.jsonl").write_text(f"\n{line}\n")

    with pytest.raises(DataError, match=r"manifest\.jsonl:2"):
        read_corpus(tmp_path)


@pytest.mark.parametrize("crop", ["1,2,3", "", "face"])
def test_a_damaged_box_file_is_refused_by_name(tmp_path: Path, crop: str) -> None:
    plant(tmp_path, "images/train/Anger/a.jpg", "crop/train/Anger/a.txt")
    (tmp_path / "crop/train/Anger/a.txt").write_text(crop)

    with pytest.raises(DataError, match=r"crop/train/Anger/a\.txt"):
        read_corpus(tmp_path)


def ravdess(root: Path, actors: range, *, song: bool = False) -> Path:
    codes = ["01", "02", "03", "04", "05", "06"] + ([] if song else ["07", "08"])
    vocal = "02" if song else "01"
    for actor in actors:
        for code in codes:
            for modality in ("01", "02"):
                name = f"{modality}-{vocal}-{code}-01-01-01-{actor:02d}.mp4"
                plant(root, f"Actor_{actor:02d}/{name}")
            plant(root, f"Actor_{actor:02d}/03-{vocal}-{code}-01-01-01-{actor:02d}.wav")
    return root


def test_ravdess_splits_by_actor_and_leaves_out_calm_and_repeated_takes(tmp_path: Path) -> None:
    corpus = read_corpus(ravdess(tmp_path, range(1, 25)))

    by_split: dict[str, set[str]] = {"train": set(), "val": set(), "test": set()}
    for record in corpus.records:
        by_split[record.split].add(record.group)
    assert {split: len(groups) for split, groups in by_split.items()} == {
        "train": 17,
        "val": 2,
        "test": 5,
    }
    assert not by_split["train"] & by_split["val"]
    assert not (by_split["train"] | by_split["val"]) & by_split["test"]
    assert len(corpus.records) == 24 * 7
    assert all(record.path.split("/")[1].startswith("01-") for record in corpus.records)
    assert {"labels left out: 'calm' 24", "192 sounds left out: only clips are read"} <= set(
        corpus.notes
    )


def test_ravdess_calm_can_count_as_neutral_and_is_told(tmp_path: Path) -> None:
    corpus = read_corpus(ravdess(tmp_path, range(1, 4)), calm="neutral")

    assert Counter(record.label for record in corpus.records)["Neutral"] == 6
    assert any("calm = Neutral 3" in note for note in corpus.notes)


def test_ravdess_song_lacks_disgust_and_surprise_and_says_so(tmp_path: Path) -> None:
    corpus = read_corpus(ravdess(tmp_path, range(1, 4), song=True))

    assert any("train has no sample of Disgust, Surprise" in note for note in corpus.notes)


def test_a_silent_take_is_used_where_there_is_no_other(tmp_path: Path) -> None:
    plant(tmp_path, "02-01-03-01-01-01-01.mp4", "RAVDESS_01-01-04-01-01-01-01.mp4")

    corpus = read_corpus(tmp_path, layout="ravdess")

    assert [record.label for record in corpus.records] == ["Happy", "Sad"]


def test_the_seed_decides_which_actors_are_tested(tmp_path: Path) -> None:
    root = ravdess(tmp_path, range(1, 25))

    tested = [
        {record.group for record in read_corpus(root, seed=seed).records if record.split == "test"}
        for seed in (0, 0, 1)
    ]

    assert tested[0] == tested[1] != tested[2]


def test_crema_d_reads_its_codes_and_splits_by_actor(tmp_path: Path) -> None:
    for actor in range(1001, 1011):
        for code in ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"):
            plant(tmp_path, f"VideoFlash/{actor}_DFA_{code}_XX.flv")
            plant(tmp_path, f"AudioWAV/{actor}_DFA_{code}_XX.wav")

    corpus = read_corpus(tmp_path)

    first = [record.label for record in corpus.records[:6]]
    assert first == ["Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad"]
    assert len({(record.group, record.split) for record in corpus.records}) == 10
    assert "60 sounds left out: only clips are read" in corpus.notes
    assert any("no sample of Surprise" in note for note in corpus.notes)


def test_a_converted_clip_of_crema_d_replaces_its_flash_original(tmp_path: Path) -> None:
    plant(tmp_path, "VideoFlash/1001_DFA_ANG_XX.flv", "converted/1001_DFA_ANG_XX.mp4")

    (record,) = read_corpus(tmp_path).records

    assert record.path == "converted/1001_DFA_ANG_XX.mp4"


def test_an_unknown_code_of_crema_d_is_refused_with_counts(tmp_path: Path) -> None:
    plant(tmp_path, "1001_DFA_ANG_XX.flv", "1001_DFA_BOR_XX.flv")

    with pytest.raises(DataError, match="'BOR' 1"):
        read_corpus(tmp_path)


def test_sounds_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 sounds but no clip"):
        read_corpus(plant(tmp_path, "AudioWAV/1001_DFA_ANG_XX.wav"))
