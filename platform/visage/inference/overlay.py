"""Draw what the model saw: face boxes with their emotion, and where in the context it looked.

The heat is on one scale for all pictures: dark at weight zero, a third of full heat where a cell
gets its even share, full heat at three times that or at the strongest cell if it is stronger. So an
attention that prefers nothing is an even tint, and is not blown up to look like a finding.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from visage.faces.provider import Box, Image, clip_box
from visage.inference.emotion import FaceEmotion

__all__ = ["draw_overlay"]

SMALLEST_SIDE = 256
"""Smaller pictures are enlarged by a whole factor; letters on 48 pixels cannot be read."""
LARGEST_SIDE = 2048
"""No picture is enlarged beyond this."""
FULL_HEAT = 3.0
"""Times the even share at which the colour map ends."""
OPACITY = (0.3, 0.65)
"""Of the colour at no heat, where it darkens the picture, and at full heat."""
COLOURS = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (240, 228, 66), (204, 121, 167))
"""Okabe and Ito's, told apart by colour-blind people too; faces take turns."""


def draw_overlay(
    image: Image, faces: Sequence[FaceEmotion], *, show_attention: bool = True
) -> Image:
    """The picture with boxes, labels and heat; enlarged if it is too small to read, else its size.

    Args:
        image: RGB uint8 (height, width, 3), the picture that was predicted.
        faces: What `predict_image` returned for it; of several faces the mean attention is drawn.
        show_attention: Whether to draw the heat and the outline of what the grid covers.
    """
    height, width = image.shape[:2]
    factor = max(
        1, min(-(-SMALLEST_SIDE // min(height, width)), LARGEST_SIDE // max(height, width))
    )
    canvas = _enlarged(image, factor)
    if show_attention and faces:
        _draw_heat(canvas, faces, factor)
    drawn = PillowImage.fromarray(canvas)
    _draw_faces(ImageDraw.Draw(drawn), faces, factor)
    return np.asarray(drawn)


def _enlarged(image: Image, factor: int) -> Image:
    if factor == 1:
        return image.copy()
    size = (image.shape[1] * factor, image.shape[0] * factor)
    enlarged: Image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    return enlarged


def _draw_heat(canvas: Image, faces: Sequence[FaceEmotion], factor: int) -> None:
    """Blend the mean attention over the part of the canvas that it covers, in place."""
    grids = [np.array(face.attention, np.float32) for face in faces]
    region = clip_box(
        _scaled(faces[0].attention_box, factor), width=canvas.shape[1], height=canvas.shape[0]
    )
    mean = np.mean(grids, axis=0) if grids[0].size else np.zeros((1, 1), np.float32)
    if region is None or not mean.any():
        return
    x1, y1, x2, y2 = region
    heat = _heat(mean, height=y2 - y1, width=x2 - x1)
    levels = np.rint(heat * 255).astype(np.uint8)
    colour = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1]  # OpenCV's is BGR
    opacity = (OPACITY[0] + (OPACITY[1] - OPACITY[0]) * heat)[..., None]
    part = canvas[y1:y2, x1:x2]
    part[:] = np.rint(part * (1.0 - opacity) + colour * opacity).astype(np.uint8)
    _outline(canvas, region)


def _heat(grid: NDArray[np.float32], *, height: int, width: int) -> NDArray[np.float32]:
    """The grid on the scale of the module's docstring, in [0, 1], smoothly enlarged."""
    full = max(float(grid.max()), FULL_HEAT / grid.size)
    enlarged = cv2.resize(grid / full, (width, height), interpolation=cv2.INTER_CUBIC)
    heat: NDArray[np.float32] = np.clip(enlarged, 0.0, 1.0)
    return heat


def _outline(canvas: Image, region: Box) -> None:
    """A thin light frame inside a thin dark one, to be seen on any ground."""
    x1, y1, x2, y2 = region
    for inset, shade in ((0, 0), (1, 255)):
        corners = ((x1 + inset, y1 + inset), (x2 - 1 - inset, y2 - 1 - inset))
        cv2.rectangle(canvas, *corners, color=(shade,) * 3, thickness=1)


def _draw_faces(draw: ImageDraw.ImageDraw, faces: Sequence[FaceEmotion], factor: int) -> None:
    width, height = draw.im.size
    side = min(width, height)
    stroke = max(2, side // 200)
    shown = []  # boxes first, so that no box runs through the label of another
    for index, face in enumerate(faces):
        box = clip_box(_scaled(face.box, factor), width=width, height=height)
        if box is not None:
            shown.append((face, box, COLOURS[index % len(COLOURS)]))
            _frame(draw, box, colour=shown[-1][2], stroke=stroke)
    tags: list[Box] = []
    for face, box, colour in shown:
        text = f"{face.label} {face.probabilities[face.label]:.0%}"
        font = _font(text, size=max(13, side // 28), width=width)
        others = [other for _, other, _ in shown if other != box]
        tag = _tag_place(draw, text, font, box=box, taken=[*tags, *others])
        tags.append(tag)
        draw.rectangle(tag, fill=(0, 0, 0), outline=colour, width=max(1, stroke // 2))
        centre = ((tag[0] + tag[2]) / 2, (tag[1] + tag[3]) / 2)
        draw.text(centre, text, fill=(255, 255, 255), font=font, anchor="mm")


def _frame(
    draw: ImageDraw.ImageDraw, box: Box, *, colour: tuple[int, int, int], stroke: int
) -> None:
    """A coloured frame between two dark lines; both meet the box's edge from inside."""
    x1, y1, x2, y2 = box
    draw.rectangle((x1, y1, x2 - 1, y2 - 1), outline=(0, 0, 0), width=min(stroke + 2, x2 - x1))
    if x2 - x1 > 2 and y2 - y1 > 2:
        draw.rectangle((x1 + 1, y1 + 1, x2 - 2, y2 - 2), outline=colour, width=stroke)


def _font(text: str, *, size: int, width: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The built-in font, shrunk until the text fits the picture."""
    while True:
        font = ImageFont.load_default(size)
        if size <= 8 or font.getbbox(text)[2] + size <= width:
            return font
        size -= 1


def _tag_place(
    draw: ImageDraw.ImageDraw,
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    *,
    box: Box,
    taken: Sequence[Box],
) -> Box:
    """Above the box, below it or inside it: the first free place; always in the picture."""
    width, height = draw.im.size
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    pad = max(3, round((bottom - top) * 0.35))
    tag_width, tag_height = round(right - left) + 2 * pad, round(bottom - top) + 2 * pad
    x = min(max(0, box[0]), max(0, width - 1 - tag_width))
    places = []
    for y in (box[1] - tag_height - 1, box[3] + 1, box[1] + 1, box[3] - tag_height - 1):
        y_inside = min(max(0, y), max(0, height - 1 - tag_height))
        places.append((x, y_inside, x + tag_width, y_inside + tag_height))
        if y == y_inside and not any(_overlap(places[-1], other) for other in taken):
            return places[-1]
    free = [place for place in places if not any(_overlap(place, other) for other in taken)]
    return (free or places)[0]  # in a crowd, some label has to lie on something


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _scaled(box: Box, factor: int) -> Box:
    return (box[0] * factor, box[1] * factor, box[2] * factor, box[3] * factor)
