"""The ledger: which samples each committed step consumed, and what loss it gave.

Ranks record what the feed really handed them. Segments are published with the checkpoint that
covers them and name their parent, so that the chain from the newest checkpoint back to step 0 is
the history that counts; steps lost in a crash are on no chain. `verify` rebuilds the expected
order from the spec.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from visage.data.sampler import Sampler
from visage.errors import CorruptError

__all__ = ["LEDGER_SCHEMA", "LedgerReport", "LedgerRow", "from_parquet", "to_parquet", "verify"]

LEDGER_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("rank", pa.int32()),
        ("world", pa.int32()),
        ("ids", pa.list_(pa.int64())),
        ("loss", pa.float64()),
    ],
    metadata={"schema": "visage.ledger/1"},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """What one rank consumed at one step."""

    step: int
    rank: int
    world: int
    ids: tuple[int, ...]
    loss: float
    """Mean loss over the whole global batch, equal on all ranks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerReport:
    """What verification found."""

    steps: int
    samples: int
    worlds: tuple[int, ...]
    """Cluster sizes in the order in which they were used."""
    problems: tuple[str, ...]

    @property
    def is_exact(self) -> bool:
        """Nothing lost, nothing repeated, nothing out of order."""
        return not self.problems


def to_parquet(rows: Sequence[LedgerRow]) -> bytes:
    """Rows as one Parquet file, sorted by step and rank."""
    ordered = sorted(rows, key=lambda row: (row.step, row.rank))
    columns = {
        name: [getattr(row, name) for row in ordered]
        for name in ("step", "rank", "world", "ids", "loss")
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, schema=LEDGER_SCHEMA), sink)
    return sink.getvalue()


def from_parquet(body: bytes, *, origin: str) -> list[LedgerRow]:
    """Rows of one segment; CorruptError if it is not one, or one of another version."""
    try:
        table = pq.read_table(io.BytesIO(body))
    except (pa.ArrowException, OSError) as err:
        raise CorruptError(f"{origin}: not a ledger segment: {err}") from None
    is_ours = (
        table.schema.metadata and table.schema.metadata.items() >= LEDGER_SCHEMA.metadata.items()
    )
    if not is_ours or table.column_names != LEDGER_SCHEMA.names:
        raise CorruptError(f"{origin}: not a ledger segment of schema visage.ledger/1")
    return [LedgerRow(**{**row, "ids": tuple(row["ids"])}) for row in table.to_pylist()]


def verify(rows: Iterable[LedgerRow], sampler: Sampler, *, steps: int) -> LedgerReport:
    """Compare what was consumed in steps 0 … steps-1 with the order that the sampler prescribes."""
    by_step: dict[int, list[LedgerRow]] = {}
    for row in rows:
        by_step.setdefault(row.step, []).append(row)
    problems: list[str] = []
    worlds: list[int] = []
    for step in range(steps):
        shares = sorted(by_step.pop(step, []), key=lambda row: row.rank)
        problem = _check_step(step, shares, sampler)
        if problem:
            problems.append(problem)
        elif not worlds or worlds[-1] != shares[0].world:
            worlds.append(shares[0].world)
    problems += [f"step {step}: recorded, but beyond the last step" for step in sorted(by_step)]
    return LedgerReport(
        steps=steps,
        samples=steps * sampler.global_batch,
        worlds=tuple(worlds),
        problems=tuple(problems),
    )


def _check_step(step: int, shares: list[LedgerRow], sampler: Sampler) -> str | None:
    if not shares:
        return f"step {step}: missing"
    world = shares[0].world
    if {row.world for row in shares} != {world}:
        return f"step {step}: recorded by clusters of {sorted({row.world for row in shares})} ranks"
    if [row.rank for row in shares] != list(range(world)):
        return f"step {step}: ranks {[row.rank for row in shares]} of {world} recorded"
    if len({len(row.ids) for row in shares}) > 1:
        return f"step {step}: ranks consumed unequal shares"
    consumed = np.array([row.ids for row in shares], dtype=np.int64).T.reshape(-1)
    _, expected = sampler.step_ids(step)
    if not np.array_equal(consumed, expected):
        return f"step {step}: consumed samples differ from the prescribed order"
    return None
