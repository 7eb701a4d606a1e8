"""A talking head of untrained networks so small that a second of video takes a fraction of one.

What it shows is noise; that everything fits together, is in time and whole, does not need more.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from visage.faces.provider import Box, Face
from visage.inference.audio_encoder import AUDIO_ENCODER
from visage.inference.generator import GENERATOR
from visage.inference.parts import save_part
from visage.inference.style_card import StyleCard
from visage.inference.talking_head import (
    MOTION,
    PartUris,
    TalkingHead,
    load_talking_head,
    publish_talking_head,
)
from visage.media.image import Image, encode_jpeg
from visage.models.audio.apc import AudioEncoder
from visage.models.generator import Generator
from visage.models.motion import MotionGenerator
from visage.models.projection import Camera, project
from visage.specs.audio import AudioEncoderSpec
from visage.specs.generator import GeneratorSpec
from visage.specs.motion import MotionSpec
from visage.store.open import open_store

__all__ = ["FACE", "DrawnFaces", "mean_face", "publish_parts", "publish_tiny_head", "tiny_card",
           "tiny_head", "turned"]  # fmt: skip

SIZE = 32
ENCODER = AudioEncoderSpec.parse({"width": 8, "layers": 1})
MOTION_SPEC = MotionSpec.parse(
    {
        "feature_channels": 8, "landmark_look_ahead": 2, "pose_look_ahead": 3, "norm": "layer",
        "landmark_net": {"mlp_width": 8, "lstm_width": 8, "lstm_layers": 1, "head_width": 8},
        "pose_net": {"mlp_width": 8, "channels": 4, "skip_channels": 4, "blocks": 1, "layers": 2},
    }
)  # fmt: skip
GENERATOR_SPEC = GeneratorSpec.parse(
    {"size": SIZE, "widths": [8, 8], "norm": "instance", "variant": "small"}
)


def mean_face() -> np.ndarray:
    """A mean shape in eye distances, (68, 3)."""
    from visage.faces.lift import _generic_head

    return _generic_head().astype(np.float32)


def _face_points(side: float, *, at: tuple[float, float]) -> np.ndarray:
    """68 points of a face that looks ahead, `side` pixels between the outer eye corners."""
    return (mean_face()[:, :2] * side + np.array(at)).astype(np.float32)


FACE = _face_points(80.0, at=(128.0, 100.0))
"""The points of the face that `DrawnFaces` sees in a picture of 256 pixels."""


def turned(yaw_deg: float) -> np.ndarray:
    """The points of a head turned to its side, in a picture of 256 pixels."""
    pose = torch.tensor([0.0, yaw_deg, 0.0, 0.0, 0.0, 8.0])
    return project(torch.from_numpy(mean_face()), pose, Camera.of_size(256)).numpy()


class DrawnFaces:
    """A provider that sees what it is told: points by the picture's own size."""

    name, licence = "drawn", "none"

    def __init__(self, *faces: np.ndarray, side: int = 256) -> None:
        self._faces, self._side = faces, side

    def detect(self, image: Image) -> list[Face]:
        """The boxes of all faces, the first one surest."""
        factor = image.shape[1] / self._side
        boxes = [_box(points * factor) for points in self._faces]
        return [Face(box=box, score=1.0 - 0.1 * at) for at, box in enumerate(boxes)]

    def landmarks(self, image: Image, box: Box) -> np.ndarray:
        """The points whose box is nearest."""
        factor = image.shape[1] / self._side
        moved = [points * factor for points in self._faces]
        apart = [np.abs(np.array(_box(points)) - np.array(box)).sum() for points in moved]
        return moved[int(np.argmin(apart))].astype(np.float32)


def _box(points: np.ndarray) -> Box:
    low, high = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0))
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def tiny_card(name: str = "plain", *, size: int = 64, seed: int = 0) -> StyleCard:
    """Five pictures of noise with landmarks."""
    rng = np.random.default_rng(seed)
    pictures = tuple(
        encode_jpeg(rng.integers(0, 255, (size, size, 3), np.uint8), 90) for _ in range(5)
    )
    points = np.stack([_face_points(size / 3, at=(size / 2, size / 2.5))] * 5)
    return StyleCard(name=name, pictures=pictures, points=points, coverage=(1.0, 1.0, 0.8, 0.9))


def publish_parts(root: Path, *, with_encoder: bool = True) -> PartUris:
    """Untrained parts that belong together, below a folder."""
    torch.manual_seed(0)
    store = open_store(str(root))
    heard = None
    if with_encoder:
        heard = save_part(store, "encoder", AudioEncoder(ENCODER), kind=AUDIO_ENCODER, spec=ENCODER)
    motion_spec = MOTION_SPEC
    if not with_encoder:
        motion_spec = MOTION_SPEC.model_copy(update={"feature_channels": 80})
    save_part(
        store, "motion", MotionGenerator(motion_spec), kind=MOTION, spec=motion_spec,
        metadata={"audio_encoder_digest": heard},
    )  # fmt: skip
    save_part(
        store, "generator", Generator(GENERATOR_SPEC), kind=GENERATOR, spec=GENERATOR_SPEC,
        metadata={"patterns": "references"},
    )  # fmt: skip
    return PartUris(
        motion=str(root / "motion"),
        generator=str(root / "generator"),
        audio_encoder=str(root / "encoder") if with_encoder else None,
    )


def publish_tiny_head(root: Path, *, with_encoder: bool = True) -> str:
    """A whole talking head; returns its URI."""
    parts = publish_parts(root / "parts", with_encoder=with_encoder)
    publish_talking_head(
        open_store(str(root)), "head", parts, styles=[tiny_card(), tiny_card("loud", seed=1)],
        mean=mean_face(),
    )  # fmt: skip
    return str(root / "head")


def tiny_head(root: Path, *, with_encoder: bool = True) -> TalkingHead:
    """The same, loaded."""
    return load_talking_head(publish_tiny_head(root, with_encoder=with_encoder))
