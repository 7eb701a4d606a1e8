"""What a person looks at while a motion generator trains: talking faces and curves of mouths."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visage.faces.draw import draw_landmarks
from visage.media.image import Image
from visage.media.video_writer import write_video
from visage.models.motion import Motion
from visage.models.motion.lips import mouth_opening
from visage.models.projection import Camera, project

__all__ = ["opening_curves", "talking_faces"]

_SIZE_PX = 256
_TEXT = (230, 230, 230)


def talking_faces(
    true: Motion, predicted: Motion, audio: NDArray[np.float32], *, fps: int, sample_rate: int
) -> bytes:
    """An MP4 with sound: true beside predicted landmarks, each with its own head motion."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "talking.mp4"
        write_video(path, _frames(true, predicted), fps=fps, audio=audio, audio_rate=sample_rate)
        return path.read_bytes()


def opening_curves(pairs: Sequence[tuple[Tensor, Tensor]], *, fps: int) -> bytes:
    """A PNG with one panel a clip: how far the true and the predicted mouth are open over time.

    pairs: true and predicted landmarks, (T, 68, 3) each.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.2 * len(pairs)), layout="constrained")
    panels = figure.subplots(len(pairs), 1, squeeze=False)[:, 0]
    for panel, (true, predicted) in zip(panels, pairs, strict=True):
        for landmarks, name in ((true, "truth"), (predicted, "prediction")):
            opening = mouth_opening(landmarks).float().cpu().numpy()
            panel.plot(np.arange(len(opening)) / fps, opening, label=name)
        panel.set_ylabel("opening / eye distance")
        panel.legend(loc="upper right")
    panels[-1].set_xlabel("seconds")
    body = io.BytesIO()
    FigureCanvasAgg(figure).print_png(body)
    return body.getvalue()


def _frames(true: Motion, predicted: Motion) -> Iterator[Image]:
    sides = [_points(motion) for motion in (true, predicted)]
    for left, right in zip(*sides, strict=True):
        yield np.concatenate([_face(left, "truth"), _face(right, "prediction")], axis=1)


def _points(motion: Motion) -> NDArray[np.float32]:
    pixels = project(motion.landmarks.float(), motion.pose.float(), Camera.of_size(_SIZE_PX))
    # a head that flew off is drawn at the edge: pixels beyond an int32 cannot be drawn
    return torch.nan_to_num(pixels).clamp(-_SIZE_PX, 2 * _SIZE_PX).cpu().numpy()


def _face(points: NDArray[np.float32], name: str) -> Image:
    canvas = draw_landmarks(np.zeros((_SIZE_PX, _SIZE_PX, 3), np.uint8), points)
    cv2.putText(canvas, name, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _TEXT, 1, cv2.LINE_AA)
    return canvas
