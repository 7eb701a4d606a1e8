"""Shards: memory-mapped Arrow IPC files, and the one table of rows that they form together.

A split's rows are numbered 0 … n-1 across its shards, ordered by checksum; that number is the
sample id, so equal manifest digests mean equal ids. Pictures stay encoded until a worker decodes
them. Remote shards come through a node-local cache whose files carry the checksum as their name;
local ones are mapped where they lie. Every shard is checked against the manifest's sha256 when it
is first opened, and again if its file is another one, or was touched, when it is opened anew.
"""

from __future__ import annotations

import contextlib
import logging
import os
import posixpath
import threading
import uuid
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from visage.data.manifest import Manifest, Shard
from visage.data.records import Split
from visage.errors import CorruptError, DataError, NotFoundError
from visage.store.base import Store, check_key
from visage.store.commit import sha256_of
from visage.store.local import LocalStore
from visage.store.open import open_store

__all__ = ["MANIFEST_NAME", "ROWS_PART", "ShardRows", "load_manifest", "read_shard", "shard_bytes"]

log = logging.getLogger(__name__)
MANIFEST_NAME = "manifest.json"
ROWS_PART = "rows.arrow"
OPEN_SHARDS = 256
LISTED_FROM = 16
"""From so many remote shards on, one listing costs less than a request for each."""
DEFAULT_CACHE_BYTES = 64 << 30


def load_manifest(uri: str) -> tuple[Manifest, Store]:
    """The manifest under a prepared corpus' URI, and the store that its shard paths refer to."""
    store = open_store(uri)
    try:
        body = store.get(MANIFEST_NAME)
    except NotFoundError:
        raise DataError(
            f"{uri}: no {MANIFEST_NAME} there; prepare the corpus first (visage prepare)"
        ) from None
    return Manifest.from_json(body, origin=f"{uri}/{MANIFEST_NAME}"), store


