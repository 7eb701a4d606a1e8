"""The drawn CAER-S: its layout, its bytes, and what a broken run leaves."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from visage.data.readers import read_corpus
from visage.errors import DataError, SpecError
from visage.media.image import decode_image
from visage.specs.emotion import EMOTIONS
from visage.synth.caer_s import write_caer_s
from visage.synth.production import claim
from visage.synth.scene import draw_scene
from visage.synth.spec import CaerSSpec

SPEC = CaerSSpec(per_class=4, height=128, width=171, identities=8)


def _digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synth") / "CAER-S"
    report = write_caer_s(root, SPEC, workers=1)
    assert (report.written, report.kept) == (28, 0)
    return root


def test_the_reader_of_the_real_corpus_reads_the_drawn_one(corpus: Path) -> None:
    found = read_corpus(corpus)
    assert found.layout == "caer-s"
    assert found.classes == EMOTIONS
    counts = {split: 0 for split in ("train", "val", "test")}
    for record in found.records:
        counts[record.split] += 1
        assert record.box is not None
        assert record.label == record.path.split("/")[1]
        assert record.path.startswith("train/" if record.split == "train" else "test/")
    assert counts == {"train": 14, "val": 7, "test": 7}


def test_processes_and_seeds_decide_the_bytes_and_nothing_else(
    corpus: Path, tmp_path: Path
) -> None:
    write_caer_s(tmp_path / "again", SPEC, workers=2)
    assert _digests(tmp_path / "again") == _digests(corpus)


def test_another_seed_draws_other_pictures(corpus: Path, tmp_path: Path) -> None:
    write_caer_s(tmp_path, SPEC.model_copy(update={"seed": 1}), workers=1)
    here, there = _digests(tmp_path), _digests(corpus)
    pictures = [name for name in here if name.endswith(".jpg")]
    assert all(here[name] != there[name] for name in pictures)


def test_a_broken_run_goes_on_and_ends_as_the_unbroken_one(corpus: Path, tmp_path: Path) -> None:
    root = tmp_path / "broken"
    write_caer_s(root, SPEC, workers=1)
    whole = _digests(root)
    (root / "train/Happy/0001.jpg").unlink()
    cut = root / "test/Sad/0001.jpg"
    cut.write_bytes(cut.read_bytes()[:-40])
    (root / "truth.jsonl").unlink()
    told: list[tuple[int, int]] = []
    report = write_caer_s(
        root, SPEC, workers=1, progress=lambda done, all_: told.append((done, all_))
    )
    assert (report.written, report.kept) == (2, 26)
    assert _digests(root) == whole == _digests(corpus)
    assert told[0] == (0, 28)
    assert told[-1] == (28, 28)


def test_a_folder_with_other_settings_or_other_things_is_refused(
    corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="per_class 4 there, 5 asked"):
        write_caer_s(corpus, SPEC.model_copy(update={"per_class": 5}), workers=1)
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(DataError, match=r"holiday\.txt"):
        write_caer_s(tmp_path, SPEC, workers=1)
    assert _digests(tmp_path).keys() == {"holiday.txt"}


def test_a_failure_in_a_drawing_process_is_told_as_what_it_is(tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"per_class": 10})
    claim(tmp_path, spec)
    (tmp_path / "train").write_text("a file where a folder belongs")
    with pytest.raises(DataError, match="cannot be written"):
        write_caer_s(tmp_path, spec, workers=2)


def test_a_foreign_marker_is_refused(tmp_path: Path) -> None:
    (tmp_path / "synth.json").write_text("not json")
    with pytest.raises(DataError, match="choose another folder"):
        write_caer_s(tmp_path, SPEC, workers=1)


def test_no_person_appears_in_two_splits(corpus: Path) -> None:
    rows = [json.loads(line) for line in (corpus / "truth.jsonl").read_text().splitlines()]
    people = {
        split: {row["identity"] for row in rows if row["split"] == split}
        for split in ("train", "val", "test")
    }
    assert not people["train"] & people["test"]
    assert not people["train"] & people["val"]
    assert not people["val"] & people["test"]


def test_truth_and_lists_describe_the_same_pictures(corpus: Path) -> None:
    rows = [json.loads(line) for line in (corpus / "truth.jsonl").read_text().splitlines()]
    listed = {}
    for split in ("train", "val", "test"):
        for line in (corpus / f"{split}.txt").read_text().splitlines():
            path, label, *box = line.split(",")
            folder = "train" if split == "train" else "test"
            listed[f"{folder}/{path}"] = (EMOTIONS[int(label)], [int(edge) for edge in box])
    assert listed == {row["path"]: (row["label"], row["box"]) for row in rows}
    for row in rows:
        image = decode_image((corpus / row["path"]).read_bytes())
        assert image.shape == (SPEC.height, SPEC.width, 3)


def test_png_pictures_hold_exactly_what_was_drawn(tmp_path: Path) -> None:
    from visage.synth.caer_s import pictures_of, plan_of

    spec = SPEC.model_copy(update={"image_format": "png", "per_class": 3})
    write_caer_s(tmp_path, spec, workers=1)
    first = pictures_of(spec)[0]
    image = decode_image((tmp_path / first.path).read_bytes())
    assert np.array_equal(image, draw_scene(plan_of(spec, first)))


@pytest.mark.parametrize("per_class", [3, 4, 10, 57, 200])
def test_splits_share_out_every_picture(per_class: int) -> None:
    counts = CaerSSpec(per_class=per_class).counts()
    assert sum(counts.values()) == per_class
    assert min(counts.values()) >= 1


def test_a_spec_that_leaves_nothing_to_train_on_is_refused() -> None:
    for name in ("per_class", "identities"):
        with pytest.raises(SpecError, match=f"{name} 4 leaves a split empty"):
            CaerSSpec.parse({name: 4, "val_fraction": 0.49, "test_fraction": 0.49})
