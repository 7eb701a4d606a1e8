"""Emotion of every face in a picture, from trained weights.

The pixels go the same way as in training (`visage.data.emotion_inputs`). The attention grid comes
back with the part of the picture that it covers, so that it can be drawn where the model looked.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from visage.data.emotion_inputs import (
    EmotionInputs,
    centre_region,
    check_picture,
    evaluation_views,
    region_in_source,
)
from visage.errors import DataError, MediaError, SpecError
from visage.faces.provider import Box, FaceProvider, Image, clip_box
from visage.inference.artifact import EmotionArtifact
from visage.models import EmotionOutput, picture_tensor

__all__ = ["EmotionBatch", "EmotionPredictor", "FaceEmotion"]

CHUNK = 64
"""Faces that go through the network together; bounds memory whatever the caller sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionBatch:
    """Outputs for N faces, in the order they were given."""

    probabilities: NDArray[np.float32]
    """(N, K), rows summing to 1."""
    branch_weights: NDArray[np.float32]
    """(N, 2), face then context, rows summing to 1."""
    attention: NDArray[np.float32]
    """(N, h, w), each summing to 1 over the grid; zeros where the model reads no context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceEmotion:
    """One face of a picture and what the model reads in it and around it."""

    box: Box
    """As detected or as given, in pixels; may reach beyond the picture."""
    score: float
    """The detector's score; 1.0 for a box that the caller gave."""
    label: str
    """The most probable class."""
    probabilities: dict[str, float]
    """Every class, summing to 1."""
    branch_weights: dict[str, float]
    """`face` and `context`, summing to 1."""
    attention: list[list[float]]
    """Grid of rows, summing to 1."""
    attention_box: Box
    """The part of the picture that the grid covers, in its pixels."""

    def to_json(self) -> dict[str, Any]:
        """Plain values for a reply or a table."""
        return {
            "box": list(self.box),
            "score": self.score,
            "label": self.label,
            "probabilities": self.probabilities,
            "branch_weights": self.branch_weights,
            "attention": self.attention,
            "attention_box": list(self.attention_box),
        }


