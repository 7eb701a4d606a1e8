"""Evaluation folders written from truth and predictions, as the evaluate job writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from visage.metrics.classification import (
    confusion_matrix,
    macro_f1,
    per_class,
    wilson_interval,
)
from visage.tracking.evaluation import Evaluation

CLASSES = ("Anger", "Happy", "Sad")

MakeEvaluation = Callable[..., Evaluation]


def write_evaluation(
    folder: Path,
    truth: list[int],
    predicted: list[int],
    *,
    model_uri: str = "/models/m",
    model_digest: str = "m" * 64,
    data_digest: str = "d" * 64,
    split: str = "test",
    with_predictions: bool = True,
) -> Evaluation:
    """Write the folder and read it back."""
    folder.mkdir(parents=True)
    matrix = confusion_matrix(truth, predicted, len(CLASSES))
    right = sum(a == b for a, b in zip(truth, predicted, strict=True))
    scores = [
        {
            "class": name,
            "precision": score.precision,
            "recall": score.recall,
            "f1": score.f1,
            "support": score.support,
        }
        for name, score in zip(CLASSES, per_class(matrix), strict=True)
    ]
    body = {
        "schema": "visage.evaluation/1",
        "model_uri": model_uri,
        "model_digest": model_digest,
        "data_digest": data_digest,
        "split": split,
        "rows": len(truth),
        "classes": list(CLASSES),
        "accuracy": right / max(1, len(truth)),
        "accuracy_interval": list(wilson_interval(right, len(truth))),
        "macro_f1": macro_f1(matrix),
        "per_class": scores,
        "ece": 0.1,
        "confusion": matrix.tolist(),
    }
    (folder / "evaluation.json").write_text(json.dumps(body))
    if with_predictions:
        certain = [[0.8 if k == p else 0.1 for k in range(3)] for p in predicted]
        columns = {
            "key": [f"k{i}" for i in range(len(truth))],
            "label": truth,
            "predicted": predicted,
            "p": pa.array(certain, pa.list_(pa.float32())),
            "face_weight": pa.array([0.6] * len(truth), pa.float32()),
        }
        pq.write_table(pa.table(columns), folder / "predictions.parquet")
    return Evaluation.read(str(folder))
