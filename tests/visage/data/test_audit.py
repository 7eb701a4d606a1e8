"""The audit: planted duplicates are found, nothing else is, and leaks decide."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_scenes import COPIES, scene

from visage.data.audit import AUDIT_TABLES, AuditReport, audit_corpus, box_problem
from visage.data.duplicates import NEAR_THRESHOLD, clusters, find_pairs
from visage.data.fingerprints import fingerprints
from visage.data.readers import read_corpus
from visage.errors import SpecError
from visage.media.image import Image, encode_jpeg, encode_png
from visage.media.video_writer import write_video


def put(root: Path, name: str, data: bytes) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)


def audited(root: Path, *, near_threshold: int = NEAR_THRESHOLD) -> AuditReport:
    return audit_corpus(read_corpus(root), workers=2, near_threshold=near_threshold)


def pairs_of(report: AuditReport) -> set[tuple[str, str, str]]:
    return {(r["kind"], r["key_a"], r["key_b"]) for r in report.duplicates.to_pylist()}


def test_a_clean_corpus_has_no_leaks_and_no_duplicates(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "train", "val", "test")):
        put(tmp_path, f"{split}/Happy/{number}.png", encode_png(scene(number)))

    report = audited(tmp_path)

    assert not report.has_leaks
    assert report.duplicates.num_rows == report.boxes.num_rows == 0
    assert report.summary()["unreadable"] == {}


def test_evidence_is_named_by_what_is_equal(tmp_path: Path) -> None:
    png, again = encode_png(scene(1)), encode_png(scene(1), compression=1)
    put(tmp_path, "train/Happy/a.png", png)
    put(tmp_path, "test/Happy/b.png", png)
    put(tmp_path, "val/Happy/c.png", again)
    put(tmp_path, "val/Sad/d.jpg", encode_jpeg(scene(1), 80))

    report = audited(tmp_path)

    assert png != again
    assert pairs_of(report) == {
        ("bytes", "test/Happy/b.png", "train/Happy/a.png"),
        ("pixels", "test/Happy/b.png", "val/Happy/c.png"),
        ("near", "test/Happy/b.png", "val/Sad/d.jpg"),
    }
    (leak,) = report.leaks.to_pylist()
    assert (leak["kind"], leak["splits"]) == ("bytes", "train+val+test")
    assert (leak["train"], leak["val"], leak["test"]) == (1, 2, 1)
    assert report.summary()["conflicting_labels"] == 1


@pytest.mark.parametrize(("second", "leaks"), [("train", False), ("val", True), ("test", True)])
def test_duplicates_leak_only_between_splits(tmp_path: Path, second: str, leaks: bool) -> None:
    put(tmp_path, "train/Happy/a.png", encode_png(scene(1)))
    put(tmp_path, f"{second}/Happy/b.png", encode_png(scene(1)))

    report = audited(tmp_path)

    assert report.has_leaks is leaks
    assert report.duplicates.num_rows == 1


def test_planted_copies_are_found_and_nothing_else(tmp_path: Path) -> None:
    planted: dict[str, Callable[[Image], Image]] = {
        **COPIES,
        "mirrored": lambda picture: np.ascontiguousarray(picture[:, ::-1]),
    }
    expected = set()
    for number in range(75):
        put(tmp_path, f"train/Happy/{number:03d}.png", encode_png(scene(number)))
    for place, (name, copy) in enumerate(planted.items()):
        for number in range(place * 15, place * 15 + 15):
            put(tmp_path, f"test/Happy/{number:03d}-{name}.jpg", encode_jpeg(copy(scene(number))))
            expected.add((f"test/Happy/{number:03d}-{name}.jpg", f"train/Happy/{number:03d}.png"))

    found = {(a, b) for _, a, b in pairs_of(audited(tmp_path))}

    precision = len(found & expected) / len(found)
    recall = len(found & expected) / len(expected)
    assert precision == 1.0
    assert recall >= 0.95, sorted(expected - found)


def test_a_mirrored_copy_is_marked(tmp_path: Path) -> None:
    put(tmp_path, "train/Happy/a.png", encode_png(scene(3)))
    put(tmp_path, "test/Happy/b.png", encode_png(np.ascontiguousarray(scene(3)[:, ::-1])))

    (pair,) = audited(tmp_path).duplicates.to_pylist()

    assert pair["is_mirrored"]
    assert pair["likeness"] > 0.99


def test_flat_pictures_are_duplicates_only_if_equal(tmp_path: Path) -> None:
    for name, grey in (("train/Sad/a", 10), ("test/Sad/b", 11), ("test/Sad/c", 200)):
        put(tmp_path, f"{name}.png", encode_png(np.full((40, 40, 3), grey, np.uint8)))
    put(tmp_path, "train/Sad/d.png", encode_png(np.full((40, 40, 3), 10, np.uint8)))

    report = audited(tmp_path)

    assert pairs_of(report) == {("bytes", "train/Sad/a.png", "train/Sad/d.png")}
    assert report.summary()["flat"] == 4


def test_near_duplicates_can_be_left_out(tmp_path: Path) -> None:
    put(tmp_path, "train/Happy/a.png", encode_png(scene(1)))
    put(tmp_path, "test/Happy/b.jpg", encode_jpeg(scene(1), 60))

    assert audited(tmp_path).has_leaks
    assert not audited(tmp_path, near_threshold=-1).has_leaks


@pytest.mark.parametrize("threshold", [-2, 21])
def test_a_threshold_out_of_range_is_refused(tmp_path: Path, threshold: int) -> None:
    put(tmp_path, "train/Happy/a.png", encode_png(scene(1)))

    with pytest.raises(SpecError, match="near_threshold"):
        audited(tmp_path, near_threshold=threshold)


def test_a_source_in_two_splits_is_a_leak_even_if_its_frames_differ(tmp_path: Path) -> None:
    put(tmp_path, "train/Happy/clip7/1.png", encode_png(scene(1)))
    put(tmp_path, "test/Happy/clip7/2.png", encode_png(scene(2)))

    (leak,) = audited(tmp_path).leaks.to_pylist()

    assert (leak["kind"], leak["name"], leak["splits"]) == ("group", "clip7", "train+test")


def test_unreadable_files_become_rows_with_codes(tmp_path: Path) -> None:
    whole = encode_jpeg(scene(1))
    put(tmp_path, "train/Happy/a.jpg", whole)
    put(tmp_path, "train/Happy/cut.jpg", whole[: len(whole) // 2])
    put(tmp_path, "train/Happy/empty.jpg", b"")
    put(tmp_path, "train/Happy/text.jpg", b"not a picture at all")
    put(tmp_path, "test/Happy/text.mp4", b"not a clip at all")

    report = audited(tmp_path)

    problems = {row["key"]: row["problem"] for row in report.files.to_pylist()}
    assert problems == {
        "train/Happy/a.jpg": None,
        "train/Happy/cut.jpg": "truncated",
        "train/Happy/empty.jpg": "empty",
        "train/Happy/text.jpg": "unsupported_format",
        "test/Happy/text.mp4": "unsupported_format",
    }
    assert not report.has_leaks


def test_a_file_that_vanishes_after_reading_is_told(tmp_path: Path) -> None:
    put(tmp_path, "train/Happy/a.png", encode_png(scene(1)))
    corpus = read_corpus(tmp_path)
    (tmp_path / "train/Happy/a.png").unlink()

    assert audit_corpus(corpus).summary()["unreadable"] == {"not_found": 1}


@pytest.mark.parametrize(
    ("box", "problem"),
    [
        ((0, 0, 100, 50), None),
        ((10, 10, 20, 20), None),
        ((-1, 0, 20, 20), "partly outside"),
        ((90, 40, 101, 50), "partly outside"),
        ((100, 0, 120, 50), "outside"),
        ((0, -20, 10, 0), "outside"),
        ((20, 10, 20, 30), "no area"),
        ((30, 10, 20, 30), "no area"),
    ],
)
def test_boxes_are_judged_by_the_picture_they_lie_in(
    box: tuple[int, int, int, int], problem: str | None
) -> None:
    assert box_problem(box, width=100, height=50) == problem


def test_boxes_outside_the_picture_are_listed(tmp_path: Path) -> None:
    for number, box in enumerate(("1,2,30,40", "-1,2,30,40", "500,2,600,40")):
        put(tmp_path, f"images/train/Happy/{number}.png", encode_png(scene(number)))
        put(tmp_path, f"crop/train/Happy/{number}.txt", box.encode())

    rows = audited(tmp_path).boxes.to_pylist()

    assert [(row["key"][-5:], row["problem"]) for row in rows] == [
        ("1.png", "partly outside"),
        ("2.png", "outside"),
    ]
    assert (rows[0]["x1"], rows[0]["width"], rows[0]["height"]) == (-1, 128, 96)


def test_equal_clips_in_two_splits_leak(tmp_path: Path) -> None:
    for name in ("train/Happy/0001", "train/Happy/0002", "test/Happy/0001"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        seed = int(name[-1]) - 1
        write_video(tmp_path / f"{name}.mp4", [scene(seed + 40)] * 6, fps=12)

    report = audited(tmp_path)

    (leak,) = report.leaks.to_pylist()
    assert (leak["train"], leak["test"]) == (1, 1)


def test_the_report_is_written_as_tables_that_read_back(tmp_path: Path) -> None:
    root, out = tmp_path / "corpus", tmp_path / "out"
    put(root, "train/Happy/a.png", encode_png(scene(1)))
    put(root, "test/Happy/b.png", encode_png(scene(1)))
    report = audited(root)

    written = report.write(out)
    report.write(out)

    assert [path.stem for path in written] == list(AUDIT_TABLES)
    assert pq.read_table(out / "leaks.parquet").equals(report.leaks)
    assert len(list(out.iterdir())) == len(AUDIT_TABLES)


def test_the_report_does_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    for number in range(12):
        put(tmp_path, f"train/Happy/{number}.png", encode_png(scene(number % 5)))
    corpus = read_corpus(tmp_path)

    one, four = audit_corpus(corpus, workers=1), audit_corpus(corpus, workers=4)

    assert all(getattr(one, name).equals(getattr(four, name)) for name in AUDIT_TABLES)


def test_many_copies_give_a_star_not_all_pairs(tmp_path: Path) -> None:
    for number in range(30):
        put(tmp_path, f"train/Happy/{number:02d}.jpg", encode_jpeg(scene(1), 60 + number))
    records = read_corpus(tmp_path).records

    pairs = find_pairs(list(fingerprints(tmp_path, records, workers=2)), near_threshold=10)

    assert 29 <= len(pairs) < 60
    assert clusters(len(records), pairs) == [tuple(range(30))]


def test_progress_is_told_to_the_end(tmp_path: Path) -> None:
    for number in range(3):
        put(tmp_path, f"train/Happy/{number}.jpg", encode_jpeg(scene(1), 60 + number))
    told: list[tuple[str, int, int]] = []

    audit_corpus(read_corpus(tmp_path), progress=lambda *state: told.append(state))

    assert [state for state in told if state[0] == "reading"] == [
        ("reading", done, 3) for done in (1, 2, 3)
    ]


@pytest.mark.media
def test_real_faces_hold_known_duplicates_across_their_splits(media_dir: Path) -> None:
    report = audit_corpus(read_corpus(media_dir / "fer2013"), workers=2)

    assert report.summary()["duplicate_pairs"] == {
        "bytes": {"within": 10, "across": 7},
        "pixels": {"within": 0, "across": 0},
        "near": {"within": 40, "across": 8},
    }
    assert report.leaks.num_rows == 14
