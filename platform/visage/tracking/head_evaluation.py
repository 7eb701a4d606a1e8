"""What `visage evaluate talking-head` found about one model on one split, as read from its folder.

<evaluation>/head_evaluation.<sum>.json   schema visage.head_evaluation/1: the scores
<evaluation>/clips.<sum>.parquet          one row for each clip and subject, with all columns
<evaluation>/sheet.<sum>.jpg              truth, painted, generated, frozen; few clips, or missing
<evaluation>/COMMIT                       makes it whole

Older ones have no COMMIT, and their files no sum.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from visage.errors import AlreadyExistsError, NotFoundError, TrackingError
from visage.metrics.head_tables import COLUMNS, Spread
from visage.store.base import Store
from visage.store.commit import commit, read_commit, read_part
from visage.store.open import open_store

__all__ = ["CLIPS_FILE", "HEAD_EVALUATION_FILE", "HEAD_EVALUATION_SCHEMA", "SHEET_FILE",
           "HeadEvaluation", "has_head_evaluation", "publish_head_evaluation",
           "scores_bytes"]  # fmt: skip

HEAD_EVALUATION_SCHEMA = "visage.head_evaluation/1"
HEAD_EVALUATION_FILE = "head_evaluation.json"
CLIPS_FILE = "clips.parquet"
SHEET_FILE = "sheet.jpg"
SCORES = pa.schema(
    [
        ("key", pa.string()),
        ("clip_style", pa.string()),
        ("style", pa.string()),
        ("frames", pa.int64()),
        ("subject", pa.string()),
        *((column.name, pa.float64()) for column in COLUMNS),
    ],
    metadata={"schema": "visage.head_scores/1"},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadEvaluation:
    """Scores of one talking head on one split of one corpus."""

    uri: str
    """The folder it was read from."""
    model: str
    """For people: name, version and digest."""
    model_uri: str
    model_digest: str
    data_uri: str
    data_digest: str
    split: str
    clips: int
    """Compared."""
    skipped: Mapping[str, str]
    """Key of a clip that could not be compared → why."""
    picture_px: tuple[int, int]
    """Sides of the true and of the generated pictures before both were brought to 512."""
    settings: Mapping[str, Any]
    subjects: Mapping[str, Mapping[str, Spread]]
    """truth, generated, painted (not in older ones), frozen, mean → column → mean and spread."""
    wins: Mapping[str, Mapping[str, int]]
    """frozen, mean → column → clips in which the generated one is strictly better."""

    def metrics(self) -> dict[str, float]:
        """Mean scores of the generated clips by the names of `visage.tracking.names`."""
        generated = self.subjects["generated"]
        return {f"test/{name}": spread.mean for name, spread in generated.items()}

    def part(self, name: str) -> bytes:
        """One of its files, as published.

        Raises:
            NotFoundError: it has none of that name.
            CorruptError: it is missing or damaged.
        """
        return _part(self.uri, name)

    def sheet(self) -> bytes | None:
        """The contact sheet, JPEG; None where all clips that it should show were skipped."""
        try:
            return self.part(SHEET_FILE)
        except NotFoundError:
            return None

    @classmethod
    def read(cls, uri: str) -> HeadEvaluation:
        """The evaluation in a folder or at an s3:// prefix.

        Raises:
            NotFoundError: there is none.
            CorruptError: it is missing or damaged.
            TrackingError: it is of an unknown schema.
        """
        try:
            body = _part(uri, HEAD_EVALUATION_FILE)
        except NotFoundError:
            raise NotFoundError(
                f"{uri}: no {HEAD_EVALUATION_FILE} there; run `visage evaluate talking-head` first"
            ) from None
        return cls.from_json(body, uri=uri)

    @classmethod
    def from_json(cls, body: bytes, *, uri: str) -> HeadEvaluation:
        """Parse any supported schema; TrackingError names what is wrong."""
        try:
            values = json.loads(body)
            schema = values["schema"]
        except (ValueError, KeyError, TypeError):
            raise TrackingError(f"{uri}: not an evaluation (JSON with a `schema`)") from None
        if schema != HEAD_EVALUATION_SCHEMA:
            raise TrackingError(
                f"{uri}: schema {schema!r} is not {HEAD_EVALUATION_SCHEMA!r}; evaluate again"
            )
        try:
            return cls._parse(values, uri)
        except (KeyError, TypeError, ValueError) as err:
            raise TrackingError(f"{uri}: the evaluation is incomplete: {err!r}") from None

    @classmethod
    def _parse(cls, values: Mapping[str, Any], uri: str) -> HeadEvaluation:
        true_px, made_px = (int(side) for side in values["picture_px"])
        return cls(
            uri=uri,
            model=str(values["model"]),
            model_uri=str(values["model_uri"]),
            model_digest=str(values["model_digest"]),
            data_uri=str(values["data_uri"]),
            data_digest=str(values["data_digest"]),
            split=str(values["split"]),
            clips=int(values["clips"]),
            skipped=dict(values["skipped"]),
            picture_px=(true_px, made_px),
            settings=dict(values["settings"]),
            subjects={
                subject: {name: Spread(**spread) for name, spread in columns.items()}
                for subject, columns in values["subjects"].items()
            },
            wins={
                baseline: {name: int(count) for name, count in columns.items()}
                for baseline, columns in values["wins"].items()
            },
        )


def has_head_evaluation(uri: str) -> bool:
    """Whether a whole evaluation was published there."""
    return read_commit(*_place(uri)) is not None


def publish_head_evaluation(uri: str, parts: Mapping[str, bytes]) -> None:
    """Publish all files of an evaluation at once; one that stands there already stays."""
    store, prefix = _place(uri)
    with suppress(AlreadyExistsError):  # another job compared the same content meanwhile
        commit(store, prefix, parts)


def scores_bytes(clips: Sequence[Mapping[str, Any]]) -> bytes:
    """`clips.parquet`, from clips with key, clip_style, style, frames and scores by subject."""
    lines = [
        {
            **{name: clip[name] for name in ("key", "clip_style", "style", "frames")},
            "subject": subject,
            **{column.name: scores.get(column.name) for column in COLUMNS},
        }
        for clip in clips
        for subject, scores in clip["scores"].items()
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(lines, schema=SCORES), sink)
    return sink.getvalue()


def _part(uri: str, name: str) -> bytes:
    store, prefix = _place(uri)
    if read_commit(store, prefix) is None:
        return open_store(uri).get(name)  # an older one
    return read_part(store, prefix, name)


def _place(uri: str) -> tuple[Store, str]:
    parent, slash, name = uri.rstrip("/").rpartition("/")
    return open_store(parent or slash or "."), name
