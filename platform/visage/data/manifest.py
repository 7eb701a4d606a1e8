"""The manifest: what training names; it lists shards with checksums and is the data's identity.

Invariant: a manifest is only written after every shard it lists is whole, and never changed; the
digest covers schema, classes and the content of the shards, not their order or place.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from visage.data.records import SPLITS, Split
from visage.errors import DataError

__all__ = ["MANIFEST_SCHEMA", "Manifest", "Shard"]

MANIFEST_SCHEMA = "visage.manifest/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One Arrow IPC file of rows of one split."""

    path: str
    """Relative to the manifest's folder, never leaving it."""
    sha256: str
    rows: int
    size_bytes: int
    split: Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Shards, taxonomy and provenance of one prepared corpus."""

    kind: str
    """Row schema of the shards, for example `emotion/1`."""
    classes: tuple[str, ...]
    shards: tuple[Shard, ...]
    settings: dict[str, Any]
    """The resolved prepare spec."""
    source: dict[str, str]
    """root, layout and digest of the records."""
    counts: dict[str, dict[str, int]]
    """Rows by split and class."""
    rejected: dict[str, int]
    """Rejected records by code."""

    def digest(self) -> str:
        """Identity of the data: the same shards in any order, anywhere, give the same digest."""
        rows = sorted(f"{shard.split}:{shard.sha256}:{shard.rows}" for shard in self.shards)
        text = "\n".join((MANIFEST_SCHEMA, self.kind, *self.classes, *rows))
        return hashlib.sha256(text.encode()).hexdigest()

    def of_split(self, split: Split) -> tuple[Shard, ...]:
        """The shards of one split in an order that the digest decides, as sample ids follow it."""
        mine = (shard for shard in self.shards if shard.split == split)
        return tuple(sorted(mine, key=lambda shard: (shard.sha256, shard.path)))

    def rows(self, split: Split) -> int:
        """How many samples a split holds."""
        return sum(shard.rows for shard in self.of_split(split))

    def to_json(self) -> bytes:
        """The persisted form, versioned by `schema`."""
        body = {"schema": MANIFEST_SCHEMA, **asdict(self), "digest": self.digest()}
        return json.dumps(body, indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, body: bytes, *, origin: str) -> Manifest:
        """Read any supported version; raises DataError for unknown schemas and unsafe paths."""
        try:
            values = json.loads(body)
            schema = values.pop("schema")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError(f"{origin}: not a manifest (JSON with a `schema`)") from None
        if schema != MANIFEST_SCHEMA:
            raise DataError(
                f"{origin}: manifest schema {schema!r} is not {MANIFEST_SCHEMA!r}; "
                "prepare the corpus again with this version"
            )
        return cls._parse(values, origin)

    @classmethod
    def _parse(cls, values: dict[str, Any], origin: str) -> Manifest:
        digest = values.pop("digest", None)
        try:
            shards = tuple(Shard(**shard) for shard in values.pop("shards"))
            classes = tuple(values.pop("classes"))
            manifest = cls(shards=shards, classes=classes, **values)
            for shard in shards:
                _check_shard(shard, origin)
        except (KeyError, TypeError, AttributeError) as err:
            raise DataError(f"{origin}: the manifest is incomplete: {err}") from None
        if digest != manifest.digest():
            raise DataError(f"{origin}: the manifest was edited (its digest does not match)")
        return manifest


def _check_shard(shard: Shard, origin: str) -> None:
    parts = shard.path.split("/")
    if ".." in parts or "" in parts or "\\" in shard.path or ":" in shard.path:
        raise DataError(f"{origin}: shard path {shard.path!r} leaves the manifest's folder")
    if shard.split not in SPLITS:
        raise DataError(f"{origin}: shard {shard.path!r} names the unknown split {shard.split!r}")
    # The checksum becomes a file name in the cache, so it must be one and nothing else.
    if not re.fullmatch("[0-9a-f]{64}", shard.sha256):
        raise DataError(f"{origin}: shard {shard.path!r} has no SHA-256 but {shard.sha256!r}")
    if not all(type(size) is int and size >= 0 for size in (shard.rows, shard.size_bytes)):
        raise DataError(f"{origin}: shard {shard.path!r} has sizes that are no counts")
