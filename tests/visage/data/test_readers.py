"""Readers: each layout as it lies on disk, with the traps that real copies hold."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from visage.data.readers import LAYOUTS, count_classes, read_corpus
from visage.data.records import Corpus
from visage.data.taxonomy import emotion_words, label_of, split_of
from visage.errors import DataError, SpecError
from visage.media.image import encode_jpeg, encode_png
from visage.specs.emotion import EMOTIONS


def plant(root: Path, *paths: str, data: bytes = b"not decoded by a reader") -> Path:
    for path in paths:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return root


def labels(corpus: Corpus) -> dict[str, str | None]:
    return {record.key: record.label for record in corpus.records}


def splits(corpus: Corpus) -> dict[str, str]:
    return {record.key: record.split for record in corpus.records}


@pytest.mark.parametrize(
    ("layout", "paths"),
    [
        ("ncaer-s", ["images/train/Anger/a.jpg", "crop/train/Anger/a.txt"]),
        ("ravdess", ["Video_Speech_Actor_01/Actor_01/01-01-03-02-02-01-01.mp4"]),
        ("ravdess", ["Actor_02/01-01-03-02-02-01-02.mp4", "Actor_02/03-01-03-02-02-01-02.wav"]),
        ("crema-d", ["VideoFlash/1001_DFA_ANG_XX.flv", "AudioWAV/1001_DFA_ANG_XX.wav"]),
        ("caer", ["train/Anger/0001.avi", "validation/Happy/0001.avi"]),
        ("caer-s", ["train/Anger/0001.png", "test/Happy/0002.png"]),
        ("folders", ["TRAIN/Happy/friends.s01.jpg", "test/sad/x.mp4"]),
        ("labelled-names", ["MEAD_W036_level_3_happy_007.mp4", "MEAD-EAMM_disgusted.mp4"]),
    ],
)
def test_a_layout_is_recognised_by_the_names_alone(
    tmp_path: Path, layout: str, paths: list[str]
) -> None:
    root = plant(tmp_path, *paths)
    if layout == "ncaer-s":
        (root / "crop/train/Anger/a.txt").write_text("1,2,3,4")

    assert read_corpus(root).layout == layout
    assert layout in LAYOUTS


def test_pictures_of_48_pixels_are_fer2013_and_hold_faces_only(tmp_path: Path) -> None:
    small = encode_jpeg(np.zeros((48, 48, 3), np.uint8))
    plant(tmp_path, "train/angry/Training_1.jpg", "test/surprise/PublicTest_2.jpg", data=small)

    corpus = read_corpus(tmp_path)

    assert corpus.layout == "fer2013"
    assert all(record.is_face_crop for record in corpus.records)
    assert set(labels(corpus).values()) == {"Anger", "Surprise"}


def test_one_larger_picture_makes_a_tree_of_faces_an_ordinary_one(tmp_path: Path) -> None:
    plant(tmp_path, "train/sad/a.jpg", data=encode_jpeg(np.zeros((48, 48, 3), np.uint8)))
    plant(tmp_path, "train/sad/b.jpg", data=encode_jpeg(np.zeros((48, 64, 3), np.uint8)))

    corpus = read_corpus(tmp_path)

    assert corpus.layout == "folders"
    assert not any(record.is_face_crop for record in corpus.records)


def test_augmented_copies_of_a_face_share_its_group(tmp_path: Path) -> None:
    names = ["Training_7.jpg", "Training_7.jpg1.jpg", "Training_7.jpg12.jpg", "Training_70.jpg"]
    small = encode_png(np.zeros((48, 48, 3), np.uint8))
    plant(tmp_path, *(f"train/disgust/{name}" for name in names), data=small)

    groups = {record.key.split("/")[-1]: record.group for record in read_corpus(tmp_path).records}

    assert groups == dict(zip(names, ["Training_7"] * 3 + ["Training_70"], strict=True))


@pytest.mark.parametrize("word", ["train", "Train", "TRAIN"])
@pytest.mark.parametrize("val", ["val", "valid", "validation", "Valid"])
def test_split_folders_are_read_under_their_usual_names(
    tmp_path: Path, word: str, val: str
) -> None:
    plant(tmp_path, f"{word}/Anger/0001.avi", f"{val}/Anger/0001.avi", "Test/Anger/0001.avi")

    assert sorted(splits(read_corpus(tmp_path)).values()) == ["test", "train", "val"]


def test_angry_is_anger_and_the_note_counts_it(tmp_path: Path) -> None:
    corpus = read_corpus(plant(tmp_path, "train/Angry/0001.png", "train/Happy/0001.png"))

    assert labels(corpus) == {"train/Angry/0001.png": "Anger", "train/Happy/0001.png": "Happy"}
    assert any("Angry = Anger 1" in note for note in corpus.notes)


@pytest.mark.parametrize("label", EMOTIONS)
def test_a_label_of_the_taxonomy_is_itself_in_any_case(label: str) -> None:
    assert label_of(label) == label_of(label.upper()) == label_of(f" {label.lower()} ") == label
    assert split_of(label) is None


def test_a_class_outside_the_taxonomy_is_refused_with_counts(tmp_path: Path) -> None:
    plant(tmp_path, "train/Happy/a.png", "train/contempt/b.png", "test/contempt/c.png")

    with pytest.raises(DataError, match=r"'contempt' 2.*known are Anger"):
        read_corpus(tmp_path)


def test_a_class_outside_the_taxonomy_can_be_left_out_on_purpose(tmp_path: Path) -> None:
    plant(tmp_path, "train/Happy/a.png", "train/Contempt/b.png")

    corpus = read_corpus(tmp_path, drop=["contempt"])

    assert list(labels(corpus)) == ["train/Happy/a.png"]
    assert "labels left out: 'Contempt' 1" in corpus.notes


def test_missing_classes_and_splits_are_told(tmp_path: Path) -> None:
    corpus = read_corpus(plant(tmp_path, "train/Happy/a.png", "test/Sad/b.png"))

    assert "there is no val split" in corpus.notes
    assert any(note.startswith("test has no sample of Anger") for note in corpus.notes)
    assert count_classes(corpus.records)["train"]["Happy"] == 1
    assert count_classes(corpus.records)["train"]["Fear"] == 0


def test_hidden_files_litter_and_empty_folders_do_not_count(tmp_path: Path) -> None:
    plant(tmp_path, "train/Happy/a.png", "train/Happy/.b.png", "train/Happy/Thumbs.db")
    plant(tmp_path, ".git/train/Happy/c.png", "__MACOSX/train/Happy/d.png")
    (tmp_path / "train/Fear").mkdir()

    assert list(labels(read_corpus(tmp_path))) == ["train/Happy/a.png"]


def test_records_are_sorted_and_do_not_depend_on_the_order_of_writing(tmp_path: Path) -> None:
    paths = [f"train/Happy/{number:04d}.png" for number in range(12)]
    first = read_corpus(plant(tmp_path / "a", *paths))
    second = read_corpus(plant(tmp_path / "b", *reversed(paths)))

    assert first.records == second.records
    assert [record.key for record in first.records] == sorted(paths)


def test_a_link_that_leaves_the_corpus_is_refused(tmp_path: Path) -> None:
    plant(tmp_path, "outside/x.png")
    root = plant(tmp_path / "corpus", "train/Happy/a.png")
    (root / "train/Happy/b.png").symlink_to(tmp_path / "outside/x.png")

    with pytest.raises(DataError, match="leaves the corpus"):
        read_corpus(root)


def test_a_linked_folder_that_leaves_the_corpus_is_refused(tmp_path: Path) -> None:
    plant(tmp_path, "outside/Happy/x.png")
    root = plant(tmp_path / "corpus", "test/Happy/a.png")
    (root / "train").symlink_to(tmp_path / "outside", target_is_directory=True)

    with pytest.raises(DataError, match="leaves the corpus"):
        read_corpus(root)


def test_links_inside_the_corpus_do_no_harm(tmp_path: Path) -> None:
    root = plant(tmp_path, "train/Happy/a.png")
    (root / "train/Happy/b.png").symlink_to(root / "train/Happy/a.png")
    (root / "train/Happy/gone.png").symlink_to(root / "train/Happy/nothing.png")
    (root / "test").symlink_to(root / "train", target_is_directory=True)

    corpus = read_corpus(root)

    assert list(labels(corpus)) == ["train/Happy/a.png", "train/Happy/b.png"]
    assert {"1 linked folders left out", "1 broken links left out"} <= set(corpus.notes)


def test_a_root_that_is_a_link_itself_is_read(tmp_path: Path) -> None:
    plant(tmp_path / "real", "train/Happy/a.png")
    (tmp_path / "corpus").symlink_to(tmp_path / "real")

    assert len(read_corpus(tmp_path / "corpus").records) == 1


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    plant(tmp_path, "train/Happy/a.png")
    os.rename(tmp_path / "train/Happy/a.png", os.fsencode(tmp_path / "train/Happy") + b"/\xff.png")

    with pytest.raises(DataError, match="not UTF-8"):
        read_corpus(tmp_path)


def test_an_unknown_tree_is_refused_with_every_layout_explained(tmp_path: Path) -> None:
    plant(tmp_path, "holiday/beach.jpg")

    with pytest.raises(DataError) as refusal:
        read_corpus(tmp_path)

    assert all(name in str(refusal.value) for name in LAYOUTS)


def test_the_refusal_points_to_the_folder_below_that_would_fit(tmp_path: Path) -> None:
    plant(tmp_path, "CAER/train/Happy/0001.avi", "notes.txt")

    with pytest.raises(DataError, match="give CAER/ instead"):
        read_corpus(tmp_path)


@pytest.mark.parametrize("given", ["nowhere", "file.txt"])
def test_what_is_no_folder_is_refused(tmp_path: Path, given: str) -> None:
    plant(tmp_path, "file.txt")

    with pytest.raises(DataError, match="no such folder"):
        read_corpus(tmp_path / given)


def test_an_unknown_layout_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="choose auto or one of ncaer-s"):
        read_corpus(tmp_path, layout="caers")  # type: ignore[arg-type]


def test_a_stated_layout_that_finds_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="as the layout folders wants it"):
        read_corpus(plant(tmp_path, "beach.jpg"), layout="folders")


def test_frames_of_one_folder_below_the_class_are_one_group(tmp_path: Path) -> None:
    corpus = read_corpus(plant(tmp_path, "train/Happy/clip7/1.jpg", "test/Happy/clip7/2.jpg"))

    assert {record.group for record in corpus.records} == {"clip7"}


def test_each_clip_of_caer_is_its_own_source(tmp_path: Path) -> None:
    corpus = read_corpus(plant(tmp_path, "train/Happy/0001.avi", "test/Happy/0001.avi"))

    assert [record.group for record in corpus.records] == ["test/Happy/0001", "train/Happy/0001"]
    assert {record.kind for record in corpus.records} == {"video"}


@pytest.mark.parametrize(
    ("stem", "words"),
    [
        ("MEAD_W036_level_3_happy_007", ["happy"]),
        ("MEAD-EAMM_disgusted", ["disgusted"]),
        ("1001_DFA_ANG_XX", ["ANG"]),
        ("measured_distance", []),
        ("sur_la_plage_dis", []),
        ("M003_contempt_1", ["contempt"]),
    ],
)
def test_only_whole_words_of_a_name_are_emotions(stem: str, words: list[str]) -> None:
    assert [word for _, word in emotion_words(stem)] == words


def test_names_give_emotion_and_identity(tmp_path: Path) -> None:
    plant(
        tmp_path,
        "DERIVED_RAVDESS_01-01-03-02-02-01-07_happy.mp4",
        "MEAD-EAMM_disgusted.mp4",
        "MEAD-EAMM_happy_noaudio.mp4",
        "MEAD_M030_level_3_angry_016.mp4",
        "MEAD_M030_sad_3_001.mp4",
        "happy_or_sad.mp4",
        "unnamed.mp4",
    )

    corpus = read_corpus(tmp_path)

    assert [(record.label, record.group) for record in corpus.records] == [
        ("Happy", "ravdess-actor-07"),
        ("Disgust", "MEAD-EAMM"),
        ("Happy", "MEAD-EAMM"),
        ("Anger", "MEAD_M030"),
        ("Sad", "MEAD_M030"),
    ]
    assert any(note.startswith("2 files without one clear emotion") for note in corpus.notes)


def test_an_emotion_without_counterpart_in_a_name_is_refused(tmp_path: Path) -> None:
    plant(tmp_path, "M003_happy_1.mp4", "M003_contempt_1.mp4")

    with pytest.raises(DataError, match="never guessed"):
        read_corpus(tmp_path)


@pytest.mark.media
def test_real_footage_is_read(media_dir: Path) -> None:
    faces = read_corpus(media_dir / "fer2013")
    clips = read_corpus(media_dir / "emotion_video")

    assert (faces.layout, len(faces.records)) == ("fer2013", 2800)
    assert (clips.layout, len(clips.records)) == ("labelled-names", 8)
    with pytest.raises(DataError, match="sounds but no clip"):
        read_corpus(media_dir / "emotion_audio")