def shard_bytes(table: pa.Table) -> bytes:
    """A table as an Arrow IPC file in one record batch; equal tables give equal bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    body: bytes = sink.getvalue().to_pybytes()
    return body


def read_shard(path: Path) -> pa.Table:
    """Map one shard file; NotFoundError if it is gone, DataError if it is not Arrow IPC."""
    try:
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all()
    except FileNotFoundError:
        raise NotFoundError(f"{path}: no such shard") from None
    except (pa.ArrowInvalid, OSError) as err:
        raise DataError(f"{path}: not a readable shard: {err}") from None


@dataclass(frozen=True, slots=True)
class _Identity:
    """What tells that a file is still the one that was checked, without reading it."""

    inode: int
    size_bytes: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> _Identity:
        found = path.stat()
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)


class ShardRows:
    """Random access to the rows of one split; safe to use from several threads."""

    def __init__(
        self,
        manifest: Manifest,
        store: Store,
        split: Split,
        *,
        cache: Path | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        self._shards: Sequence[Shard] = manifest.of_split(split)
        self._starts = [0]
        for shard in self._shards:
            self._starts.append(self._starts[-1] + shard.rows)
        self._store = store
        self._cache = cache or _default_cache()
        self._cache_bytes = cache_bytes
        self._tables: OrderedDict[int, pa.Table] = OrderedDict()
        self._lock = threading.Lock()
        self._opening: dict[int, threading.Lock] = {}
        self._checked: dict[str, _Identity] = {}

    def __len__(self) -> int:
        """How many rows the split holds."""
        return self._starts[-1]

    @property
    def is_remote(self) -> bool:
        """Whether shards come through the cache of this machine."""
        return not isinstance(self._store, LocalStore)

    @property
    def shards(self) -> int:
        """How many shards the split has."""
        return len(self._shards)

    @property
    def fits_cache(self) -> bool:
        """Whether all shards can lie in the cache at once."""
        return sum(shard.size_bytes for shard in self._shards) <= self._cache_bytes

    def fetch(self, index: int) -> None:
        """Bring one remote shard to this machine, if it is not here; raises what reading it would.

        It is checked again when it is opened, and is not opened here.
        """
        shard = self._shards[index]
        target = self._cache / f"{shard.sha256}.arrow"
        if self.is_remote and not target.exists():
            self._fetched(shard, target)

    def check(self) -> None:
        """Refuse at the start what would fail in the middle: every shard exists with its size."""
        sizes = self._sizes()
        for shard in self._shards:
            size_bytes = sizes.get(shard.path)
            if size_bytes is None:
                raise DataError(
                    f"{self._store.uri}/{shard.path}: listed in the manifest, but missing; restore "
                    "it, or delete its folder and run visage prepare again"
                )
            if size_bytes != shard.size_bytes:
                raise CorruptError(
                    f"{self._store.uri}/{shard.path}: {size_bytes} bytes, the manifest says "
                    f"{shard.size_bytes}; restore it, or delete its folder and run visage prepare "
                    "again"
                )

    def row(self, sample: int, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """One row as plain Python values; of a mapped shard only `columns` are read."""
        if not 0 <= sample < len(self):
            raise DataError(f"sample {sample} is outside 0 … {len(self) - 1}")
        index = bisect_right(self._starts, sample) - 1
        table = self._table(index)
        if columns is not None:
            table = table.select(columns)
        row: dict[str, Any] = table.slice(sample - self._starts[index], 1).to_pylist()[0]
        return row

    def column(self, name: str) -> list[Any]:
        """One column over all rows, in sample order; for small columns such as labels and keys."""
        values: list[Any] = []
        for index in range(len(self._shards)):
            values.extend(self._table(index).column(name).to_pylist())
        return values

    def _sizes(self) -> dict[str, int]:
        """Sizes of the shards that are there; remote ones are listed, a thousand by request."""
        if isinstance(self._store, LocalStore) or len(self._shards) < LISTED_FROM:
            found = (self._store.stat(shard.path) for shard in self._shards)
            return {one.key: one.size_bytes for one in found if one is not None}
        folder = posixpath.commonpath([posixpath.dirname(one.path) for one in self._shards])
        listed = self._store.list(f"{folder}/" if folder else "")
        return {one.key: one.size_bytes for one in listed}

    def _table(self, index: int) -> pa.Table:
        """An open shard; different ones are fetched, checked and mapped beside each other."""
        with self._lock:
            table = self._known(index)
            if table is not None:
                return table
            opening = self._opening.setdefault(index, threading.Lock())
        with opening:
            with self._lock:
                table = self._known(index)
            if table is not None:  # another thread was quicker
                return table
            table = self._open(self._shards[index])
            with self._lock:
                self._tables[index] = table
                self._opening.pop(index, None)
                if len(self._tables) > OPEN_SHARDS:
                    self._tables.popitem(last=False)
            return table

    def _known(self, index: int) -> pa.Table | None:
        if index in self._tables:
            self._tables.move_to_end(index)
        return self._tables.get(index)

    def _open(self, shard: Shard) -> pa.Table:
        table = self._mapped(shard) if isinstance(self._store, LocalStore) else self._cached(shard)
        if table.num_rows != shard.rows:
            raise DataError(f"{shard.path}: {table.num_rows} rows, the manifest says {shard.rows}")
        return table

    def _mapped(self, shard: Shard) -> pa.Table:
        path = Path(self._store.uri) / check_key(shard.path)
        if not path.is_file():
            raise DataError(f"{path}: listed in the manifest, but missing")
        identity = _Identity.of(path)
        if self._checked.get(shard.path) != identity:
            if sha256_of(path) != shard.sha256:
                raise self._changed(shard)
            self._checked[shard.path] = identity
        return read_shard(path)

    def _cached(self, shard: Shard) -> pa.Table:
        target = self._cache / f"{shard.sha256}.arrow"
        table = self._read_if_whole(target, shard)
        return self._fetched(shard, target) if table is None else table

    def _read_if_whole(self, cached: Path, shard: Shard) -> pa.Table | None:
        """A cached shard, or None if it is not there, was just evicted, or is damaged."""
        try:
            is_checked = self._checked.get(shard.path) == _Identity.of(cached)
            if is_checked or sha256_of(cached) == shard.sha256:
                table = read_shard(cached)
                os.utime(cached)
                self._checked[shard.path] = _Identity.of(cached)
                return table
        except (FileNotFoundError, NotFoundError):
            return None
        log.warning("%s: damaged in the cache; fetched again", shard.path)
        cached.unlink(missing_ok=True)
        return None

    def _fetched(self, shard: Shard, target: Path) -> pa.Table:
        self._make_room(shard.size_bytes)
        log.info("fetching shard %s", shard.path)
        arriving = target.with_name(f"{uuid.uuid4().hex}.arriving")
        try:
            self._store.download(shard.path, arriving)
            if sha256_of(arriving) != shard.sha256:
                raise self._changed(shard)
            table = read_shard(arriving)  # before another process can see and evict it
            self._checked[shard.path] = _Identity.of(arriving)
            arriving.replace(target)
            return table
        except NotFoundError:
            raise DataError(
                f"{self._store.uri}/{shard.path}: listed in the manifest, but missing"
            ) from None
        finally:
            arriving.unlink(missing_ok=True)

    def _changed(self, shard: Shard) -> CorruptError:
        return CorruptError(
            f"{self._store.uri}/{shard.path}: changed after the manifest was written (expected "
            f"sha256 {shard.sha256[:12]}…); restore the file, or delete its folder and run "
            "visage prepare again"
        )

    def _make_room(self, size_bytes: int) -> None:
        """Forget the longest unused shards; a mapped file stays readable after its name is gone."""
        self._cache.mkdir(parents=True, exist_ok=True)
        files = sorted(_used_files(self._cache))
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total + size_bytes <= self._cache_bytes:
                return
            total -= size
            path.unlink(missing_ok=True)


def _used_files(cache: Path) -> Iterator[tuple[float, int, Path]]:
    """Last use, size and path of the cached shards; other processes evict at the same time."""
    for path in cache.glob("*.arrow"):
        with contextlib.suppress(FileNotFoundError):
            found = path.stat()
            yield found.st_mtime, found.st_size, path


def _default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "visage" / "shards"
