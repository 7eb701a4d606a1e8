"""From a decoded picture to the picture-dependent columns of an emotion row."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from visage.data.emotion_inputs import EmotionInputs
from visage.errors import MediaError
from visage.faces.mapper import RegionMapper
from visage.faces.pose import head_pose
from visage.faces.provider import Box, FaceProvider, Image, clip_box
from visage.media.image import encode_jpeg, encode_png
from visage.specs.emotion import EmotionInputSpec

__all__ = ["FacePolicy", "emotion_row"]

FacePolicy = Literal["largest", "surest", "only"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Located:
    box: Box
    score: float
    landmarks: NDArray[np.float32]


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
    clock: Callable[[], float] = time.perf_counter,
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
