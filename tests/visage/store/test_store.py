"""The contract of a store, the same for a folder and for a real S3 server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from visage.errors import AlreadyExistsError, NotFoundError, SpecError, StoreError
from visage.store.base import Stat, Store
from visage.store.local import LocalStore
from visage.store.open import open_store

LEAVING = ["", "/a", "../a", "a/../b", "a//b", "a/", "./a", "a\\b", "..", "a/.."]


def test_what_was_put_is_got_back(store: Store) -> None:
    store.put("folder/name.bin", b"body")
    assert store.get("folder/name.bin") == b"body"


def test_an_empty_object_is_an_object(store: Store) -> None:
    store.put("empty", b"")
    assert store.get("empty") == b""
    assert store.stat("empty") == Stat(key="empty", size_bytes=0)


def test_names_with_spaces_and_umlauts_come_back_as_they_were(store: Store) -> None:
    store.put("Größe 1/ü+%20&.bin", b"body")
    assert store.get("Größe 1/ü+%20&.bin") == b"body"
    assert [item.key for item in store.list()] == ["Größe 1/ü+%20&.bin"]


def test_putting_twice_is_refused_and_the_first_body_stays(store: Store) -> None:
    store.put("key", b"first")
    with pytest.raises(AlreadyExistsError, match="key"):
        store.put("key", b"second")
    assert store.get("key") == b"first"


def test_replace_creates_and_replaces(store: Store) -> None:
    store.replace("pointer", b"one")
    store.replace("pointer", b"two")
    assert store.get("pointer") == b"two"


def test_an_uploaded_file_is_downloaded_unchanged(store: Store, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x" * 100_000)
    store.upload("a/file", tmp_path / "source")
    store.download("a/file", tmp_path / "new folder" / "target")
    assert (tmp_path / "new folder" / "target").read_bytes() == b"x" * 100_000


def test_uploading_over_an_object_is_refused_and_the_object_stays(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(b"second")
    store.put("key", b"first")
    with pytest.raises(AlreadyExistsError):
        store.upload("key", tmp_path / "source")
    assert store.get("key") == b"first"


def test_a_download_replaces_the_target_and_leaves_nothing_else(
    store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "target"
    folder.mkdir()
    (folder / "file").write_bytes(b"old")
    store.put("key", b"new")
    store.download("key", folder / "file")
    assert [(one.name, one.read_bytes()) for one in folder.iterdir()] == [("file", b"new")]


def test_what_is_not_there_is_not_found(store: Store, tmp_path: Path) -> None:
    store.put("folder/name", b"body")
    for key in ("absent", "folder", "folder/name/deeper"):
        with pytest.raises(NotFoundError, match=key):
            store.get(key)
        with pytest.raises(NotFoundError):
            store.download(key, tmp_path / "target")
        assert store.stat(key) is None
    assert list(tmp_path.glob("target*")) == []
    assert list(tmp_path.glob(".tmp*")) == []


def test_a_listing_is_in_key_order_and_states_sizes(store: Store) -> None:
    keys = ["b", "a/2", "a/10", "a.b", "a-b", "Z", "a/1/x", "ä"]
    for key in keys:
        store.put(key, key.encode())
    expected = [Stat(key=key, size_bytes=len(key.encode())) for key in sorted(keys)]
    assert list(store.list()) == expected


def test_a_listing_takes_a_prefix_of_the_key_not_only_folders(store: Store) -> None:
    for key in ("run/1", "run/10", "run/2", "runs/1", "other"):
        store.put(key, b"")
    assert [item.key for item in store.list("run/1")] == ["run/1", "run/10"]
    assert [item.key for item in store.list("run/")] == ["run/1", "run/10", "run/2"]
    assert [item.key for item in store.list("run")] == ["run/1", "run/10", "run/2", "runs/1"]
    assert list(store.list("absent/")) == []


def test_an_empty_store_lists_nothing(store: Store) -> None:
    assert list(store.list()) == []


def test_a_deleted_object_is_gone_and_its_key_is_free(store: Store) -> None:
    store.put("a/key", b"first")
    store.delete("a/key")
    assert store.stat("a/key") is None
    store.put("a/key", b"second")
    assert store.get("a/key") == b"second"


def test_deleting_what_is_not_there_is_no_error(store: Store) -> None:
    store.put("folder/name", b"body")
    for key in ("absent", "folder", "folder/name/deeper"):
        store.delete(key)
    assert store.get("folder/name") == b"body"


def test_a_deeper_root_sees_its_own_keys_only(store: Store) -> None:
    store.put("outside", b"")
    deeper = store.at("runs/one")
    deeper.put("key", b"body")
    assert store.get("runs/one/key") == b"body"
    assert [item.key for item in deeper.list()] == ["key"]
    assert deeper.uri == f"{store.uri}/runs/one"


def test_the_uri_opens_the_same_store(store: Store) -> None:
    store.put("key", b"body")
    assert open_store(store.uri).get("key") == b"body"


@pytest.mark.parametrize("key", LEAVING)
def test_keys_that_could_leave_the_root_are_refused(key: str, store: Store, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"")
    uses: list[Callable[[], object]] = [
        lambda: store.get(key),
        lambda: store.put(key, b""),
        lambda: store.replace(key, b""),
        lambda: store.upload(key, tmp_path / "source"),
        lambda: store.download(key, tmp_path / "target"),
        lambda: store.stat(key),
        lambda: store.delete(key),
        lambda: store.at(key),
    ]
    for use in uses:
        with pytest.raises(StoreError, match="keys are relative paths"):
            use()


@pytest.mark.parametrize("prefix", ["../", "../outside/", "a/../../outside/", "/"])
def test_a_listing_cannot_leave_the_root(prefix: str, store: Store) -> None:
    (store.at("x") if isinstance(store, LocalStore) else store).put("inside", b"")
    outside = open_store(store.uri.rpartition("/")[0] + "/outside")
    outside.replace("secret", b"")
    with pytest.raises(StoreError, match="prefix"):
        list(store.list(prefix))


def test_of_many_writers_at_once_exactly_one_wins_and_its_body_stands(store: Store) -> None:
    # The test server takes half a second for each of two writers who meet: fewer of them there.
    writers = 16 if isinstance(store, LocalStore) else 6
    start = threading.Barrier(writers)
    outcomes: list[tuple[int, bool]] = []

    def write(number: int) -> None:
        start.wait(timeout=30)
        try:
            store.put("contested", str(number).encode() * 1000)
            outcomes.append((number, True))
        except AlreadyExistsError:
            outcomes.append((number, False))

    _run_at_once([lambda n=n: write(n) for n in range(writers)])  # type: ignore[misc]
    winners = [number for number, won in outcomes if won]
    assert (len(outcomes), len(winners)) == (writers, 1)
    assert store.get("contested") == str(winners[0]).encode() * 1000


def test_a_reader_never_sees_half_an_object(store: Store) -> None:
    bodies = {bytes([65 + number]) * 300_000 for number in range(8)}
    store.replace("pointer", min(bodies))
    done = threading.Event()
    torn: list[int] = []

    def read() -> None:
        while not done.is_set():
            body = store.get("pointer")
            if body not in bodies:
                torn.append(len(body))

    def write() -> None:
        for body in sorted(bodies):
            store.replace("pointer", body)
        done.set()

    _run_at_once([write, read, read])
    assert torn == []


@pytest.mark.parametrize("uri", ["gs://bucket/x", "http://host/x", "s3://", "s3:///prefix"])
def test_uris_of_other_kinds_are_refused_with_what_to_write(uri: str) -> None:
    with pytest.raises(SpecError, match="s3://"):
        open_store(uri)


def test_a_file_uri_is_the_folder(tmp_path: Path) -> None:
    open_store(str(tmp_path)).put("key", b"body")
    assert open_store(f"file://{tmp_path}").get("key") == b"body"


def _run_at_once(works: list[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
