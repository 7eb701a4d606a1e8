"""Shards and their manifest: rows over borders, a bounded cache, no change unseen."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from corpora import write_corpus

from visage.data import shard_writer as shard_writer_module
from visage.data import shards as shards_module
from visage.data.manifest import Manifest, Shard
from visage.data.prefetch import Prefetch
from visage.data.shard_writer import ShardWriter
from visage.data.shards import MANIFEST_NAME, ShardRows, load_manifest, read_shard, shard_bytes
from visage.errors import CorruptError, DataError, StoreUnavailableError
from visage.store.base import Stat
from visage.store.local import LocalStore

SCHEMA = pa.schema([("key", pa.string()), ("images", pa.list_(pa.binary()))])


class _Remote:
    """A store that is not a local folder, as far as anyone can tell; counts downloads."""

    def __init__(self, folder: Path | str) -> None:
        self._store = LocalStore(Path(folder))
        self.downloads: list[str] = []
        self.before_download: Callable[[], object] = lambda: None

    @property
    def uri(self) -> str:
        return "remote://bucket"

    def download(self, key: str, target: Path) -> None:
        self.before_download()
        self.downloads.append(key)
        self._store.download(key, target)

    def stat(self, key: str) -> Stat | None:
        return self._store.stat(key)

    def get(self, key: str) -> bytes:
        return self._store.get(key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """42 rows of train in shards of 5."""
    return Path(
        write_corpus(tmp_path_factory.mktemp("made") / "x", rows_per_shard=5, val=3, test=0)
    )


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(made, tmp_path / "data"))


def _manifest(folder: Path) -> Manifest:
    return load_manifest(str(folder))[0]


def _rows(folder: Path, *, store: Any = None, **options: Any) -> ShardRows:
    manifest, local = load_manifest(str(folder))
    return ShardRows(manifest, store or local, "train", **options)


def _edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> str:
    values = json.loads((folder / MANIFEST_NAME).read_text())
    change(values)
    (folder / MANIFEST_NAME).write_text(json.dumps(values))
    return str(folder)


def test_every_row_is_reached_once_across_shard_borders(made: Path) -> None:
    rows = _rows(made)
    keys = [rows.row(sample)["key"] for sample in range(len(rows))]
    assert sorted(keys) == [f"train/{index:05d}" for index in range(42)]
    assert rows.column("key") == keys


def test_a_row_beyond_the_last_is_refused_with_the_range(made: Path) -> None:
    for sample in (-1, 42):
        with pytest.raises(DataError, match="outside 0 … 41"):
            _rows(made).row(sample)


def test_an_empty_split_has_no_rows(made: Path) -> None:
    manifest, store = load_manifest(str(made))
    rows = ShardRows(manifest, store, "test")
    rows.check()
    assert (len(rows), rows.column("key")) == (0, [])


def test_equal_tables_give_equal_bytes_however_they_are_chunked() -> None:
    table = pa.table({"x": list(range(10))})
    pieces = pa.concat_tables([table.slice(0, 3), table.slice(3)])
    assert shard_bytes(pieces) == shard_bytes(table)


def _written(folder: Path, rows: list[dict[str, object]]) -> bytes:
    with (folder / "rows.arrow").open("wb") as file:
        writer = ShardWriter(file, SCHEMA)
        for row in rows:
            writer.add(row)
        writer.close()
    return (folder / "rows.arrow").read_bytes()


def test_rows_written_one_by_one_give_the_bytes_of_their_table(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"key": str(n), "images": [b"a" * n, b"b"]} for n in range(9)]
    assert _written(tmp_path, rows) == shard_bytes(pa.Table.from_pylist(rows, schema=SCHEMA))
    empty = pa.Table.from_pylist([], schema=SCHEMA)
    assert pa.ipc.open_file(_written(tmp_path, [])).read_all() == empty


def test_rows_that_are_too_many_for_one_batch_are_written_in_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offsets of a batch reach 2 GiB: a shard of twenty minutes of clips was more than that."""
    monkeypatch.setattr(shard_writer_module, "BATCH_BYTES", 1000)
    rows: list[dict[str, object]] = [{"key": "k", "images": [b"x" * 300]} for _ in range(10)]
    rows.insert(4, {"key": "large", "images": [b"y" * 700, b"z" * 700]})
    with pa.ipc.open_file(_written(tmp_path, rows)) as file:
        batches = [file.get_batch(index) for index in range(file.num_record_batches)]
    assert [batch.num_rows for batch in batches] == [3, 1, 1, 3, 3]
    assert pa.Table.from_batches(batches).to_pylist() == rows


