"""One interface over a local folder and an S3 bucket.

A store is rooted at a URI; keys are relative paths with forward slashes. Writes are atomic: a
reader sees a whole object or none. `put` never replaces an object unless told so by name
(`replace`), which only mutable pointers use.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from visage.errors import StoreError

__all__ = ["Stat", "Store", "check_key", "check_prefix", "join_uri"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """What a listing says of one object."""

    key: str
    size_bytes: int
    version: str = field(default="", compare=False)
    """Changes with the content: the server's ETag, or a file's time of change."""


class Store(Protocol):
    """Bytes under keys, below one root URI."""

    @property
    def uri(self) -> str:
        """The root, without a trailing slash: an absolute path or `s3://bucket/prefix`."""
        ...

    def get(self, key: str) -> bytes:
        """The whole object; NotFoundError if there is none."""
        ...

    def put(self, key: str, body: bytes) -> None:
        """Create the object; AlreadyExistsError if the key is taken (put-if-absent)."""
        ...

    def replace(self, key: str, body: bytes) -> None:
        """Create or replace the object atomically; for mutable pointers only."""
        ...

    def upload(self, key: str, source: Path) -> None:
        """Create the object from a local file, put-if-absent, without loading it whole."""
        ...

    def download(self, key: str, target: Path) -> None:
        """Write the object to a local file atomically, without loading it whole."""
        ...

    def stat(self, key: str) -> Stat | None:
        """Size of the object, or None if there is none."""
        ...

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """All objects whose key starts with the prefix, in key order."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; no error if there is none."""
        ...

    def at(self, prefix: str) -> Store:
        """The same store rooted deeper."""
        ...


def check_key(key: str) -> str:
    """The key itself, or StoreError if it could leave the root."""
    parts = key.split("/")
    if not key or key.startswith("/") or "\\" in key or any(p in ("", ".", "..") for p in parts):
        raise StoreError(f"store key {key!r}: keys are relative paths without '.', '..' or '//'")
    return key


def check_prefix(prefix: str) -> str:
    """The prefix itself, or StoreError if no key below the root can start with it."""
    *folders, _ = prefix.split("/")
    if "\\" in prefix or any(part in ("", ".", "..") for part in folders):
        raise StoreError(f"store prefix {prefix!r}: keys have no '.', '..' or '//' in them")
    return prefix


def join_uri(uri: str, *parts: str) -> str:
    """Join path parts to a URI with single slashes."""
    return "/".join([uri.rstrip("/"), *(part.strip("/") for part in parts)])
