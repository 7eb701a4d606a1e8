"""What a person looks at while a style is learnt: the same words before and after, the style."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from visage.faces.draw import draw_landmarks
from visage.media.image import Image
from visage.media.video_writer import write_video
from visage.models.motion import Motion
from visage.models.projection import Camera, project

__all__ = ["side_by_side"]

_SIZE_PX = 192
_TEXT = (230, 230, 230)


def side_by_side(
    panels: Mapping[str, Motion], audio: NDArray[np.float32], *, fps: int, sample_rate: int
) -> bytes:
    """An MP4 with sound and one drawn face a panel, each under its name.

    The clip ends with the shortest panel, and the sound with the clip.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "styles.mp4"
        frames = min(len(motion) for motion in panels.values())
        sound = audio[: frames * sample_rate // fps]
        write_video(path, _frames(panels), fps=fps, audio=sound, audio_rate=sample_rate)
        return path.read_bytes()


def _frames(panels: Mapping[str, Motion]) -> Iterator[Image]:
    points = [_pixels(motion) for motion in panels.values()]
    for faces in zip(*points, strict=False):
        row = [_face(one, name) for one, name in zip(faces, panels, strict=True)]
        yield np.concatenate(row, axis=1)


def _pixels(motion: Motion) -> NDArray[np.float32]:
    pixels = project(motion.landmarks.float(), motion.pose.float(), Camera.of_size(_SIZE_PX))
    # a face that flew off is drawn at the edge: pixels beyond an int32 cannot be drawn
    return torch.nan_to_num(pixels).clamp(-_SIZE_PX, 2 * _SIZE_PX).cpu().numpy()


def _face(points: NDArray[np.float32], name: str) -> Image:
    canvas = draw_landmarks(np.zeros((_SIZE_PX, _SIZE_PX, 3), np.uint8), points)
    cv2.putText(canvas, name, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _TEXT, 1, cv2.LINE_AA)
    return canvas
