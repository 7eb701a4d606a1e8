"""How a row ends, and how a job proves that every row did: Rendered, or Rejected with a code.

    DIR/clips/<key>/video.<sum>.mp4, row.<sum>.json, COMMIT   one for each key, never replaced
    DIR/rejected/<key>/row.<sum>.json, COMMIT                 what cannot be rendered, and why
    DIR/outcomes.parquet                                      a line for each row of the last job

Invariant: rows in = outcomes out, and what is told as rendered stands published with its video.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from visage.errors import DataError, MediaCode
from visage.rendering.rows import RenderRow

__all__ = [
    "OUTCOMES_FILE",
    "Outcome",
    "Rejected",
    "Rendered",
    "RowCode",
    "RowOutcome",
    "counts",
    "from_record",
    "outcomes_bytes",
    "reconcile",
    "to_record",
]

RowCode = (
    MediaCode
    | Literal[
        "unknown_style",  # neither the model nor the workspace has it, or it is another model's
        "changed",  # a file is another one than when the job began
        "damaged",  # published, but its video is gone
        "failed",  # something else went wrong; the detail says what
    ]
)
PASSING: frozenset[RowCode] = frozenset(
    {"not_found", "timeout", "crashed", "unknown_style", "changed", "damaged", "failed"}
)
"""Codes that another try may not give: such rows are tried again by the next job."""
OUTCOMES_FILE = "outcomes.parquet"
OUTCOMES = pa.schema(
    [
        ("row", pa.string()),
        ("status", pa.string()),
        ("key", pa.string()),
        ("video", pa.string()),
        ("code", pa.string()),
        ("detail", pa.string()),
        ("is_reused", pa.bool_()),
        ("portrait", pa.string()),
        ("audio", pa.string()),
        ("style", pa.string()),
        ("frames", pa.int64()),
        ("fps", pa.float64()),
        ("size", pa.int32()),
        ("duration_s", pa.float64()),
        ("is_silent", pa.bool_()),
    ],
    metadata={"schema": "visage.renderings/1"},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A video that stands published."""

    key: str
    video: str
    """Relative to the job's folder."""
    frames: int
    fps: float
    size: int
    """Side, pixels."""
    duration_s: float
    is_silent: bool = False
    """The sound holds nothing to say: the face only blinks and sways."""
    is_reused: bool = False
    """It stood before this job, or another job was quicker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A row of which no video can be made."""

    key: str
    """Empty where an input is missing, so that nothing identifies the row."""
    code: RowCode
    detail: str
    is_reused: bool = False
    """A former job found out."""

    @property
    def lasts(self) -> bool:
        """Whether the same inputs will always end so."""
        return self.code not in PASSING


Outcome = Rendered | Rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOutcome:
    """A row of the table and how it ended."""

    row: RenderRow
    outcome: Outcome

    @property
    def status(self) -> Literal["rendered", "reused", "rejected"]:
        """One word for people."""
        match self.outcome:
            case Rejected():
                return "rejected"
            case Rendered(is_reused=True):
                return "reused"
        return "rendered"


def to_record(outcome: Outcome) -> dict[str, Any]:
    """Plain values, as an outcome travels and is kept."""
    kind = "rendered" if isinstance(outcome, Rendered) else "rejected"
    return {"status": kind, **asdict(outcome)}


def from_record(record: Mapping[str, Any], **changes: object) -> Outcome:
    """What `to_record` gave, with changes; KeyError or TypeError for anything else."""
    kind = Rendered if record["status"] == "rendered" else Rejected
    values = {**record, **changes}
    return kind(**{one.name: values[one.name] for one in fields(kind)})


def reconcile(
    rows: Sequence[RenderRow],
    outcomes: Mapping[str, Outcome],
    published: Mapping[str, str],
) -> list[RowOutcome]:
    """Every row with its outcome, in the order of the table; the proof that nothing was lost.

    Args:
        outcomes: By the row's name.
        published: Key → video of what stands published now, as a fresh listing says.

    Raises:
        DataError: a row without an outcome, or a video that is told and not there.
    """
    lost = [row.name for row in rows if row.name not in outcomes]
    if lost:
        raise DataError(
            f"{len(lost)} of {len(rows)} rows have no outcome (the first is {lost[0]}); run the "
            "same command again: what is rendered is kept"
        )
    missing = [
        f"{name}: {outcome.video}"
        for name, outcome in outcomes.items()
        if isinstance(outcome, Rendered) and published.get(outcome.key) != outcome.video
    ]
    if missing:
        raise DataError(
            f"{len(missing)} rows were told as rendered, but their videos are not there (the first "
            f"is {missing[0]}); did somebody delete them meanwhile? Run the same command again"
        )
    return [RowOutcome(row=row, outcome=outcomes[row.name]) for row in rows]


def counts(found: Sequence[RowOutcome]) -> dict[str, int]:
    """Rows by status, and by code where rejected: rendered, reused, no_face, …, largest first."""
    told = Counter(
        one.outcome.code if isinstance(one.outcome, Rejected) else one.status for one in found
    )
    videos = {name: told.pop(name, 0) for name in ("rendered", "reused")}
    return {**videos, **dict(told.most_common())}


def outcomes_bytes(found: Sequence[RowOutcome]) -> bytes:
    """`outcomes.parquet`: a line for each row."""
    empty = dict.fromkeys(OUTCOMES.names)
    lines = [
        {
            **empty,
            **to_record(one.outcome),
            "row": one.row.name,
            "portrait": one.row.portrait,
            "audio": one.row.audio,
            "style": one.row.style,
        }
        for one in found
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(lines, schema=OUTCOMES), sink)
    return sink.getvalue()
