"""What only a folder can meet: full disks, file systems without links, files in the way."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest

from visage.errors import NotFoundError, StoreError
from visage.store.local import LocalStore


def _refuse(code: int):  # type: ignore[no-untyped-def]
    def call(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return call


def test_a_full_disk_is_told_with_the_space_left_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path / "store")
    monkeypatch.setattr(Path, "write_bytes", _refuse(errno.ENOSPC))
    for write in (store.put, store.replace):
        with pytest.raises(StoreError, match=r"No space left on device \(\d+ MiB free\)"):
            write("a/key", b"body")
    assert list((tmp_path / "store").rglob(".tmp*")) == []


def test_a_download_to_a_full_disk_is_told_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path / "store")
    store.put("key", b"body")
    monkeypatch.setattr(shutil, "copyfile", _refuse(errno.ENOSPC))
    with pytest.raises(StoreError, match=r"cannot be copied to .*No space left"):
        store.download("key", tmp_path / "target" / "file")
    assert list((tmp_path / "target").iterdir()) == []


def test_a_file_system_without_hard_links_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", _refuse(errno.EPERM))
    with pytest.raises(StoreError, match=r"hard link.*s3://"):
        LocalStore(tmp_path / "store").put("key", b"")
    assert list((tmp_path / "store").iterdir()) == []


def test_a_file_where_a_folder_is_needed_is_told(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a", b"")
    for write in (store.put, store.replace):
        with pytest.raises(StoreError, match="a folder is needed there"):
            write("a/b", b"")


def test_a_file_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)
    store.put("key", b"")
    monkeypatch.setattr(Path, "read_bytes", _refuse(errno.EACCES))
    with pytest.raises(StoreError, match="cannot be read: Permission denied") as caught:
        store.get("key")
    assert not isinstance(caught.value, NotFoundError)


def test_what_a_killed_writer_left_is_in_no_listing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a/key", b"")
    (tmp_path / "a" / ".tmp-0123").write_bytes(b"half")
    assert [item.key for item in store.list()] == ["a/key"]


def test_an_object_deleted_during_a_listing_is_left_out(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for key in ("a", "b", "c"):
        store.put(key, b"")
    listing = store.list()
    assert next(listing).key == "a"
    store.delete("b")
    assert [item.key for item in listing] == ["c"]


def test_folders_that_vanish_during_a_listing_do_not_end_it(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("checkpoints/keep/COMMIT", b"k")
    over = threading.Event()

    def come_and_go() -> None:
        number = 0
        while not over.is_set():
            number += 1
            for part in ("a", "b"):
                store.put(f"checkpoints/{number}/deep/{part}", b"x")
            shutil.rmtree(tmp_path / "checkpoints" / str(number))

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(300):
            assert "checkpoints/keep/COMMIT" in [one.key for one in store.list("checkpoints/")]
    finally:
        over.set()
        thread.join(timeout=30.0)


def test_a_home_folder_and_a_relative_path_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert LocalStore(Path("~/x")).uri == LocalStore(Path("x")).uri == str(tmp_path / "x")
