"""How a stored segment of a clip becomes one training sample, for each part that learns from clips.

Which window, pair or frame a sample shows is a function of (seed, epoch, sample), handed in as a
generator, so that the choice does not depend on threads, ranks or restarts. For validation the
choice is the middle of the segment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.data.clip_rows import (
    FPS,
    MEL_PER_FRAME,
    SAMPLE_RATE,
    SHOULDER_POINTS,
    ClipArrays,
    unpack_clip,
)
from visage.errors import DataError
from visage.faces.regions import region_map
from visage.media.image import Image, decode_image

__all__ = ["FrameDecoder", "MotionDecoder", "PairDecoder", "audio_of_window"]

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionDecoder:
    """A window of trajectories with the sound that leads into it."""

    window: int
    """Frames that count."""
    lead_in: int = 0
    """Frames before them whose sound and pose warm a network up."""
    training: bool = False

    columns = ("frames", "audio", "mel", "landmarks", "mean", "pose", "points", "torso")

    def __call__(self, row: Mapping[str, Any], rng: np.random.Generator) -> Arrays:
        """mel (2(lead_in+window), 80), landmarks (window, 68, 3), mean (68, 3), pose
        (lead_in+window, 6), audio int16 of the whole span.

        A segment with room for the window alone is led into by its first frame, held, and silence.

        Raises:
            DataError: the segment is shorter than the window.
        """
        arrays = unpack_clip(row)
        key, span = str(row["key"]), self.lead_in + self.window
        missing = max(0, span - len(arrays))
        if missing > self.lead_in:
            raise _too_short(key, len(arrays), self.window)
        start = _start(len(arrays), span - missing, rng if self.training else None, key)
        stop = start + span - missing
        mel = arrays.mel[MEL_PER_FRAME * start : MEL_PER_FRAME * stop]
        audio = audio_of_window(arrays.audio, start, stop)
        silence = span * SAMPLE_RATE // FPS - len(audio)
        return {
            "mel": _led_into(mel, MEL_PER_FRAME * missing, mode="edge"),
            "landmarks": arrays.landmarks[stop - self.window : stop],
            "mean": arrays.mean,
            "pose": _led_into(arrays.pose[start:stop], missing, mode="edge"),
            "audio": _led_into(audio, silence, mode="constant"),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PairDecoder:
    """Two frames of one identity: source and driving picture."""

    size: int
    training: bool = False

    columns = ("frames", "audio", "mel", "landmarks", "mean", "pose", "points", "torso",
               "size", "images", "image_at")  # fmt: skip

    def __call__(self, row: Mapping[str, Any], rng: np.random.Generator) -> Arrays:
        """source and driving uint8 (S, S, 3), with *_pose (6,) and *_points (68, 2) in pixels."""
        arrays = unpack_clip(row)
        first, second = _two(len(row["images"]), rng if self.training else None)
        sample: Arrays = {}
        for name, index in (("source", first), ("driving", second)):
            at = int(row["image_at"][index])
            sample[name] = _picture(row["images"][index], self.size)
            sample[f"{name}_pose"] = arrays.pose[at]
            sample[f"{name}_points"] = _scaled(arrays.points[at], int(row["size"]), self.size)
        return sample


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameDecoder:
    """A target frame, another frame of the same person, and the style references."""

    size: int
    training: bool = False

    columns = (*PairDecoder.columns, "references", "reference_points")

    def __call__(self, row: Mapping[str, Any], rng: np.random.Generator) -> Arrays:
        """Pictures uint8 (S, S, 3), points (68, 2) in pixels of S, regions uint8 (S, S),
        references uint8 (5, S, S, 3), torso (18, 2) (NaN if unknown), style_key uint8 (32,)."""
        arrays = unpack_clip(row)
        first, second = _two(len(row["images"]), rng if self.training else None)
        at = int(row["image_at"][second])
        stored = int(row["size"])
        points = _scaled(arrays.points[at], stored, self.size)
        references = np.stack([_picture(body, self.size) for body in row["references"]])
        reference_points = np.frombuffer(row["reference_points"], "<f4").reshape(-1, 68, 2)
        return {
            "source": _picture(row["images"][first], self.size),
            "source_points": _scaled(arrays.points[int(row["image_at"][first])], stored, self.size),
            "target": _picture(row["images"][second], self.size),
            "points": points,
            "regions": region_map(points, width=self.size, height=self.size),
            "references": references,
            "reference_points": _scaled(reference_points, stored, self.size),
            "torso": _torso(arrays, at, stored, self.size),
            "style_key": _style_key(row["references"]),
        }


def audio_of_window(audio: NDArray[np.int16], start: int, stop: int) -> NDArray[np.int16]:
    """The sound of frames start … stop-1 at 60 Hz; its length depends on stop - start alone."""
    first = start * SAMPLE_RATE // FPS
    return audio[first : first + (stop - start) * SAMPLE_RATE // FPS]


def _led_into(
    values: NDArray[Any], count: int, *, mode: Literal["edge", "constant"]
) -> NDArray[Any]:
    """With so many more at the beginning: the first one repeated, or zeros."""
    return np.pad(values, [(count, 0), *[(0, 0)] * (values.ndim - 1)], mode=mode)


def _too_short(key: str, frames: int, window: int) -> DataError:
    return DataError(
        f"{key}: the segment has {frames} frames, the window needs {window}; prepare with longer "
        "segments (segment_s), leave shorter clips out (--set shortest_s), or choose a shorter "
        "window"
    )


def _start(frames: int, span: int, rng: np.random.Generator | None, key: str) -> int:
    if frames < span:
        raise _too_short(key, frames, span)
    return int(rng.integers(frames - span + 1)) if rng is not None else (frames - span) // 2


def _two(count: int, rng: np.random.Generator | None) -> tuple[int, int]:
    """Two different pictures; the first and the middle one without a generator."""
    if count < 2:
        raise DataError("a segment needs two pictures to make a pair; prepare longer segments")
    if rng is None:
        return 0, count // 2
    first = int(rng.integers(count))
    return first, (first + 1 + int(rng.integers(count - 1))) % count


def _picture(body: bytes, size: int) -> Image:
    image = decode_image(body)
    if image.shape[0] == size == image.shape[1]:
        return image
    shrinks = image.shape[0] > size
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (size, size), interpolation=how), np.uint8)


def _scaled(points: NDArray[np.float32], stored: int, size: int) -> NDArray[np.float32]:
    """Pixels of another picture size; pixel centres are whole numbers on both sides."""
    return ((points + 0.5) * (size / stored) - 0.5).astype(np.float32)


def _torso(arrays: ClipArrays, at: int, stored: int, size: int) -> NDArray[np.float32]:
    if arrays.torso is None:
        return np.full((SHOULDER_POINTS, 2), np.nan, np.float32)
    return _scaled(arrays.torso[at], stored, size)


def _style_key(references: list[bytes]) -> NDArray[np.uint8]:
    digest = hashlib.sha256()
    for body in references:
        digest.update(hashlib.sha256(body).digest())
    return np.frombuffer(digest.digest(), np.uint8)
