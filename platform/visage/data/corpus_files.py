"""The files of a corpus, in a local folder or under s3://.

Readers see names, small texts and versions; decoders see a local folder with the files they ask
for. So nothing behind this module knows where a corpus lies, and no decoder talks to the network.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Protocol

from visage.errors import NotFoundError
from visage.store.base import Stat, Store
from visage.store.open import open_store

__all__ = ["CorpusFiles", "LocalFiles", "StoreFiles", "open_files"]

FETCHES = 16


class CorpusFiles(Protocol):
    """Files under one root."""

    @property
    def uri(self) -> str:
        """The root: an absolute path or s3://bucket/prefix."""
        ...

    def read(self, path: str, *, limit: int | None = None) -> bytes:
        """A file, or its first `limit` bytes and perhaps more; NotFoundError if it is not there."""
        ...

    def version(self, path: str) -> tuple[int, str | int] | None:
        """Size and what changes with the content; None if it is not there. Nothing is read."""
        ...

    def at_hand(self, paths: Sequence[str]) -> AbstractContextManager[Path]:
        """A local folder that holds these files, as far as they exist, at their relative paths."""
        ...

    def parent(self) -> CorpusFiles | None:
        """The folder around the root, if there is one."""
        ...


class LocalFiles:
    """Files under a local folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser()

    @property
    def uri(self) -> str:
        """The folder."""
        return str(self.root)

    def read(self, path: str, *, limit: int | None = None) -> bytes:
        """The file's first bytes, or all."""
        try:
            with (self.root / path).open("rb") as file:
                return file.read(-1 if limit is None else limit)
        except OSError as err:
            raise NotFoundError(f"{self.root / path}: {err.strerror}") from None

    def version(self, path: str) -> tuple[int, str | int] | None:
        """Size and time of change."""
        try:
            found = (self.root / path).stat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns

    @contextmanager
    def at_hand(self, paths: Sequence[str]) -> Iterator[Path]:
        """The folder itself."""
        yield self.root

    def parent(self) -> LocalFiles:
        """The folder around it."""
        return LocalFiles(self.root.parent)


class StoreFiles:
    """Files under a prefix of an object store, listed once."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def uri(self) -> str:
        """The prefix."""
        return self._store.uri

    @cached_property
    def listing(self) -> dict[str, Stat]:
        """Every object by its relative path; the names of folders, which some tools make, not."""
        return {item.key: item for item in self._store.list() if not item.key.endswith("/")}

    def read(self, path: str, *, limit: int | None = None) -> bytes:
        """The whole object."""
        return self._store.get(path)

    def version(self, path: str) -> tuple[int, str | int] | None:
        """Size and ETag, as the listing says."""
        found = self.listing.get(path)
        return None if found is None else (found.size_bytes, found.version)

    @contextmanager
    def at_hand(self, paths: Sequence[str]) -> Iterator[Path]:
        """A temporary folder on this node, filled by a few downloads at a time."""
        with tempfile.TemporaryDirectory(prefix="visage-corpus-") as folder:
            self._fetch(paths, Path(folder))
            yield Path(folder)

    def parent(self) -> StoreFiles | None:
        """The prefix around it; None at the bucket's root."""
        around, _, name = self.uri.removeprefix("s3://").rpartition("/")
        return StoreFiles(open_store(f"s3://{around}")) if around and name else None

    def _fetch(self, paths: Iterable[str], folder: Path) -> None:
        def fetch(path: str) -> None:
            with suppress(NotFoundError):  # deleted since it was listed: whoever decodes it says so
                self._store.download(path, folder / path)

        with ThreadPoolExecutor(FETCHES, thread_name_prefix="corpus") as pool:
            for _ in pool.map(fetch, dict.fromkeys(paths)):
                pass


def open_files(root: str | Path) -> LocalFiles | StoreFiles:
    """The files under a folder or an s3:// prefix; SpecError for any other scheme."""
    text = os.fspath(root)
    if "://" not in text:
        return LocalFiles(Path(text))
    if text.startswith("file://"):
        return LocalFiles(Path(text.removeprefix("file://")))
    return StoreFiles(open_store(text))
