"""Boxes, landmarks and regions painted over a picture, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from visage.errors import SpecError
from visage.faces.provider import Face, Landmarks
from visage.faces.regions import EYES, MOUTH, SKIN, RegionMap
from visage.landmarks import STROKES
from visage.media.image import Image

__all__ = ["REGION_COLOURS", "draw_faces", "draw_landmarks", "draw_regions"]

_BOX_COLOUR = (255, 210, 0)
_SHADOW = (0, 0, 0)
REGION_COLOURS: dict[int, tuple[int, int, int]] = {
    SKIN: (255, 170, 60),
    EYES: (60, 140, 255),
    MOUTH: (255, 40, 90),
}
"""RGB of each region in an overlay."""

_STROKE_COLOUR = (0, 230, 160)
_POINT_COLOUR = (255, 60, 60)


def draw_faces(image: Image, faces: Sequence[Face], *, captions: Sequence[str] = ()) -> Image:
    """A copy with a box around every face and its caption (the score if none is given) above it."""
    canvas = np.ascontiguousarray(image).copy()
    width_px = _stroke_px(image)
    for index, face in enumerate(faces):
        x1, y1, x2, y2 = face.box
        cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), _SHADOW, width_px + 2)
        cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), _BOX_COLOUR, width_px)
        caption = captions[index] if index < len(captions) else f"{face.score:.2f}"
        _write(canvas, caption, (max(0, x1), max(0, y1)), width_px)
    return canvas


def draw_landmarks(image: Image, landmarks: Landmarks) -> Image:
    """A copy with the 68 points, joined along jaw, brows, nose, lids and lips."""
    canvas = np.ascontiguousarray(image).copy()
    span_px = float(np.ptp(landmarks, axis=0).max())
    radius = max(1, round(span_px / 150))
    whole = np.round(landmarks).astype(np.int32)
    for start, end, closed in STROKES:
        stroke = whole[start:end].reshape(-1, 1, 2)
        cv2.polylines(canvas, [stroke], closed, _STROKE_COLOUR, radius, cv2.LINE_AA)
    for x, y in whole.tolist():
        cv2.circle(canvas, (x, y), radius, _POINT_COLOUR, -1, cv2.LINE_AA)
    return canvas


def draw_regions(image: Image, regions: RegionMap, *, opacity: float = 0.5) -> Image:
    """A copy tinted by region (see REGION_COLOURS); the rest is left as it is.

    Raises SpecError if picture and map differ in size.
    """
    if regions.shape != image.shape[:2]:
        raise SpecError(f"region map of {regions.shape} does not fit the picture {image.shape[:2]}")
    tint = image.astype(np.float32)
    for label, colour in REGION_COLOURS.items():
        where = regions == label
        tint[where] = tint[where] * (1 - opacity) + np.array(colour, np.float32) * opacity
    return np.clip(np.round(tint), 0, 255).astype(np.uint8)


def _stroke_px(image: Image) -> int:
    longest: int = max(image.shape[:2])
    return max(1, round(longest / 400))


def _write(canvas: Image, text: str, corner: tuple[int, int], stroke_px: int) -> None:
    scale = 0.4 * (stroke_px + 0.5)
    (text_width, text_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    x = min(corner[0], max(0, canvas.shape[1] - text_width))
    y = max(text_height + 2, corner[1] - 4)
    for colour, thickness in ((_SHADOW, stroke_px + 3), (_BOX_COLOUR, stroke_px)):
        cv2.putText(
            canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA
        )
