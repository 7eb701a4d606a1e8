"""`visage evaluate emotion` on Ray Data: batch inference over shards, then scores with intervals.

    evaluations/<model>-<data>-<split>/predictions.parquet   one row a picture, sorted by key
                                       evaluation.json       scores; written last, makes it whole
                                       report.html           for people; can be made again

What travels through Ray names shards and carries probabilities; pictures stay in the actor.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from visage.data.manifest import Manifest, Shard
from visage.data.records import Split
from visage.data.shards import ShardRows, load_manifest
from visage.errors import DataError
from visage.faultpoints import fault_point
from visage.inference.artifact import EmotionArtifact, load_emotion_model
from visage.metrics.calibration import expected_calibration_error, negative_log_likelihood
from visage.metrics.classification import (
    accuracy,
    confusion_matrix,
    macro_f1,
    per_class,
    wilson_interval,
)
from visage.store.open import open_store
from visage.tracking.evaluation import EVALUATION_FILE, EVALUATION_SCHEMA, Evaluation
from visage_jobs.actor_pool import over_actors

__all__ = ["EvaluateJob", "evaluate_emotion", "evaluation_name"]

PREDICTIONS_FILE = "predictions.parquet"
PREDICTIONS = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int32()),
        ("predicted", pa.int32()),
        ("p", pa.list_(pa.float32())),
        ("face_weight", pa.float32()),
        ("context_weight", pa.float32()),
        ("attention", pa.list_(pa.float32())),
        ("split", pa.string()),
        ("group", pa.string()),
        ("sample", pa.int64()),
    ],
    metadata={"schema": "visage.predictions/1"},
)
BATCH = 32
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateJob:
    """A model on a split."""

    model_uri: str
    data_uri: str
    out: str
    """Folder of this evaluation."""
    split: Split = "test"
    address: str | None = None


def evaluation_name(model_digest: str, data_digest: str, split: Split) -> str:
    """The same model on the same data always has the same folder."""
    return f"{model_digest[:10]}-{data_digest[:10]}-{split}"


def evaluate_emotion(job: EvaluateJob, *, progress: Progress | None = None) -> Evaluation:
    """Predict, score and publish; a standing evaluation of the same content is returned as it is.

    Raises:
        DataError: the split is empty, or the model reads other input sizes than were prepared.
        ClusterError: Ray failed, or a shard kills whoever reads it.
    """
    store = open_store(job.out)
    if store.stat(EVALUATION_FILE) is not None:
        return Evaluation.read(job.out)
    manifest, _ = load_manifest(job.data_uri)
    artifact = load_emotion_model(job.model_uri)
    _check(manifest, artifact, job)
    table = _predictions(job, manifest, progress or (lambda done, total: None))
    fault_point("evaluate.before_predictions")
    sink = io.BytesIO()
    pq.write_table(table, sink)
    store.replace(PREDICTIONS_FILE, sink.getvalue())  # a killed job may have left one; no marker
    body = {
        "schema": EVALUATION_SCHEMA,
        "model_uri": job.model_uri,
        "model_digest": artifact.digest,
        "data_uri": job.data_uri,
        "data_digest": manifest.digest(),
        "split": job.split,
        "classes": list(artifact.classes),
        **scores(table, artifact.classes),
    }
    store.put(EVALUATION_FILE, json.dumps(body, indent=1).encode())
    return Evaluation.read(job.out)


def scores(table: pa.Table, classes: Sequence[str]) -> dict[str, Any]:
    """Accuracy with its Wilson interval, macro-F1, classes, confusion and calibration."""
    truth = np.asarray(table["label"], dtype=np.int64)
    predicted = np.asarray(table["predicted"], dtype=np.int64)
    probabilities = np.asarray(table["p"].to_pylist(), dtype=np.float64)
    confusion = confusion_matrix(truth, predicted, len(classes))
    low, high = wilson_interval(int(np.trace(confusion)), len(truth))
    return {
        "rows": len(truth),
        "accuracy": accuracy(confusion),
        "accuracy_interval": [low, high],
        "macro_f1": macro_f1(confusion),
        "ece": expected_calibration_error(probabilities, truth),
        "nll": negative_log_likelihood(probabilities, truth),
        "per_class": [
            {
                "class": name,
                "precision": one.precision,
                "recall": one.recall,
                "f1": one.f1,
                "support": one.support,
            }
            for name, one in zip(classes, per_class(confusion), strict=True)
        ],
        "confusion": confusion.tolist(),
    }


class PredictShard:
    """What an actor holds: the model; predicts every row of a shard."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        import torch

        from visage.inference.emotion import EmotionPredictor

        torch.set_num_threads(1)  # one actor is one core
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._predictor = EmotionPredictor(load_emotion_model(settings["model_uri"], device=device))
        self._split: Split = settings["split"]
        self._rows = ShardRows(*load_manifest(settings["data_uri"]), self._split)

    def __call__(self, span: range) -> list[dict[str, Any]]:
        """Predictions of some rows of the split."""
        found: list[dict[str, Any]] = []
        for start in range(span.start, span.stop, BATCH):
            samples = range(start, min(start + BATCH, span.stop))
            found += self._predict([(one, self._rows.row(one)) for one in samples])
        return found

    def _predict(self, rows: list[tuple[int, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
        from visage.data.emotion_rows import stored_inputs

        inputs = [stored_inputs(row) for _, row in rows]
        batch = self._predictor.predict_batch(
            np.stack([one.face for one in inputs]),
            np.stack([one.context for one in inputs]),
            np.array([one.box for one in inputs], dtype=np.int64),
        )
        for index, (sample, row) in enumerate(rows):
            p: NDArray[np.float32] = batch.probabilities[index]
            yield {
                "key": row["key"],
                "label": row["label"],
                "predicted": int(p.argmax()),
                "p": p.tolist(),
                "face_weight": float(batch.branch_weights[index, 0]),
                "context_weight": float(batch.branch_weights[index, 1]),
                "attention": batch.attention[index].reshape(-1).tolist(),
                "split": self._split,
                "group": row["group"],
                "sample": sample,
            }


def _predictions(job: EvaluateJob, manifest: Manifest, progress: Progress) -> pa.Table:
    total = manifest.rows(job.split)
    found: list[dict[str, Any]] = []
    for some in over_actors(
        list(_spans(manifest.of_split(job.split))),
        PredictShard,
        {"model_uri": job.model_uri, "data_uri": job.data_uri, "split": job.split},
        name=lambda span: f"{job.data_uri}: the shard of {job.split} rows {span.start} and after",
        address=job.address,
    ):
        found += some
        progress(len(found), total)
    if len(found) != total:
        raise DataError(f"{job.data_uri}: {len(found)} predictions for {total} rows; run again")
    found.sort(key=lambda row: str(row["key"]))
    return pa.Table.from_pylist(found, schema=PREDICTIONS)


def _spans(shards: Sequence[Shard]) -> Iterator[range]:
    """One work item a shard, as sample numbers of the split."""
    first = 0
    for shard in shards:
        yield range(first, first + shard.rows)
        first += shard.rows


def _check(manifest: Manifest, artifact: EmotionArtifact, job: EvaluateJob) -> None:
    if not manifest.rows(job.split):
        counts = {split: manifest.rows(split) for split in manifest.counts}  # type: ignore[arg-type]  # keys are splits
        raise DataError(f"{job.data_uri}: the split {job.split!r} is empty; rows: {counts}")
    if manifest.classes != artifact.classes:
        raise DataError(
            f"{job.model_uri} knows {artifact.classes}, {job.data_uri} has {manifest.classes}"
        )
    prepared = {key: manifest.settings["input"][key] for key in manifest.settings["input"]}
    wanted = artifact.spec.input.model_dump(mode="json")
    sizes = ("face_size", "context_height", "context_width")
    differing = [f"{key} {prepared[key]} prepared, {wanted[key]} read" for key in sizes
                 if prepared[key] != wanted[key]]  # fmt: skip
    if differing:
        raise DataError(
            f"{job.data_uri}: {'; '.join(differing)}. Prepare with the same input sizes"
        )
