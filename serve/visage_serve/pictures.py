"""Decoding, finding faces and cropping, in a few threads that the event loop waits for.

Invariant: at most `threads` decoded pictures exist at a time, since a picture is decoded inside a
thread and only its small crops leave it; overlays decode again rather than hold on to pixels.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np

from visage.data.emotion_inputs import EmotionInputs, centre_region, region_in_source
from visage.errors import MediaError
from visage.faces.provider import Box, FaceProvider, Image, clip_box
from visage.inference.emotion import FaceEmotion
from visage.inference.overlay import draw_overlay
from visage.media.image import encode_jpeg
from visage.media.limits import ImageLimits
from visage.media.sandbox import MediaSandbox
from visage.specs.emotion import EmotionInputSpec
from visage.specs.serve import RequestLimits

__all__ = ["PreparedFace", "PreparedPicture", "Preparer", "probe_picture"]

STATED_SCORE = 1.0
OVERLAY_QUALITY = 88


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedFace:
    """One face, ready for the network."""

    box: Box
    score: float
    inputs: EmotionInputs


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedPicture:
    """What is left of a picture once its faces are cut out."""

    width: int
    height: int
    faces: tuple[PreparedFace, ...]
    attention_box: Box
    """The part of the picture that the network's attention grid covers."""
    note: str | None = None


class Preparer:
    """Owns the threads and one face detector for each, for detectors are not thread-safe."""

    def __init__(
        self,
        *,
        open_detector: Callable[[], FaceProvider],
        inputs: EmotionInputSpec,
        limits: RequestLimits,
        sandbox: MediaSandbox,
        threads: int,
    ) -> None:
        """`sandbox` decodes, for the pictures are anybody's; it stays the caller's."""
        self._inputs = inputs
        self._limits = limits
        self._image_limits = ImageLimits(
            max_bytes=limits.body_bytes, max_pixels=limits.picture_pixels
        )
        self._detectors: queue.SimpleQueue[FaceProvider] = queue.SimpleQueue()
        for _ in range(threads):
            detector = open_detector()
            self.detector_name = detector.name
            self.detector_licence = detector.licence
            self._detectors.put(detector)
        self._sandbox = sandbox
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="prepare")

    async def prepare(self, data: bytes, boxes: Sequence[Box] | None) -> PreparedPicture:
        """Decode one picture and cut out its faces: those in `boxes`, or those that are found.

        Raises:
            MediaError: the picture cannot be used, or a box lies outside it (`bad_box`).
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._prepared, data, boxes)

    async def draw(self, data: bytes, faces: Sequence[FaceEmotion]) -> bytes:
        """The picture as a JPEG with boxes, labels and attention drawn in."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._drawn, data, faces)

    def close(self) -> None:
        """Let what runs end, and start nothing."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _prepared(self, data: bytes, boxes: Sequence[Box] | None) -> PreparedPicture:
        image = self._sandbox.decode_image(data, limits=self._image_limits)
        height, width = image.shape[:2]
        if boxes is None:
            found = self._detected(image)
            note = _note_on(len(found), self._limits.faces)
        else:
            found = [(_checked(box, width=width, height=height), STATED_SCORE) for box in boxes]
            note = None
        faces = tuple(
            PreparedFace(box=box, score=score, inputs=EmotionInputs.of(image, box, self._inputs))
            for box, score in found[: self._limits.faces]
        )
        return PreparedPicture(
            width=width, height=height, faces=faces, attention_box=self._covered(image), note=note
        )

    def _detected(self, image: Image) -> list[tuple[Box, float]]:
        """Boxes that reach into the picture with their scores, surest first."""
        detector = self._detectors.get(timeout=1.0)  # never waits: as many detectors as threads
        try:
            faces = detector.detect(image)
        finally:
            self._detectors.put(detector)
        height, width = image.shape[:2]
        found = [
            (face.box, float(face.score))
            for face in faces
            if clip_box(face.box, width=width, height=height) is not None
        ]
        return sorted(found, key=lambda entry: -entry[1])

    def _covered(self, image: Image) -> Box:
        height, width = self._inputs.context_height, self._inputs.context_width
        return region_in_source(
            centre_region(height, width, self._inputs.context_crop),
            source_width=image.shape[1],
            source_height=image.shape[0],
            height=height,
            width=width,
        )

    def _drawn(self, data: bytes, faces: Sequence[FaceEmotion]) -> bytes:
        image = self._sandbox.decode_image(data, limits=self._image_limits)
        return encode_jpeg(draw_overlay(image, faces), OVERLAY_QUALITY)


@cache
def probe_picture() -> tuple[bytes, Box]:
    """A small picture and a box in it, for the inference that proves a replica alive."""
    rows, columns = np.mgrid[0:120, 0:160]
    picture = np.stack([rows * 2, columns, (rows + columns) % 256], axis=-1).astype(np.uint8)
    return encode_jpeg(picture), (50, 30, 110, 90)


def _checked(box: Box, *, width: int, height: int) -> Box:
    if clip_box(box, width=width, height=height) is None:
        raise MediaError(
            "bad_box", f"box {list(box)} lies outside the picture of {width}x{height} pixels"
        )
    return box


def _note_on(found: int, most: int) -> str | None:
    if found == 0:
        return "no face was found; state its box if there is one"
    if found > most:
        return f"{found} faces were found; the {most} surest are answered"
    return None
