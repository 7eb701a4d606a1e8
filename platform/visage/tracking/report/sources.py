"""Fill a report from an evaluation folder: scores, confusion, calibration, branch weights."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from visage.errors import NotFoundError
from visage.metrics.calibration import ReliabilityBin, reliability
from visage.store.open import open_store
from visage.tracking.evaluation import PREDICTIONS_FILE, Evaluation
from visage.tracking.report.content import EvaluationReport

__all__ = ["report_of"]


def report_of(evaluation: Evaluation, *, title: str, subtitle: str = "") -> EvaluationReport:
    """The report that an evaluation folder alone supports; extend it with `dataclasses.replace`."""
    bins, weights = _from_predictions(evaluation)
    present = sum(1 for result in evaluation.per_class if result.support)
    return EvaluationReport(
        title=title,
        subtitle=subtitle,
        accuracy=evaluation.accuracy,
        accuracy_interval=evaluation.accuracy_interval,
        scores={
            "macro F1": f"{evaluation.macro_f1:.3f}",
            "calibration error": f"{evaluation.ece:.3f}",
            "pictures": f"{evaluation.rows:,}",
            "classes present": f"{present} of {len(evaluation.classes)}",
        },
        facts={
            "Model": evaluation.model_uri,
            "Model digest": evaluation.model_digest,
            "Data digest": evaluation.data_digest,
            "Split": f"{evaluation.split}, {evaluation.rows:,} pictures",
        },
        classes=evaluation.classes,
        confusion=evaluation.confusion,
        reliability=bins,
        ece=evaluation.ece,
        face_weights=weights,
    )


def _from_predictions(
    evaluation: Evaluation,
) -> tuple[list[ReliabilityBin], dict[str, NDArray[np.float32]]]:
    import pyarrow.parquet as pq

    try:
        body = open_store(evaluation.uri).get(PREDICTIONS_FILE)
    except NotFoundError:
        return [], {}
    table = pq.read_table(io.BytesIO(body), columns=["label", "p", "face_weight"])
    if not table.num_rows:
        return [], {}
    truth = np.asarray(table["label"], dtype=np.int64)
    probabilities = np.asarray(table["p"].to_pylist(), dtype=np.float64)
    face = np.asarray(table["face_weight"], dtype=np.float32)
    weights = {
        name: face[truth == index]
        for index, name in enumerate(evaluation.classes)
        if (truth == index).any()
    }
    return reliability(probabilities, truth), weights
