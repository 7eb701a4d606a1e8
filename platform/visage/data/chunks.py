"""One chunk of records: what it is, and how it becomes one published shard.

A picture that cannot be used becomes one typed outcome beside the shard, never a failed job. Which
outcomes there are is itself data: `outcomes.parquet` lists every record of the chunk exactly once.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from visage.data.records import Record, Split
from visage.data.row_maker import Row, RowMaker
from visage.data.shards import ROWS_PART, shard_bytes
from visage.data.stage_clock import StageClock
from visage.errors import MediaError
from visage.faultpoints import fault_point
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
Rows = list[Row]


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
    """Records that became rows."""
    rejected: int
    seconds: dict[str, float]
    """CPU time by stage; empty if it was done before."""
    media_s: float
    """Sound or moving pictures of the rows that were made now."""


def prepare_chunk(
    chunk: Chunk, maker: RowMaker, *, root: Path, store: Store, settings: str
) -> ChunkDone:
    """Make and publish one shard; a shard that stands is left alone."""
    prefix = f"shards/{chunk.key}"
    found = read_commit(store, prefix)
    if found is not None:
        return _done(chunk.key, found, {}, 0.0)
    seconds: dict[str, float] = {}
    media_s = 0.0
    if chunk.keep_of is not None:
        rows, outcomes = _kept(store, chunk)
    else:
        rows, outcomes = _made(chunk, maker, root, seconds)
        media_s = sum(maker.duration_s(row) for row in rows)
    fault_point("prepare.before_shard")
    with StageClock(seconds)("write"):
        made = _published(chunk, maker, rows, outcomes, store, settings)
    fault_point("prepare.after_shard")
    return _done(chunk.key, made, seconds, media_s)


def known_fingerprints(store: Store, key: str) -> list[str]:
    """Fingerprints of all records, prepared or rejected, of a published chunk."""
    table = pq.read_table(io.BytesIO(read_part(store, f"shards/{key}", OUTCOMES_PART)))
    values: list[str] = table.column("fingerprint").to_pylist()
    return values


def _published(
    chunk: Chunk, maker: RowMaker, rows: Rows, outcomes: Rows, store: Store, settings: str
) -> Commit:
    table = pa.Table.from_pylist(rows, schema=maker.schema)
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(outcomes, schema=OUTCOMES), sink)
    counts: dict[str, int] = {}
    for row in rows:
        counts[maker.count_by(row)] = counts.get(maker.count_by(row), 0) + 1
    metadata = {
        "settings": settings,
        "split": chunk.split,
        "rows": len(rows),
        "records": sum(one["code"] is None for one in outcomes),
        "counts": counts,
        "rejected": _rejected(outcomes),
    }
    parts = {ROWS_PART: shard_bytes(table), OUTCOMES_PART: sink.getvalue()}
    return commit(store, f"shards/{chunk.key}", parts, metadata=metadata)


def _kept(store: Store, chunk: Chunk) -> tuple[Rows, Rows]:
    prefix = f"shards/{chunk.keep_of}"
    outcomes = pq.read_table(io.BytesIO(read_part(store, prefix, OUTCOMES_PART))).to_pylist()
    keep = set(chunk.fingerprints)
    outcomes = [one for one in outcomes if one["fingerprint"] in keep]
    keys = {one["key"] for one in outcomes}
    table = pa.ipc.open_file(read_part(store, prefix, ROWS_PART)).read_all()
    rows = table.to_pylist()
    return [row for row in rows if row.get("clip", row["key"]) in keys], outcomes


def _made(
    chunk: Chunk, maker: RowMaker, root: Path, seconds: dict[str, float]
) -> tuple[Rows, Rows]:
    """Rows of the records that could be used, and one outcome for every record."""
    rows: Rows = []
    outcomes: Rows = []
    for record, one in zip(chunk.records, chunk.fingerprints, strict=True):
        outcome: Row = {"fingerprint": one, "key": record.key}
        try:
            rows += maker.rows(record, root, seconds)
            outcome.update(code=None, detail=None)
        except MediaError as err:
            outcome.update(code=err.code, detail=str(err))
        outcomes.append(outcome)
    return rows, outcomes


def _rejected(outcomes: Rows) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in outcomes:
        if one["code"] is not None:
            counts[one["code"]] = counts.get(one["code"], 0) + 1
    return counts


def _done(key: str, found: Commit, seconds: dict[str, float], media_s: float) -> ChunkDone:
    return ChunkDone(
        key=key,
        prepared=found.metadata.get("records", found.metadata["rows"]),
        rejected=sum(found.metadata["rejected"].values()),
        seconds=seconds,
        media_s=media_s,
    )
