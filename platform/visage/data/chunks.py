"""One chunk of records: what it is, and how it becomes one published shard.

A picture that cannot be used becomes one typed outcome beside the shard, never a failed job. Which
outcomes there are is itself data: `outcomes.parquet` lists every record of the chunk exactly once.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from visage.data.emotion_builder import emotion_row
from visage.data.emotion_rows import EMOTION_SCHEMA
from visage.data.records import Record, Split
from visage.data.shards import ROWS_PART, shard_bytes
from visage.errors import MediaError
from visage.faces.mapper import LandmarkRegions, RegionMapper
from visage.faces.provider import FaceProvider
from visage.faultpoints import fault_point
from visage.media.limits import ImageLimits
from visage.media.sandbox import MediaSandbox, read_media
from visage.specs.prepare import PrepareSpec
from visage.store.base import Store
from visage.store.commit import Commit, commit, read_commit, read_part

__all__ = ["Chunk", "ChunkDone", "known_fingerprints", "prepare_chunk"]

OUTCOMES_PART = "outcomes.parquet"
OUTCOMES = pa.schema(
    [
        ("fingerprint", pa.string()),
        ("key", pa.string()),
        ("code", pa.string()),  # null = prepared
        ("detail", pa.string()),
    ],
    metadata={"schema": "visage.outcomes/1"},
)
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Records of one split that become one shard."""

    key: str
    split: Split
    records: tuple[Record, ...]
    fingerprints: tuple[str, ...]
    keep_of: str | None = None
    """Key of a standing shard of which these records are kept; nothing is decoded again."""

    def to_json(self) -> str:
        """To hand it to another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Chunk:
        """Read it there."""
        values = json.loads(text)
        records = tuple(
            Record(**{**one, "box": tuple(one["box"]) if one["box"] else None})
            for one in values.pop("records")
        )
        prints = tuple(values.pop("fingerprints"))
        return cls(records=records, fingerprints=prints, **values)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkDone:
    """What became of a chunk."""

    key: str
    prepared: int
    rejected: int
    seconds: dict[str, float]
    """By stage: decode, faces, masks, write; empty if it was done before."""


def prepare_chunk(
    chunk: Chunk,
    *,
    root: Path,
    classes: Sequence[str],
    store: Store,
    spec: PrepareSpec,
    settings: str,
    provider: FaceProvider,
    sandbox: MediaSandbox,
    regions: RegionMapper | None = None,
) -> ChunkDone:
    """Make and publish one shard; a shard that stands is left alone.

    `sandbox` decodes the corpus' files, which nobody vouches for; `regions` labels the face crops,
    by default the landmarks do.
    """
    prefix = f"shards/{chunk.key}"
    found = read_commit(store, prefix)
    if found is not None:
        return _done(chunk.key, found, {})
    seconds: dict[str, float] = {}
    if chunk.keep_of is not None:
        rows, outcomes = _kept(store, chunk)
    else:
        maker = _Maker(root, tuple(classes), spec, provider, sandbox, regions or LandmarkRegions())
        rows, outcomes = maker.rows(chunk, seconds)
    start = perf_counter()
    fault_point("prepare.before_shard")
    table = pa.Table.from_pylist(rows, schema=EMOTION_SCHEMA)
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(outcomes, schema=OUTCOMES), sink)
    metadata = {
        "settings": settings,
        "split": chunk.split,
        "rows": len(rows),
        "counts": _counts(rows, classes),
        "rejected": _rejected(outcomes),
    }
    parts = {ROWS_PART: shard_bytes(table), OUTCOMES_PART: sink.getvalue()}
    made = commit(store, prefix, parts, metadata=metadata)
    fault_point("prepare.after_shard")
    seconds["write"] = seconds.get("write", 0.0) + perf_counter() - start
    return _done(chunk.key, made, seconds)


def known_fingerprints(store: Store, key: str) -> list[str]:
    """Fingerprints of all records, prepared or rejected, of a published chunk."""
    table = pq.read_table(io.BytesIO(read_part(store, f"shards/{key}", OUTCOMES_PART)))
    values: list[str] = table.column("fingerprint").to_pylist()
    return values


def _kept(store: Store, chunk: Chunk) -> tuple[Rows, Rows]:
    prefix = f"shards/{chunk.keep_of}"
    outcomes = pq.read_table(io.BytesIO(read_part(store, prefix, OUTCOMES_PART))).to_pylist()
    keep = set(chunk.fingerprints)
    outcomes = [one for one in outcomes if one["fingerprint"] in keep]
    keys = {one["key"] for one in outcomes}
    table = pa.ipc.open_file(read_part(store, prefix, ROWS_PART)).read_all()
    return [row for row in table.to_pylist() if row["key"] in keys], outcomes


@dataclass(frozen=True, slots=True)
class _Maker:
    """Turns records into rows with one set of tools."""

    root: Path
    classes: tuple[str, ...]
    spec: PrepareSpec
    provider: FaceProvider
    sandbox: MediaSandbox
    regions: RegionMapper

    def rows(self, chunk: Chunk, seconds: dict[str, float]) -> tuple[Rows, Rows]:
        """Rows of the records that could be used, and one outcome for every record."""
        rows, outcomes = [], []
        for record, one in zip(chunk.records, chunk.fingerprints, strict=True):
            outcome: dict[str, Any] = {"fingerprint": one, "key": record.key}
            try:
                rows.append(self._row(record, seconds))
                outcome.update(code=None, detail=None)
            except MediaError as err:
                outcome.update(code=err.code, detail=str(err))
            outcomes.append(outcome)
        return rows, outcomes

    def _row(self, record: Record, seconds: dict[str, float]) -> dict[str, Any]:
        if record.label not in self.classes:
            raise MediaError("bad_label", f"{record.key}: {record.label!r} is not a known class")
        start = perf_counter()
        body = read_media(self.root / record.path, max_bytes=ImageLimits().max_bytes)
        image = self.sandbox.decode_image(body)
        seconds["decode"] = seconds.get("decode", 0.0) + perf_counter() - start
        box = (0, 0, image.shape[1], image.shape[0]) if record.is_face_crop else record.box
        columns = emotion_row(
            image,
            provider=self.provider,
            regions=self.regions,
            inputs=self.spec.input,
            box=box,
            policy=self.spec.face_policy,
            jpeg_quality=self.spec.jpeg_quality,
            seconds=seconds,
        )
        return {
            "key": record.key,
            "label": self.classes.index(record.label),
            "group": record.group,
            "source_sha256": hashlib.sha256(body).hexdigest(),
            **columns,
        }


def _counts(rows: Rows, classes: Sequence[str]) -> dict[str, int]:
    counts = dict.fromkeys(classes, 0)
    for row in rows:
        counts[classes[row["label"]]] += 1
    return counts


def _rejected(outcomes: Rows) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in outcomes:
        if one["code"] is not None:
            counts[one["code"]] = counts.get(one["code"], 0) + 1
    return counts


def _done(key: str, found: Commit, seconds: dict[str, float]) -> ChunkDone:
    return ChunkDone(
        key=key,
        prepared=found.metadata["rows"],
        rejected=sum(found.metadata["rejected"].values()),
        seconds=seconds,
    )
