"""Pictures for a report: what the model saw, and its surest mistakes, drawn from prepared rows."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq

from visage.data.emotion_inputs import centre_region
from visage.data.emotion_rows import stored_inputs
from visage.data.shards import ShardRows, load_manifest
from visage.faces.provider import Box, Image
from visage.inference.artifact import load_emotion_model
from visage.inference.emotion import FaceEmotion
from visage.inference.overlay import draw_overlay
from visage.media.image import encode_jpeg
from visage.specs.emotion import EmotionModelSpec
from visage.store.open import open_store
from visage.tracking.evaluation import Evaluation
from visage.tracking.report.content import Mistake, Picture

__all__ = ["gallery", "worst_mistakes"]

WIDTH = 480
QUALITY = 82


def gallery(evaluation: Evaluation, data_uri: str, *, per_class: int = 1) -> list[Picture]:
    """For each class the surest right answers, with box, probability and attention."""
    rows, source, spec = _open(evaluation, data_uri)
    right = [row for row in rows if row["label"] == row["predicted"]]
    chosen: list[Mapping[str, Any]] = []
    for index in range(len(evaluation.classes)):
        mine = [row for row in right if row["label"] == index]
        chosen += sorted(mine, key=lambda row: -row["p"][index])[:per_class]
    return [
        Picture(
            title=evaluation.classes[row["label"]],
            jpeg=_drawn(row, source, spec, evaluation.classes),
            caption=f"{max(row['p']):.0%}, face weight {row['face_weight']:.2f}",
        )
        for row in chosen
    ]


def worst_mistakes(evaluation: Evaluation, data_uri: str, *, count: int = 6) -> list[Mistake]:
    """The surest wrong answers."""
    rows, source, spec = _open(evaluation, data_uri)
    wrong = [row for row in rows if row["label"] != row["predicted"]]
    return [
        Mistake(
            key=row["key"],
            truth=evaluation.classes[row["label"]],
            predicted=evaluation.classes[row["predicted"]],
            probability=max(row["p"]),
            jpeg=_drawn(row, source, spec, evaluation.classes),
        )
        for row in sorted(wrong, key=lambda row: -max(row["p"]))[:count]
    ]


def _open(
    evaluation: Evaluation, data_uri: str
) -> tuple[list[dict[str, Any]], ShardRows, EmotionModelSpec]:
    body = open_store(evaluation.uri).get("predictions.parquet")
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(body)).to_pylist()
    manifest, store = load_manifest(data_uri)
    source = ShardRows(manifest, store, evaluation.split)  # type: ignore[arg-type]  # written by us
    return rows, source, load_emotion_model(evaluation.model_uri).spec


def _drawn(
    row: Mapping[str, Any], source: ShardRows, spec: EmotionModelSpec, classes: Sequence[str]
) -> bytes:
    inputs = stored_inputs(source.row(int(row["sample"])))
    image, box, covered = _enlarged(inputs.context, inputs.box, spec)
    cells = np.asarray(row["attention"], dtype=np.float32)
    side = int(np.sqrt(len(cells)))
    face = FaceEmotion(
        box=box,
        score=1.0,
        label=classes[row["predicted"]],
        probabilities=dict(zip(classes, row["p"], strict=True)),
        branch_weights={"face": row["face_weight"], "context": row["context_weight"]},
        attention=cells.reshape(side, side).tolist(),
        attention_box=covered,
    )
    return encode_jpeg(draw_overlay(image, [face]), QUALITY)


def _enlarged(context: Image, box: Box, spec: EmotionModelSpec) -> tuple[Image, Box, Box]:
    """The small context at report size, with the box and the attended region scaled alike."""
    height, width = context.shape[:2]
    factor = WIDTH / width
    size = (WIDTH, round(height * factor))
    image: Image = cv2.resize(context, size, interpolation=cv2.INTER_CUBIC)
    region = centre_region(height, width, spec.input.context_crop)
    return image, _scaled(box, factor), _scaled(region, factor)


def _scaled(box: Box, factor: float) -> Box:
    x1, y1, x2, y2 = (round(edge * factor) for edge in box)
    return x1, y1, x2, y2
