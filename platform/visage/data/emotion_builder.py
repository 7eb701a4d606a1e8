"""From a record to an emotion row: decoded in the sandbox, face found, cropped, labelled."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from visage.data.emotion_inputs import EmotionInputs
from visage.data.emotion_rows import EMOTION_SCHEMA
from visage.data.records import Record
from visage.data.row_maker import Row
from visage.data.stage_clock import StageClock
from visage.errors import MediaError
from visage.faces.mapper import LandmarkRegions, RegionMapper
from visage.faces.pose import head_pose
from visage.faces.provider import Box, FaceProvider, Image, clip_box
from visage.media.image import encode_jpeg, encode_png
from visage.media.limits import ImageLimits
from visage.media.sandbox import MediaSandbox, read_media
from visage.specs.emotion import EmotionInputSpec
from visage.specs.prepare import EmotionPrepareSpec

__all__ = ["EmotionRowMaker", "FacePolicy", "emotion_row"]

FacePolicy = Literal["largest", "surest", "only"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Located:
    box: Box
    score: float
    landmarks: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionRowMaker:
    """Turns pictures into rows with one set of tools."""

    classes: tuple[str, ...]
    spec: EmotionPrepareSpec
    provider: FaceProvider
    sandbox: MediaSandbox
    """Decodes the corpus' files, which nobody vouches for."""
    regions: RegionMapper = field(default_factory=LandmarkRegions)
    """Labels the face crops."""

    schema = EMOTION_SCHEMA

    def rows(self, record: Record, root: Path, seconds: dict[str, float]) -> list[Row]:
        """One row; MediaError if the picture cannot be used."""
        if record.label not in self.classes:
            raise MediaError("bad_label", f"{record.key}: {record.label!r} is not a known class")
        with StageClock(seconds, self.sandbox)("decode"):
            body = read_media(root / record.path, max_bytes=ImageLimits().max_bytes)
            image = self.sandbox.decode_image(body)
        box = (0, 0, image.shape[1], image.shape[0]) if record.is_face_crop else record.box
        columns = emotion_row(
            image,
            provider=self.provider,
            regions=self.regions,
            inputs=self.spec.input,
            box=box,
            policy=self.spec.face_policy,
            jpeg_quality=self.spec.jpeg_quality,
            seconds=seconds,
        )
        return [
            {
                "key": record.key,
                "label": self.classes.index(record.label),
                "group": record.group,
                "source_sha256": hashlib.sha256(body).hexdigest(),
                **columns,
            }
        ]

    def count_by(self, row: Mapping[str, Any]) -> str:
        """The class."""
        return self.classes[int(row["label"])]

    def duration_s(self, row: Mapping[str, Any]) -> float:
        """None: a picture stands still."""
        return 0.0


def emotion_row(
    image: Image,
    *,
    provider: FaceProvider,
    regions: RegionMapper,
    inputs: EmotionInputSpec,
    box: Box | None = None,
    policy: FacePolicy = "surest",
    jpeg_quality: int = 95,
    seconds: dict[str, float] | None = None,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Any]:
    """The picture-dependent columns of a row; `seconds` collects time by stage.

    Raises:
        MediaError: `no_face`, `several_faces` (policy `only`) or `bad_box`.
    """
    start = clock()
    found = _locate(image, provider=provider, box=box, policy=policy)
    faces_done = clock()
    height, width = image.shape[:2]
    pose = head_pose(found.landmarks, width=width, height=height)
    labels = regions(image, found.box, found.landmarks, inputs.face_size)
    masks_done = clock()
    small = EmotionInputs.of(image, found.box, inputs)
    row = {
        "width": width,
        "height": height,
        "box": list(found.box),
        "score": found.score,
        "landmarks": found.landmarks.astype(np.float32).reshape(-1).tolist(),
        "pose_deg": [pose.yaw_deg, pose.pitch_deg, pose.roll_deg],
        "face": encode_jpeg(small.face, jpeg_quality, chroma="4:4:4"),
        "context": encode_jpeg(small.context, jpeg_quality, chroma="4:4:4"),
        "context_box": list(small.box),
        "regions": encode_png(labels),
    }
    if seconds is not None:
        for name, spent in (
            ("faces", faces_done - start),
            ("masks", masks_done - faces_done),
            ("write", clock() - masks_done),
        ):
            seconds[name] = seconds.get(name, 0.0) + spent
    return row


def _locate(
    image: Image, *, provider: FaceProvider, box: Box | None, policy: FacePolicy
) -> _Located:
    height, width = image.shape[:2]
    score = 1.0
    if box is None:
        faces = provider.detect(image)
        if not faces:
            raise MediaError("no_face", "no face found; give boxes, or leave this picture out")
        if policy == "only" and len(faces) > 1:
            raise MediaError("several_faces", f"{len(faces)} faces, the policy wants exactly one")
        if policy == "largest":
            faces = sorted(faces, key=lambda face: -_area(face.box))
        box, score = faces[0].box, faces[0].score
    clipped = clip_box(box, width=width, height=height)
    if clipped is None:
        raise MediaError("bad_box", f"box {box} lies outside the picture of {width}x{height}")
    return _Located(box=clipped, score=score, landmarks=provider.landmarks(image, clipped))


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
