"""The one commit protocol: parts first, under names of their own content; a marker last.

    <prefix>/model.3fa9c1d2e4f5.safetensors     each part carries its checksum in its name, so a
    <prefix>/state.90ab12cd34ef.json            killed writer's leftovers never clash with the next
    <prefix>/COMMIT                             JSON: part name -> path, sha256, size; put-if-absent

Invariant: readers trust only the marker. Of two writers of one prefix exactly one publishes; the
other gets the winner's commit if the parts are equal, and AlreadyExistsError if they differ.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from visage.errors import AlreadyExistsError, CorruptError, NotFoundError
from visage.faultpoints import fault_point
from visage.store.base import Store

__all__ = [
    "MARKER",
    "Commit",
    "Part",
    "commit",
    "copy_commit",
    "fetch_part",
    "read_commit",
    "read_part",
    "sha256_of",
]

MARKER = "COMMIT"
COMMIT_SCHEMA = "visage.commit/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One published file."""

    path: str
    """Relative to the commit's prefix."""
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What a marker says."""

    parts: dict[str, Part]
    metadata: dict[str, Any] = field(default_factory=dict)

    def digest(self) -> str:
        """Identity of the content: names and checksums of all parts."""
        rows = sorted(f"{name}:{part.sha256}" for name, part in self.parts.items())
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def to_json(self) -> bytes:
        """The persisted marker."""
        body = {
            "schema": COMMIT_SCHEMA,
            "parts": {name: asdict(part) for name, part in self.parts.items()},
            "metadata": self.metadata,
        }
        return json.dumps(body, sort_keys=True, indent=1).encode()


def commit(
    store: Store,
    prefix: str,
    parts: Mapping[str, bytes | Path],
    *,
    metadata: Mapping[str, Any] | None = None,
) -> Commit:
    """Publish parts under a prefix so that readers see all of them or none.

    Raises:
        AlreadyExistsError: another commit with different parts stands there.
    """
    fault_point("commit.before_parts")
    published = {}
    for name, body in sorted(parts.items()):
        published[name] = _put_part(store, prefix, name, body)
        fault_point("commit.between_parts")
    made = Commit(parts=published, metadata=dict(metadata or {}))
    fault_point("commit.before_marker")
    try:
        store.put(f"{prefix}/{MARKER}", made.to_json())
    except AlreadyExistsError:
        standing = read_commit(store, prefix)
        if standing is None or standing.parts != made.parts:
            raise AlreadyExistsError(
                f"{store.uri}/{prefix}: another commit with other content stands there"
            ) from None
        return standing
    fault_point("commit.after_marker")
    return made


def copy_commit(source: Store, source_prefix: str, store: Store, prefix: str) -> Commit:
    """Publish what stands elsewhere under this prefix too, every part checked on the way.

    Raises:
        NotFoundError: nothing was published there.
        CorruptError: a part is missing or damaged.
        AlreadyExistsError: something else stands under the prefix.
    """
    found = read_commit(source, source_prefix)
    if found is None:
        raise NotFoundError(f"{source.uri}/{source_prefix}: nothing was published there")
    parts = {name: read_part(source, source_prefix, name) for name in found.parts}
    return commit(store, prefix, parts, metadata=found.metadata)


def read_commit(store: Store, prefix: str) -> Commit | None:
    """The commit under a prefix, or None if nothing was published there."""
    try:
        body = store.get(f"{prefix}/{MARKER}")
    except NotFoundError:
        return None
    try:
        values = json.loads(body)
        if values["schema"] != COMMIT_SCHEMA:
            raise CorruptError(f"{store.uri}/{prefix}: unknown commit schema {values['schema']!r}")
        parts = {name: Part(**part) for name, part in values["parts"].items()}
        return Commit(parts=parts, metadata=values["metadata"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CorruptError(f"{store.uri}/{prefix}/{MARKER}: the marker is damaged") from None


def read_part(store: Store, prefix: str, name: str) -> bytes:
    """One part's bytes, checked against the marker; CorruptError or NotFoundError otherwise."""
    part = _part(store, prefix, name)
    where = f"{store.uri}/{prefix}/{part.path}"
    try:
        body = store.get(f"{prefix}/{part.path}")
    except NotFoundError:
        raise CorruptError(f"{where}: published, but missing") from None
    if hashlib.sha256(body).hexdigest() != part.sha256:
        raise CorruptError(f"{where}: bytes do not match the published sha256 {part.sha256[:12]}…")
    return body


def fetch_part(store: Store, prefix: str, name: str, target: Path) -> Path:
    """Download one part to a file and check it; the file appears only if it is whole."""
    part = _part(store, prefix, name)
    where = f"{store.uri}/{prefix}/{part.path}"
    # One name for each call: several ranks of a node may fetch the same part at once.
    arriving = target.with_name(f"{target.name}.{uuid.uuid4().hex}.arriving")
    try:
        store.download(f"{prefix}/{part.path}", arriving)
        if sha256_of(arriving) != part.sha256:
            raise CorruptError(
                f"{where}: bytes do not match the published sha256 {part.sha256[:12]}…"
            )
        return arriving.replace(target)
    except NotFoundError:
        raise CorruptError(f"{where}: published, but missing") from None
    finally:
        arriving.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _part(store: Store, prefix: str, name: str) -> Part:
    found = read_commit(store, prefix)
    if found is None:
        raise NotFoundError(f"{store.uri}/{prefix}: nothing was published there")
    if name not in found.parts:
        raise NotFoundError(f"{store.uri}/{prefix}: the commit has no part {name!r}")
    return found.parts[name]


def _put_part(store: Store, prefix: str, name: str, body: bytes | Path) -> Part:
    if isinstance(body, Path):
        digest, size_bytes = sha256_of(body), body.stat().st_size
    else:
        digest, size_bytes = hashlib.sha256(body).hexdigest(), len(body)
    pure = PurePosixPath(name)
    path = str(pure.with_name(f"{pure.stem}.{digest[:12]}{pure.suffix}"))
    try:
        if isinstance(body, Path):
            store.upload(f"{prefix}/{path}", body)
        else:
            store.put(f"{prefix}/{path}", body)
    except AlreadyExistsError:
        pass  # the name is the content's checksum: a former try wrote the same bytes
    return Part(path=path, sha256=digest, size_bytes=size_bytes)