def test_a_sample_id_names_the_same_row_in_whatever_order_the_shards_are_listed(
    data: Path, made: Path
) -> None:
    _edited(data, lambda values: values["shards"].reverse())
    assert _manifest(data).digest() == _manifest(made).digest()
    assert _rows(data).column("key") == _rows(made).column("key")


def test_a_whole_corpus_passes_the_check_at_the_start(made: Path) -> None:
    _rows(made).check()


def test_a_missing_shard_is_found_at_the_start(data: Path) -> None:
    victim = _manifest(data).of_split("train")[3]
    (data / victim.path).unlink()
    with pytest.raises(DataError, match=f"{victim.path}: listed in the manifest, but missing"):
        _rows(data).check()


def test_a_shard_of_another_size_is_found_at_the_start(data: Path) -> None:
    victim = _manifest(data).of_split("train")[3]
    with (data / victim.path).open("ab") as file:
        file.write(b"x")
    with pytest.raises(CorruptError, match=f"the manifest says {victim.size_bytes}"):
        _rows(data).check()


@pytest.mark.parametrize("remote", [False, True])
def test_a_changed_shard_is_found_when_it_is_first_opened_not_before(
    remote: bool, data: Path, tmp_path: Path
) -> None:
    manifest = _manifest(data)
    path = data / manifest.of_split("train")[1].path
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)
    store = _Remote(data) if remote else LocalStore(data)
    rows = _rows(data, store=store, cache=tmp_path / "cache")
    assert rows.row(0)
    with pytest.raises(CorruptError, match=f"{path.name}: changed after the manifest was written"):
        rows.row(manifest.of_split("train")[0].rows)


def test_a_file_that_is_no_shard_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "rows.arrow").write_bytes(b"no arrow")
    with pytest.raises(DataError, match=r"rows\.arrow: not a readable shard"):
        read_shard(tmp_path / "rows.arrow")


def test_a_shard_with_other_rows_than_promised_is_refused(made: Path) -> None:
    manifest, store = load_manifest(str(made))
    shards = tuple(replace(shard, rows=shard.rows + 1) for shard in manifest.shards)
    rows = ShardRows(replace(manifest, shards=shards), store, "train")
    with pytest.raises(DataError, match="rows, the manifest says"):
        rows.row(0)


def test_remote_shards_are_fetched_once_and_the_next_process_finds_them(
    made: Path, tmp_path: Path
) -> None:
    first, second = _Remote(made), _Remote(made)
    rows = _rows(made, store=first, cache=tmp_path / "cache")
    assert rows.column("key") == _rows(made).column("key")
    rows.row(7)
    assert len(first.downloads) == 9
    _rows(made, store=second, cache=tmp_path / "cache").column("key")
    assert second.downloads == []


def test_a_split_that_was_fetched_ahead_is_read_though_the_store_has_gone(
    made: Path, tmp_path: Path
) -> None:
    store = _Remote(made)
    rows = _rows(made, store=store, cache=tmp_path / "cache")
    assert Prefetch([rows], rank=1, world=2).join(30.0)
    assert sorted(store.downloads) == sorted({shard.path for shard in rows._shards})

    def gone() -> None:
        raise StoreUnavailableError("the store is away")

    store.before_download = gone
    assert rows.column("key") == _rows(made).column("key")


def test_fetching_ahead_stops_when_asked_leaves_large_splits_alone_and_never_raises(
    made: Path, tmp_path: Path
) -> None:
    large = _Remote(made)
    rows = _rows(made, store=large, cache=tmp_path / "large", cache_bytes=100)
    assert Prefetch([rows]).join(30.0)
    assert large.downloads == []
    away = _Remote(made)

    def gone() -> None:
        raise StoreUnavailableError("the store is away")

    away.before_download = gone
    assert Prefetch([_rows(made, store=away, cache=tmp_path / "away")]).join(30.0)
    assert Prefetch([_rows(made)]).join(0.0)  # nothing to do for shards of this machine
    slow = _Remote(made)
    ahead: list[Prefetch] = []
    slow.before_download = lambda: ahead[0].close() if ahead else None
    ahead.append(Prefetch([_rows(made, store=slow, cache=tmp_path / "slow")]))
    assert ahead[0].join(30.0)
    assert len(slow.downloads) <= 2


def test_the_cache_keeps_its_bound_and_forgets_what_was_longest_unused(
    made: Path, tmp_path: Path
) -> None:
    cache, store = tmp_path / "cache", _Remote(made)
    shards = _manifest(made).of_split("train")
    bound = sum(sorted(shard.size_bytes for shard in shards)[-3:])
    rows = _rows(made, store=store, cache=cache, cache_bytes=bound)
    for index in range(len(shards)):
        rows.row(index * 5)
        _backdate(cache)
        # Reading the first one again, as another process would, keeps it in.
        first = _rows(made, store=store, cache=cache, cache_bytes=bound)
        assert first.row(0)["key"] == rows.row(0)["key"]
        assert sum(path.stat().st_size for path in cache.iterdir()) <= bound
    assert store.downloads.count(shards[0].path) == 1
    assert rows.column("key") == _rows(made).column("key")  # forgotten files stay readable


