"""What `visage evaluate talking-head` found about one model on one split, as read from its folder.

<evaluation>/head_evaluation.json   schema visage.head_evaluation/1; written last, makes it whole
<evaluation>/clips.parquet          one row for each clip and subject, with all columns
<evaluation>/sheet.jpg              truth, painted, generated, frozen below one another; few clips
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from visage.errors import NotFoundError, TrackingError
from visage.metrics.head_tables import Spread
from visage.store.open import open_store

__all__ = ["CLIPS_FILE", "HEAD_EVALUATION_FILE", "HEAD_EVALUATION_SCHEMA", "SHEET_FILE",
           "HeadEvaluation"]  # fmt: skip

HEAD_EVALUATION_SCHEMA = "visage.head_evaluation/1"
HEAD_EVALUATION_FILE = "head_evaluation.json"
CLIPS_FILE = "clips.parquet"
SHEET_FILE = "sheet.jpg"


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

    @classmethod
    def read(cls, uri: str) -> HeadEvaluation:
        """The evaluation in a folder or at an s3:// prefix.

        Raises:
            NotFoundError: there is none.
            TrackingError: it is damaged or of an unknown schema.
        """
        try:
            body = open_store(uri).get(HEAD_EVALUATION_FILE)
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
