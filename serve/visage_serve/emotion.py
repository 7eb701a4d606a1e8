"""The emotion service: pictures in, replies out; it knows neither HTTP nor Ray.

A request goes through three bounded places: threads that decode pictures and find faces, the one
thread that runs the network on batches of faces, and the threads again for overlays. A picture that
cannot be used costs itself only.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from visage.data.emotion_inputs import EmotionInputs
from visage.errors import MediaError, VisageError
from visage.faces.provider import Box
from visage.inference.emotion import FaceEmotion
from visage.specs.serve import ServeSpec
from visage_serve.intake import Submission
from visage_serve.network import FaceScores, Network
from visage_serve.pictures import PreparedFace, PreparedPicture, Preparer, probe_picture
from visage_serve.refusal import detail_of_media
from visage_serve.wire import (
    EmotionReply,
    FaceReply,
    ImageReply,
    ModelReply,
    ServiceReply,
    Timing,
)

__all__ = ["EmotionService", "Forward", "NotReadyError"]

T = TypeVar("T")
Forward = Callable[[EmotionInputs], Coroutine[Any, Any, FaceScores]]
"""One face through the network; who gathers the batches is the caller's business."""


class NotReadyError(VisageError):
    """The proof, one real inference, did not succeed in time."""


class EmotionService:
    """Classifies submissions; belongs to one event loop.

    `forward` defaults to a pass of its own for each face; in a cluster it is the method that
    Ray Serve batches over requests.
    """

    def __init__(
        self,
        *,
        spec: ServeSpec,
        model: ModelReply,
        preparer: Preparer,
        network: Network,
        forward: Forward | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec = spec
        self._model = model
        self._preparer = preparer
        self._network = network
        self._forward = forward or self._alone
        self._clock = clock
        self._proven_at = float("-inf")
        self._proving = asyncio.Lock()

    async def classify(self, submission: Submission, *, overlay: bool = False) -> EmotionReply:
        """One entry for each picture, in order; the error of a picture stands in its entry."""
        start = self._clock()
        prepared = await _gathered(
            [
                self._prepare(data, boxes)
                for data, boxes in zip(submission.pictures, submission.boxes, strict=True)
            ]
        )
        prepared_at = self._clock()
        found = await _gathered([self._read_faces(picture) for picture in prepared])
        forward_at = self._clock()
        if any(found):
            self._proven_at = forward_at
        overlays = [None] * len(found) if not overlay else await self._overlays(submission, found)
        images = [
            _image_reply(index, picture, faces, drawn)
            for index, (picture, faces, drawn) in enumerate(
                zip(prepared, found, overlays, strict=True)
            )
        ]
        timing = Timing(
            prepare=_ms(prepared_at - start),
            forward=_ms(forward_at - prepared_at),
            total=_ms(self._clock() - start),
        )
        return EmotionReply(images=images, model=self._model, timing_ms=timing)

    async def prove(self) -> None:
        """Return if a real inference succeeded within the last health period, else make one.

        Raises:
            NotReadyError: it failed, or took longer than `health_timeout_s`.
        """
        async with self._proving:
            if self._clock() - self._proven_at <= self.spec.health_period_s:
                return
            data, box = probe_picture()
            try:
                async with asyncio.timeout(self.spec.health_timeout_s):
                    await self.classify(Submission(pictures=(data,), boxes=((box,),)))
            except TimeoutError:
                raise NotReadyError(
                    f"no inference within {self.spec.health_timeout_s:g} s; the replica is stuck"
                ) from None

    def describe(self) -> ServiceReply:
        """What runs here and what it accepts."""
        return ServiceReply(
            model=self._model,
            detector=self._preparer.detector_name,
            detector_licence=self._preparer.detector_licence,
            limits=self.spec.limits.model_dump(),
            batches={str(size): n for size, n in sorted(self._network.batch_sizes.items())},
        )

    def close(self) -> None:
        """Start nothing more; what runs ends by itself."""
        self._preparer.close()
        self._network.close()

    async def _prepare(
        self, data: bytes, boxes: Sequence[Box] | None
    ) -> PreparedPicture | MediaError:
        try:
            return await self._preparer.prepare(data, boxes)
        except MediaError as err:
            return err

    async def _read_faces(self, picture: PreparedPicture | MediaError) -> list[FaceEmotion]:
        if isinstance(picture, MediaError):
            return []
        scores = await _gathered([self._forward(face.inputs) for face in picture.faces])
        return [
            self._face_emotion(face, given, picture.attention_box)
            for face, given in zip(picture.faces, scores, strict=True)
        ]

    def _face_emotion(self, face: PreparedFace, scores: FaceScores, covered: Box) -> FaceEmotion:
        classes = self._model.classes
        face_weight, context_weight = scores.branch_weights.tolist()
        return FaceEmotion(
            box=face.box,
            score=face.score,
            label=classes[int(scores.probabilities.argmax())],
            probabilities=dict(zip(classes, scores.probabilities.tolist(), strict=True)),
            branch_weights={"face": face_weight, "context": context_weight},
            attention=scores.attention.tolist(),
            attention_box=covered,
        )

    async def _overlays(
        self, submission: Submission, found: Sequence[list[FaceEmotion]]
    ) -> list[bytes | None]:
        async def drawn(data: bytes, faces: list[FaceEmotion]) -> bytes | None:
            return await self._preparer.draw(data, faces) if faces else None

        return await _gathered(
            [drawn(data, faces) for data, faces in zip(submission.pictures, found, strict=True)]
        )

    async def _alone(self, inputs: EmotionInputs) -> FaceScores:
        (scores,) = await self._network.run([inputs])
        return scores


async def _gathered(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results, in order; the first error, or the caller's end, ends the rest too."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


def _image_reply(
    index: int,
    picture: PreparedPicture | MediaError,
    faces: Sequence[FaceEmotion],
    drawn: bytes | None,
) -> ImageReply:
    if isinstance(picture, MediaError):
        return ImageReply(error=detail_of_media(picture, index=index))
    return ImageReply(
        width=picture.width,
        height=picture.height,
        faces=[FaceReply(**asdict(face)) for face in faces],
        note=picture.note,
        overlay_jpeg=None if drawn is None else base64.b64encode(drawn).decode("ascii"),
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 2)
