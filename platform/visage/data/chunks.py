"""One chunk of records: what it is, and how it becomes one published shard.

Rows go to a temporary file as they are made, so that memory holds those of one record, whatever the
shard weighs; the file is published when it is whole.

A picture that cannot be used becomes one typed outcome beside the shard, never a failed job. Which
outcomes there are is itself data: `outcomes.parquet` lists every record of the chunk exactly once.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from visage.data.records import Record, Split
from visage.data.row_maker import Row, RowMaker
from visage.data.shard_writer import ShardWriter
from visage.data.shards import ROWS_PART, read_shard
from visage.data.stage_clock import StageClock
from visage.errors import MediaError
from visage.faultpoints import fault_point
from visage.store.base import Store
from visage.store.commit import Commit, commit, fetch_part, read_commit, read_part

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
    clock = StageClock(seconds)
    with _nameless_file() as file:
        shard = _Shard(maker=maker, writer=ShardWriter(file, maker.schema), clock=clock)
        if chunk.keep_of is not None:
            _keep(store, chunk, shard)
        else:
            for record, one in zip(chunk.records, chunk.fingerprints, strict=True):
                made = _make(record, shard, root, seconds)
                shard.outcomes.append({"fingerprint": one, "key": record.key, **made})
        fault_point("prepare.before_shard")
        with clock("write"):
            shard.writer.close()
            path = Path(f"/proc/self/fd/{file.fileno()}")
            published = _published(chunk, shard, path, store, settings)
    fault_point("prepare.after_shard")
    media_s = 0.0 if chunk.keep_of is not None else shard.media_s
    return _done(chunk.key, published, seconds, media_s)


@contextmanager
def _nameless_file() -> Iterator[IO[bytes]]:
    """A temporary file of which a killed worker leaves nothing."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 closed below
    try:
        yield file
    finally:
        with suppress(OSError):  # on a full disk; the writer has told it
            file.close()


def known_fingerprints(store: Store, key: str) -> list[str]:
    """Fingerprints of all records, prepared or rejected, of a published chunk."""
    table = pq.read_table(io.BytesIO(read_part(store, f"shards/{key}", OUTCOMES_PART)))
    values: list[str] = table.column("fingerprint").to_pylist()
    return values


@dataclass(slots=True, kw_only=True)
class _Shard:
    """What has been written so far of one shard."""

    maker: RowMaker
    writer: ShardWriter
    clock: StageClock
    outcomes: Rows = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    media_s: float = 0.0

    def take(self, rows: Iterable[Row]) -> None:
        """Write rows and count them."""
        with self.clock("write"):
            for row in rows:
                name = self.maker.count_by(row)
                self.counts[name] = self.counts.get(name, 0) + 1
                self.media_s += self.maker.duration_s(row)
                self.writer.add(row)


def _published(chunk: Chunk, shard: _Shard, path: Path, store: Store, settings: str) -> Commit:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(shard.outcomes, schema=OUTCOMES), sink)
    metadata = {
        "settings": settings,
        "split": chunk.split,
        "rows": sum(shard.counts.values()),
        "records": sum(one["code"] is None for one in shard.outcomes),
        "counts": shard.counts,
        "rejected": _rejected(shard.outcomes),
    }
    parts: dict[str, bytes | Path] = {ROWS_PART: path, OUTCOMES_PART: sink.getvalue()}
    return commit(store, f"shards/{chunk.key}", parts, metadata=metadata)


def _keep(store: Store, chunk: Chunk, shard: _Shard) -> None:
    """Rows and outcomes of a standing shard, as far as their records are still wanted."""
    prefix = f"shards/{chunk.keep_of}"
    outcomes = pq.read_table(io.BytesIO(read_part(store, prefix, OUTCOMES_PART))).to_pylist()
    keep = set(chunk.fingerprints)
    shard.outcomes += [one for one in outcomes if one["fingerprint"] in keep]
    keys = {one["key"] for one in shard.outcomes}
    with tempfile.TemporaryDirectory(prefix="visage-shard-") as folder:
        table = read_shard(fetch_part(store, prefix, ROWS_PART, Path(folder) / ROWS_PART))
        rows = (table.slice(index, 1).to_pylist()[0] for index in range(table.num_rows))
        shard.take(row for row in rows if row.get("clip", row["key"]) in keys)


def _make(record: Record, shard: _Shard, root: Path, seconds: dict[str, float]) -> Row:
    """Write the rows of a record if it can be used; what became of it."""
    try:
        rows = shard.maker.rows(record, root, seconds)
    except MediaError as err:
        return {"code": err.code, "detail": str(err)}
    shard.take(rows)
    return {"code": None, "detail": None}


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
