"""Rows of prepared clips: one row is a segment of one clip of one identity, at 60 frames a second.

Trajectories are resampled to 60 Hz; pictures are the true frames of the source, never repeated,
each with its place in the trajectory. Arrays are kept as little-endian bytes, so that a column that
nobody asks for costs nothing and one that is asked for is a view (models.md part D).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from visage.errors import DataError
from visage.landmarks import POINTS

__all__ = [
    "CLIP_ROWS",
    "CLIP_SCHEMA",
    "FPS",
    "MELS",
    "REFERENCES",
    "SAMPLE_RATE",
    "SHOULDER_POINTS",
    "ClipArrays",
    "cut_row",
    "pack_clip",
    "unpack_clip",
]

CLIP_ROWS = "clips/1"
FPS = 60
"""Of every trajectory."""
SAMPLE_RATE = 16_000
MELS = 80
MEL_PER_FRAME = 2
SHOULDER_POINTS = 18
REFERENCES = ("neutral", "None", "M", "R", "O")
"""What the five pictures of `references` show, in their order."""

CLIP_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("group", pa.string()),  # the identity
        ("style", pa.string()),
        ("clip", pa.string()),
        ("source_sha256", pa.string()),
        ("start_s", pa.float64()),
        ("frames", pa.int32()),
        ("size", pa.int32()),
        ("audio", pa.binary()),
        ("mel", pa.binary()),
        ("landmarks", pa.binary()),
        ("mean", pa.binary()),
        ("pose", pa.binary()),
        ("points", pa.binary()),
        ("torso", pa.binary()),  # null = unknown
        ("images", pa.list_(pa.binary())),
        ("image_at", pa.list_(pa.int32())),
        ("references", pa.list_(pa.binary())),
        ("reference_points", pa.binary()),
        ("coverage", pa.list_(pa.float32())),
    ],
    metadata={"schema": CLIP_ROWS},
)

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipArrays:
    """The trajectories of one segment of n frames."""

    audio: NDArray[np.int16]
    """Mono at 16 kHz, shape (n * 16000 / 60 rounded down,)."""
    mel: Floats
    """Log-mel at 120 Hz, shape (2n, 80)."""
    landmarks: Floats
    """Object coordinates, head pose removed, shape (n, 68, 3)."""
    mean: Floats
    """Mean shape of the clip, shape (68, 3)."""
    pose: Floats
    """Pitch, yaw, roll in degrees and translation, shape (n, 6)."""
    points: Floats
    """Pixels of the stored pictures, shape (n, 68, 2)."""
    torso: Floats | None
    """Shoulder points in pixels, shape (n, 18, 2), or None if unknown."""

    def __len__(self) -> int:
        """Frames at 60 Hz."""
        return len(self.landmarks)

    def cut(self, start: int, stop: int) -> ClipArrays:
        """The frames [start, stop)."""
        first = start * SAMPLE_RATE // FPS
        return ClipArrays(
            audio=self.audio[first : first + (stop - start) * SAMPLE_RATE // FPS],
            mel=self.mel[MEL_PER_FRAME * start : MEL_PER_FRAME * stop],
            landmarks=self.landmarks[start:stop],
            mean=self.mean,
            pose=self.pose[start:stop],
            points=self.points[start:stop],
            torso=None if self.torso is None else self.torso[start:stop],
        )


_SHAPES: dict[str, tuple[int, ...]] = {
    "mel": (MELS,),
    "landmarks": (POINTS, 3),
    "pose": (6,),
    "points": (POINTS, 2),
}
_OUTER: dict[str, int] = {"mel": MEL_PER_FRAME, "landmarks": 1, "pose": 1, "points": 1}


def pack_clip(arrays: ClipArrays) -> dict[str, Any]:
    """The array columns of a row; DataError if lengths or shapes do not belong together."""
    frames = len(arrays)
    columns: dict[str, Any] = {"frames": frames}
    for name, inner in _SHAPES.items():
        value = getattr(arrays, name)
        wanted = (frames * _OUTER[name], *inner)
        if value.shape != wanted:
            raise DataError(f"clip row: {name} has shape {value.shape}, needs {wanted}")
        columns[name] = _bytes(value, name)
    if arrays.mean.shape != (POINTS, 3):
        raise DataError(f"clip row: mean has shape {arrays.mean.shape}, needs ({POINTS}, 3)")
    samples = frames * SAMPLE_RATE // FPS
    if arrays.audio.shape != (samples,):
        raise DataError(f"clip row: audio has shape {arrays.audio.shape}, needs ({samples},)")
    columns["mean"] = _bytes(arrays.mean, "mean")
    columns["audio"] = arrays.audio.astype("<i2").tobytes()
    torso = arrays.torso
    columns["torso"] = None if torso is None else torso.astype("<f4").tobytes()
    return columns


def unpack_clip(row: Mapping[str, Any]) -> ClipArrays:
    """The trajectories of a stored row."""
    frames = int(row["frames"])
    found = {
        name: _array(row[name], (frames * _OUTER[name], *inner)) for name, inner in _SHAPES.items()
    }
    torso = row["torso"]
    return ClipArrays(
        audio=np.frombuffer(row["audio"], "<i2"),
        mean=_array(row["mean"], (POINTS, 3)),
        torso=None if torso is None else _array(torso, (frames, SHOULDER_POINTS, 2)),
        **found,
    )


def cut_row(row: Mapping[str, Any], start: int, stop: int) -> dict[str, Any]:
    """The frames [start, stop) of a row as a row of their own."""
    clip, begun_s = str(row["clip"]), float(row["start_s"]) + start / FPS
    inside = [index for index, at in enumerate(row["image_at"]) if start <= at < stop]
    return {
        **row,
        **pack_clip(unpack_clip(row).cut(start, stop)),
        "key": f"{clip}@{begun_s:.2f}",
        "start_s": begun_s,
        "images": [row["images"][index] for index in inside],
        "image_at": [row["image_at"][index] - start for index in inside],
    }


def _bytes(value: Floats, name: str) -> bytes:
    if not np.isfinite(value).all():
        raise DataError(f"clip row: {name} holds NaN or infinity")
    return value.astype("<f4").tobytes()


def _array(body: bytes, shape: tuple[int, ...]) -> Floats:
    return np.frombuffer(body, "<f4").reshape(shape)
