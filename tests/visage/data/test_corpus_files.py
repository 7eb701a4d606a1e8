"""A corpus in an object store is read as the same corpus in a folder is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from visage.data.audit import audit_corpus
from visage.data.corpus_files import StoreFiles, open_files
from visage.data.prepare import plan_chunks
from visage.data.readers import read_corpus
from visage.data.readers.tree import scan
from visage.errors import DataError, NotFoundError
from visage.media.image import encode_png
from visage.specs.prepare import EmotionPrepareSpec
from visage.store.local import LocalStore
from visage.store.open import open_store

LINE = "Angry/0001.png,0,1,2,30,40\n"


def _picture(number: int, size: int = 64) -> bytes:
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 255, (4, 4, 3)).astype(np.uint8)
    return encode_png(cv2.resize(coarse, (size, size)))


def _caer_s() -> dict[str, bytes]:
    places = [f"{split}/{word}/{number:04d}.png" for split in ("train", "test")
              for word in ("Anger", "Happy") for number in range(3)]  # fmt: skip
    return {place: _picture(number) for number, place in enumerate(places)}


def _plant(uri: str, files: Mapping[str, bytes]) -> str:
    store = open_store(uri)
    for path, body in files.items():
        store.put(path, body)
    return store.uri


CORPORA: dict[str, dict[str, bytes]] = {
    "folders": {path.replace("0", "a"): body for path, body in _caer_s().items()},
    "caer-s": _caer_s(),
    "caer-s with lists": _caer_s() | {"train.txt": LINE.encode()},
    "ncaer-s": {
        "images/train/Anger/a.png": _picture(1),
        "crop/train/Anger/a.txt": b"1,2,30,40",
        "manifest.jsonl": b'{"path": "images/train/Anger/a.png", "source_video": "v"}\n',
    },
    "fer2013": {f"train/happy/T_{n}.jpg": _picture(n, 48) for n in range(3)},
    "litter": _caer_s() | {".DS_Store": b"", "__MACOSX/x.png": b"", "train/Anger/x.gif": b""},
}


@pytest.mark.parametrize("name", CORPORA)
def test_both_places_give_the_same_records_and_notes(
    name: str, s3_uri: str, tmp_path: Path
) -> None:
    there = read_corpus(_plant(s3_uri, CORPORA[name]))
    here = read_corpus(_plant(str(tmp_path / "corpus"), CORPORA[name]))
    assert there.root == s3_uri
    assert replace(there, root="") == replace(here, root="")


@pytest.mark.parametrize("place", ["beside", "given folder", "given file"])
def test_box_lists_are_found_wherever_they_may_lie(place: str, s3_uri: str) -> None:
    root = _plant(f"{s3_uri}/CAER-S", _caer_s())
    folder = s3_uri if place == "beside" else f"{s3_uri}/lists"
    open_store(folder).put("train.txt", LINE.encode())
    given = {"beside": None, "given folder": folder, "given file": f"{folder}/train.txt"}[place]
    corpus = read_corpus(root, boxes=given)
    assert [(record.key, record.box) for record in corpus.records] == [
        ("train/Anger/0001.png", (1, 2, 30, 40))
    ]


def test_a_prefix_with_nothing_below_it_is_refused(s3_uri: str) -> None:
    with pytest.raises(DataError, match="nothing there"):
        read_corpus(f"{s3_uri}/absent")


def test_a_replaced_picture_is_prepared_again_and_no_other(s3_uri: str, tmp_path: Path) -> None:
    root = _plant(s3_uri, _caer_s())
    spec, out = EmotionPrepareSpec.parse({"rows_per_shard": 1}), LocalStore(tmp_path)

    def planned() -> dict[str, str]:
        chunks = plan_chunks(read_corpus(root), out, spec, settings="s").chunks
        return {chunk.records[0].key: chunk.fingerprints[0] for chunk in chunks}

    first = planned()
    assert planned() == first
    open_store(root).replace("train/Anger/0001.png", _picture(99))
    second = planned()
    assert {key for key in first if first[key] != second[key]} == {"train/Anger/0001.png"}


def test_files_are_at_hand_while_they_are_asked_for_and_missing_ones_are_missing(
    s3_uri: str,
) -> None:
    files = open_files(_plant(s3_uri, _caer_s()))
    assert isinstance(files, StoreFiles)
    wanted = ["train/Anger/0001.png", "test/Happy/0002.png", "absent.png", "train/Anger/0001.png"]
    with files.at_hand(wanted) as folder:
        found = {path.relative_to(folder).as_posix(): path.read_bytes()
                 for path in folder.rglob("*") if path.is_file()}  # fmt: skip
    assert found == {path: _caer_s()[path] for path in wanted[:2]}
    assert not folder.exists()
    assert files.version("absent.png") is None
    with pytest.raises(NotFoundError):
        files.read("absent.png")


def test_an_audit_reads_pictures_that_lie_in_a_store(s3_uri: str, tmp_path: Path) -> None:
    copies = _caer_s()
    copies["test/Happy/0002.png"] = copies["train/Anger/0000.png"]
    there = audit_corpus(read_corpus(_plant(s3_uri, copies)), workers=1)
    here = audit_corpus(read_corpus(_plant(str(tmp_path / "corpus"), copies)), workers=1)
    assert there.leaks.num_rows > 0
    assert there.leaks.equals(here.leaks)
    assert there.files.equals(here.files)


class _Keys(LocalStore):
    """A store with keys that no folder can hold."""

    def list(self, prefix: str = "") -> object:  # type: ignore[override]
        """More than there is."""
        real = list(super().list(prefix))
        return [*real, *(replace(real[0], key=key) for key in ("a//b.png", "../x.png", "a\\b.png"))]


def test_keys_that_would_leave_a_folder_are_no_files_of_a_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _Keys(Path(_plant(str(tmp_path / "corpus"), _caer_s())))
    monkeypatch.setattr("visage.data.readers.tree.open_files", lambda root: StoreFiles(store))
    assert set(scan("s3://any").files) == set(_caer_s())
