"""One tracking database for the whole folder: making its tables takes seconds, a copy does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visage.metrics.classification import confusion_matrix, macro_f1, per_class, wilson_interval
from visage.tracking.backend import connect
from visage.tracking.evaluation import Evaluation

CLASSES = ("Anger", "Happy", "Sad")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def tracking_uri(empty_database: Path, tmp_path: Path) -> str:
    folder = tmp_path / "tracking"
    folder.mkdir()
    shutil.copyfile(empty_database, folder / "mlflow.db")
    return f"sqlite:///{folder / 'mlflow.db'}"


MakeEvaluation = Callable[..., Evaluation]


@pytest.fixture
def make_evaluation(tmp_path: Path) -> MakeEvaluation:
    """Write an evaluation folder from truth and predictions, and read it back."""

    def make(
        truth: list[int],
        predicted: list[int],
        *,
        name: str = "e",
        model_digest: str = "m" * 64,
        data_digest: str = "d" * 64,
        split: str = "test",
        with_predictions: bool = True,
    ) -> Evaluation:
        folder = tmp_path / "evaluations" / name
        folder.mkdir(parents=True)
        matrix = confusion_matrix(truth, predicted, len(CLASSES))
        right = sum(a == b for a, b in zip(truth, predicted, strict=True))
        body = {
            "schema": "visage.evaluation/1",
            "model_uri": "/models/m",
            "model_digest": model_digest,
            "data_digest": data_digest,
            "split": split,
            "rows": len(truth),
            "classes": list(CLASSES),
            "accuracy": right / max(1, len(truth)),
            "accuracy_interval": list(wilson_interval(right, len(truth))),
            "macro_f1": macro_f1(matrix),
            "per_class": [
                {
                    "class": c,
                    "precision": s.precision,
                    "recall": s.recall,
                    "f1": s.f1,
                    "support": s.support,
                }
                for c, s in zip(CLASSES, per_class(matrix), strict=True)
            ],
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

    return make