class EmotionPredictor:
    """Predicts with one loaded model; `predict_batch` may be called from several threads.

    `predict_image` without boxes asks the provider, which is not thread-safe unless it says so.
    """

    def __init__(self, artifact: EmotionArtifact, provider: FaceProvider | None = None) -> None:
        self.artifact = artifact
        self._provider = provider
        self._device = next(artifact.model.parameters()).device
        artifact.model.eval()

    def predict_batch(
        self,
        faces: NDArray[np.uint8],
        contexts: NDArray[np.uint8],
        context_boxes: NDArray[np.integer[Any]],
    ) -> EmotionBatch:
        """Predict from prepared rows.

        Args:
            faces: uint8 (N, face_size, face_size, 3); black where there is no face.
            contexts: uint8 (N, context_height, context_width, 3), faces not hidden.
            context_boxes: Integers (N, 4), the face in the context; zeros if there is none.

        Raises:
            DataError: shapes or types differ from the model's spec.
        """
        self._check(faces, contexts, context_boxes)
        parts = [
            self._predict_chunk(
                faces[at : at + CHUNK], contexts[at : at + CHUNK], context_boxes[at : at + CHUNK]
            )
            for at in range(0, max(1, len(faces)), CHUNK)
        ]
        return EmotionBatch(
            probabilities=np.concatenate([part.probabilities for part in parts]),
            branch_weights=np.concatenate([part.branch_weights for part in parts]),
            attention=np.concatenate([part.attention for part in parts]),
        )

    def predict_image(
        self, image: Image, boxes: Sequence[Box] | None = None, max_faces: int = 16
    ) -> list[FaceEmotion]:
        """Predict every face of one picture; an empty list if it has none.

        Args:
            image: RGB uint8 (height, width, 3).
            boxes: Faces already found, which saves the detection; they may reach beyond the
                picture, but not lie outside it.
            max_faces: Of more detected faces only the surest are read; more boxes are refused.

        Raises:
            MediaError: `bad_box` for a box without area or outside the picture, and what
                `EmotionInputs.of` refuses.
            SpecError: neither boxes nor a provider, or more boxes than max_faces.
        """
        check_picture(image)
        found = self._faces_of(image, boxes, max_faces)
        spec = self.artifact.spec
        inputs = [EmotionInputs.of(image, box, spec.input) for box, _ in found]
        if not inputs:
            return []
        batch = self.predict_batch(
            np.stack([one.face for one in inputs]),
            np.stack([one.context for one in inputs]),
            np.array([one.box for one in inputs], dtype=np.int64),
        )
        covered = self._covered(image)
        return [
            self._face_emotion(batch, index, box=box, score=score, covered=covered)
            for index, (box, score) in enumerate(found)
        ]

    def _predict_chunk(
        self,
        faces: NDArray[np.uint8],
        contexts: NDArray[np.uint8],
        boxes: NDArray[np.integer[Any]],
    ) -> EmotionBatch:
        spec = self.artifact.spec
        crop = spec.input.context_crop
        views = np.empty((len(faces), crop, crop, 3), np.uint8)
        for row, (face, context, box) in enumerate(zip(faces, contexts, boxes, strict=True)):
            x1, y1, x2, y2 = (int(edge) for edge in box)
            inputs = EmotionInputs(face=face, context=context, box=(x1, y1, x2, y2))
            _, views[row] = evaluation_views(inputs, spec)
        with torch.inference_mode():
            output: EmotionOutput = self.artifact.model(
                self._to_tensor(faces), self._to_tensor(views)
            )
            probabilities = output.logits.float().softmax(dim=1)
        return EmotionBatch(
            probabilities=probabilities.cpu().numpy(),
            branch_weights=output.branch_weights.float().cpu().numpy(),
            attention=output.attention.float().cpu().numpy(),
        )

    def _to_tensor(self, pictures: NDArray[np.uint8]) -> torch.Tensor:
        # torch warns of arrays that it could write through, and memory-mapped shards are read-only
        whole = np.require(pictures, requirements=["C", "W"])
        return picture_tensor(torch.from_numpy(whole).to(self._device))

    def _faces_of(
        self, image: Image, boxes: Sequence[Box] | None, max_faces: int
    ) -> list[tuple[Box, float]]:
        height, width = image.shape[:2]
        if boxes is not None:
            if len(boxes) > max_faces:
                raise SpecError(
                    f"{len(boxes)} boxes for one picture, at most {max_faces} are read; "
                    "ask in parts or raise max_faces"
                )
            return [(_checked(box, width=width, height=height), 1.0) for box in boxes]
        if self._provider is None:
            raise SpecError("give the boxes of the faces, or a face provider to find them")
        seen = [
            (face.box, float(face.score))
            for face in self._provider.detect(image)
            if clip_box(face.box, width=width, height=height) is not None
        ]
        return sorted(seen, key=lambda entry: -entry[1])[:max_faces]

    def _covered(self, image: Image) -> Box:
        spec = self.artifact.spec.input
        height, width = spec.context_height, spec.context_width
        return region_in_source(
            centre_region(height, width, spec.context_crop),
            source_width=image.shape[1],
            source_height=image.shape[0],
            height=height,
            width=width,
        )

    def _face_emotion(
        self, batch: EmotionBatch, index: int, *, box: Box, score: float, covered: Box
    ) -> FaceEmotion:
        classes = self.artifact.classes
        row = batch.probabilities[index]
        face, context = batch.branch_weights[index].tolist()
        return FaceEmotion(
            box=box,
            score=score,
            label=classes[int(row.argmax())],
            probabilities=dict(zip(classes, row.tolist(), strict=True)),
            branch_weights={"face": face, "context": context},
            attention=batch.attention[index].tolist(),
            attention_box=covered,
        )

    def _check(
        self,
        faces: NDArray[np.uint8],
        contexts: NDArray[np.uint8],
        boxes: NDArray[np.integer[Any]],
    ) -> None:
        spec, count = self.artifact.spec.input, len(faces)
        wanted = (
            ("faces", faces, (count, spec.face_size, spec.face_size, 3), "u1"),
            ("contexts", contexts, (count, spec.context_height, spec.context_width, 3), "u1"),
            ("context_boxes", boxes, (count, 4), "an integer"),
        )
        for name, array, shape, kind in wanted:
            is_right = array.dtype == np.uint8 if kind == "u1" else array.dtype.kind in "iu"
            if array.shape != shape or not is_right:
                raise DataError(
                    f"{name}: {array.dtype} {array.shape}, but the model reads "
                    f"{'uint8' if kind == 'u1' else kind} {shape}; prepare with the model's spec"
                )


def _checked(box: Box, *, width: int, height: int) -> Box:
    try:
        x1, y1, x2, y2 = (operator.index(edge) for edge in box)
    except (TypeError, ValueError):
        raise MediaError(
            "bad_box", f"box {box!r}: need x1, y1, x2, y2, four whole pixels"
        ) from None
    whole = (x1, y1, x2, y2)
    if clip_box(whole, width=width, height=height) is None:
        raise MediaError(
            "bad_box",
            f"box {list(box)} has no area inside the picture of {width}x{height} pixels; "
            "boxes are x1, y1, x2, y2 with x1 < x2 and y1 < y2",
        )
    return whole
