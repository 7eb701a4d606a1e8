"""What `visage evaluate` found about one model on one split, as read back from its folder.

<evaluation>/evaluation.json        schema visage.evaluation/1
<evaluation>/predictions.parquet    one row for each picture: key, label, predicted, p, …
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visage.errors import NotFoundError, TrackingError
from visage.store.open import open_store

__all__ = ["EVALUATION_FILE", "EVALUATION_SCHEMA", "ClassResult", "Evaluation", "PairedAnswers"]

EVALUATION_SCHEMA = "visage.evaluation/1"
EVALUATION_FILE = "evaluation.json"
PREDICTIONS_FILE = "predictions.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassResult:
    """One class of the taxonomy."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedAnswers:
    """Whether two models were right on the same pictures, in the same order."""

    candidate: NDArray[np.bool_]
    """Shape (N,)."""
    champion: NDArray[np.bool_]
    """Shape (N,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Scores of one model on one split of one corpus."""

    uri: str
    """The folder it was read from."""
    model_uri: str
    model_digest: str
    data_digest: str
    split: str
    rows: int
    classes: tuple[str, ...]
    accuracy: float
    accuracy_interval: tuple[float, float]
    macro_f1: float
    ece: float
    per_class: tuple[ClassResult, ...]
    confusion: NDArray[np.int64]
    """Shape (K, K), rows the truth, columns the prediction."""

    @classmethod
    def read(cls, uri: str) -> Evaluation:
        """The evaluation in a folder or at an s3:// prefix.

        Raises:
            NotFoundError: there is no evaluation.json.
            TrackingError: it is damaged or of an unknown schema.
        """
        try:
            body = open_store(uri).get(EVALUATION_FILE)
        except NotFoundError:
            raise NotFoundError(
                f"{uri}: no {EVALUATION_FILE} there; run `visage evaluate` first"
            ) from None
        return cls.from_json(body, uri=uri)

    @classmethod
    def from_json(cls, body: bytes, *, uri: str) -> Evaluation:
        """Parse any supported schema; TrackingError names what is wrong."""
        try:
            values = json.loads(body)
            schema = values["schema"]
        except (ValueError, KeyError, TypeError):
            raise TrackingError(f"{uri}: not an evaluation (JSON with a `schema`)") from None
        if schema != EVALUATION_SCHEMA:
            raise TrackingError(
                f"{uri}: evaluation schema {schema!r} is not {EVALUATION_SCHEMA!r}; evaluate again"
            )
        try:
            return cls._parse(values, uri)
        except (KeyError, TypeError, ValueError) as err:
            raise TrackingError(f"{uri}: the evaluation is incomplete: {err!r}") from None

    @classmethod
    def _parse(cls, values: Mapping[str, Any], uri: str) -> Evaluation:
        low, high = (float(end) for end in values["accuracy_interval"])
        classes = tuple(str(name) for name in values["classes"])
        confusion = np.asarray(values["confusion"], dtype=np.int64)
        if confusion.shape != (len(classes), len(classes)):
            raise ValueError(f"confusion {confusion.shape} for {len(classes)} classes")
        return cls(
            uri=uri,
            model_uri=str(values["model_uri"]),
            model_digest=str(values["model_digest"]),
            data_digest=str(values["data_digest"]),
            split=str(values["split"]),
            rows=int(values["rows"]),
            classes=classes,
            accuracy=float(values["accuracy"]),
            accuracy_interval=(low, high),
            macro_f1=float(values["macro_f1"]),
            ece=float(values["ece"]),
            per_class=tuple(_class_result(row) for row in values["per_class"]),
            confusion=confusion,
        )

    @property
    def correct(self) -> int:
        """Pictures classified correctly."""
        return int(np.trace(self.confusion))

    def answers(self) -> dict[str, bool] | None:
        """Picture key → whether the model was right; None where no predictions were kept."""
        import pyarrow.parquet as pq

        try:
            body = open_store(self.uri).get(PREDICTIONS_FILE)
        except NotFoundError:
            return None
        table = pq.read_table(io.BytesIO(body), columns=["key", "label", "predicted"])
        right = np.asarray(table["label"]) == np.asarray(table["predicted"])
        return dict(zip(table["key"].to_pylist(), right.tolist(), strict=True))

    def paired_with(self, champion: Evaluation) -> PairedAnswers | None:
        """Both models' answers on the same pictures, or None unless the pictures are the same."""
        if (self.data_digest, self.split) != (champion.data_digest, champion.split):
            return None
        mine, theirs = self.answers(), champion.answers()
        if mine is None or theirs is None or mine.keys() != theirs.keys():
            return None
        return PairedAnswers(
            candidate=np.array([mine[key] for key in sorted(mine)], dtype=bool),
            champion=np.array([theirs[key] for key in sorted(theirs)], dtype=bool),
        )


def _class_result(row: Mapping[str, Any]) -> ClassResult:
    return ClassResult(
        name=str(row["class"]),
        precision=float(row["precision"]),
        recall=float(row["recall"]),
        f1=float(row["f1"]),
        support=int(row["support"]),
    )