def test_of_too_many_open_shards_the_longest_unused_is_closed(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(shards_module, "OPEN_SHARDS", 2)
    monkeypatch.setattr(
        shards_module, "read_shard", lambda path: opened.append(path.name) or read_shard(path)
    )
    rows = _rows(made)
    for sample in (0, 5, 0, 10, 0, 5):  # shards 0 1 0 2 0 1: only shard 1 is opened again
        rows.row(sample)
    assert len(opened) == 4
    assert opened[1] == opened[3]


def test_a_damaged_file_in_the_cache_is_fetched_again(
    made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache, store = tmp_path / "cache", _Remote(made)
    _rows(made, store=store, cache=cache).row(0)
    (cached,) = cache.iterdir()
    cached.write_bytes(cached.read_bytes()[:-100])
    assert _rows(made, store=store, cache=cache).row(0)
    assert "damaged in the cache" in caplog.text
    assert len(store.downloads) == 2


def test_processes_that_evict_each_other_all_the_time_still_read(
    made: Path, tmp_path: Path
) -> None:
    expected = _rows(made).column("key")
    got: list[list[str]] = []

    def read() -> None:
        rows = _rows(made, store=_Remote(made), cache=tmp_path / "cache", cache_bytes=30_000)
        got.append(rows.column("key"))

    threads = [threading.Thread(target=read, daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert got == [expected] * 6


def test_a_remote_shard_that_vanished_is_named(data: Path, tmp_path: Path) -> None:
    rows = _rows(data, store=_Remote(data), cache=tmp_path / "cache")
    victim = _manifest(data).of_split("train")[0]
    (data / victim.path).unlink()
    with pytest.raises(DataError, match=f"{victim.path}: listed in the manifest, but missing"):
        rows.row(0)


def test_shards_are_read_from_a_real_s3_server(s3_uri: str, tmp_path: Path) -> None:
    uri = write_corpus(s3_uri, train=7, val=0, test=0, rows_per_shard=4)
    manifest, store = load_manifest(uri)
    rows = ShardRows(manifest, store, "train", cache=tmp_path / "cache")
    rows.check()
    assert len(set(rows.column("key"))) == 7


def test_threads_may_share_the_rows(made: Path, tmp_path: Path) -> None:
    store = _Remote(made)
    rows = _rows(made, store=store, cache=tmp_path / "cache")
    expected = _rows(made).column("key")
    wrong: list[int] = []

    def read() -> None:
        wrong.extend(n for n in range(42) if rows.row(n)["key"] != expected[n])

    threads = [threading.Thread(target=read, daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert wrong == []
    assert len(store.downloads) == 9


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "a/../../secret", "c:\\x", "a\\..\\x", "", "a//b"]
)
def test_a_manifest_whose_shard_leaves_its_folder_is_refused(path: str, data: Path) -> None:
    uri = _edited(data, lambda values: values["shards"][0].update(path=path))
    with pytest.raises(DataError, match="leaves the manifest's folder"):
        load_manifest(uri)


def test_a_checksum_that_would_name_a_file_outside_the_cache_is_refused(data: Path) -> None:
    uri = _edited(data, lambda values: values["shards"][0].update(sha256="../../evil"))
    with pytest.raises(DataError, match="no SHA-256"):
        load_manifest(uri)


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a shard left out": lambda values: values["shards"].pop(),
    "a shard listed twice": lambda values: values["shards"].append(values["shards"][0]),
    "other classes": lambda values: values["classes"].reverse(),
    "other rows": lambda values: values["shards"][0].update(rows=4),
    "another checksum": lambda values: values["shards"][0].update(sha256="0" * 64),
    "another split": lambda values: values["shards"][0].update(split="test"),
    "another kind": lambda values: values.update(kind="emotion/2"),
    "another digest": lambda values: values.update(digest="0" * 64),
    "no digest": lambda values: values.pop("digest"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_manifest_is_refused(edit: str, data: Path) -> None:
    with pytest.raises(DataError, match="was edited"):
        load_manifest(_edited(data, EDITS[edit]))


def _broken() -> Iterator[tuple[str, Callable[[dict[str, Any]], object]]]:
    yield "no shards", lambda values: values.pop("shards")
    yield "no counts", lambda values: values.pop("counts")
    yield "an unknown key", lambda values: values.update(more=1)
    yield "an unknown split", lambda values: values["shards"][0].update(split="dev")
    yield "a path that is no text", lambda values: values["shards"][0].update(path=3)
    yield "rows that are no number", lambda values: values["shards"][0].update(rows="4")
    yield "negative rows", lambda values: values["shards"][0].update(rows=-4)
    yield "shards that are no list", lambda values: values.update(shards=3)
    yield "shards of text", lambda values: values.update(shards=["a"])
    yield "an unknown schema", lambda values: values.update(schema="visage.manifest/9")
    yield "no schema", lambda values: values.pop("schema")


@pytest.mark.parametrize(("what", "edit"), list(_broken()))
def test_a_manifest_of_another_shape_is_refused_with_its_place(
    what: str, edit: Callable[[dict[str, Any]], object], data: Path
) -> None:
    with pytest.raises(DataError, match=f"{data}/{MANIFEST_NAME}"):
        load_manifest(_edited(data, edit))


def test_an_unknown_schema_is_refused_with_both_versions(data: Path) -> None:
    uri = _edited(data, lambda values: values.update(schema="visage.manifest/9"))
    with pytest.raises(DataError, match=r"manifest/9' is not 'visage\.manifest/1'"):
        load_manifest(uri)


def test_a_manifest_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    shard = Shard(path="a", sha256="0" * 64, rows=1, size_bytes=1, split="train")
    whole = Manifest(
        kind="emotion/1", classes=("Anger",), shards=(shard,), settings={}, source={},
        counts={}, rejected={},
    ).to_json()  # fmt: skip
    assert Manifest.from_json(whole, origin="x").shards == (shard,)
    for size in range(len(whole)):
        with pytest.raises(DataError):
            Manifest.from_json(whole[:size], origin="x")


def test_a_folder_that_was_never_prepared_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="visage prepare"):
        load_manifest(str(tmp_path))


def test_the_digest_does_not_depend_on_where_the_shards_lie(made: Path) -> None:
    manifest = _manifest(made)
    values = json.loads(manifest.to_json())
    for number, shard in enumerate(values["shards"]):
        shard["path"] = f"elsewhere/{number}"
    moved = Manifest.from_json(json.dumps(values).encode(), origin="moved")
    assert moved.digest() == manifest.digest()


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _backdate(cache: Path) -> None:
    """Make every cached file look as if it were used an hour ago."""
    for path in cache.iterdir():
        found = path.stat()
        os.utime(path, (found.st_atime - 3600, found.st_mtime - 3600))


@pytest.mark.parametrize("is_remote", [False, True])
def test_a_shard_that_is_opened_again_is_not_read_through_again(
    is_remote: bool, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summed: list[str] = []
    monkeypatch.setattr(shards_module, "OPEN_SHARDS", 1)
    monkeypatch.setattr(
        shards_module, "sha256_of", lambda path: summed.append(path.name) or _sha(path)
    )
    rows = _rows(made, store=_Remote(made) if is_remote else None, cache=tmp_path / "cache")
    for sample in (0, 5, 10) * 4:
        rows.row(sample)
    assert len(summed) == 3


def test_a_shard_that_changes_while_it_is_not_open_is_refused(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards_module, "OPEN_SHARDS", 1)
    rows = _rows(data)
    rows.row(0)
    rows.row(5)
    victim = data / _manifest(data).of_split("train")[0].path
    body = bytearray(victim.read_bytes())
    body[-200] ^= 1
    victim.write_bytes(body)  # its size stays
    os.utime(victim, ns=(0, 0))
    with pytest.raises(CorruptError, match="changed after the manifest was written"):
        rows.row(0)


def test_different_shards_are_fetched_beside_each_other(made: Path, tmp_path: Path) -> None:
    store, both = _Remote(made), threading.Barrier(2, timeout=30)
    store.before_download = both.wait
    rows = _rows(made, store=store, cache=tmp_path / "cache")
    threads = [threading.Thread(target=rows.row, args=(sample,)) for sample in (0, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not both.broken
    assert len(store.downloads) == 2


@pytest.mark.parametrize("listed_from", [1, 100])
def test_missing_and_cut_remote_shards_are_named_whether_asked_for_or_listed(
    listed_from: int, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards_module, "LISTED_FROM", listed_from)
    rows = _rows(data, store=_Remote(data))
    rows.check()
    cut, gone = (data / one.path for one in _manifest(data).of_split("train")[:2])
    gone.unlink()
    with pytest.raises(DataError, match="listed in the manifest, but missing"):
        rows.check()
    gone.write_bytes(b"")
    cut.write_bytes(cut.read_bytes()[:-1])
    with pytest.raises(CorruptError, match="the manifest says"):
        rows.check()
