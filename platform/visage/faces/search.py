"""Looking for faces where one look is not enough: at another scale, and beyond the picture's edge.

A detector that slides a window over a picture misses faces that fill it, because their window
reaches out of it, and faces whose size falls between two of its scales. So the picture is looked at
several times, each in another way, until something is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from visage.faces.provider import Box, Face, FaceProvider, Image

__all__ = ["area_of", "find_faces", "found_in", "overlap"]

LEAST_OVERLAP = 0.2
"""Intersection over union above which two boxes are of one face."""
_WANTED_PX = 90
"""Side to which a known face is shrunk before the search: one of half the size is still found."""
_FIRST_PX = 512
"""Longer side of a picture in which an unknown face is searched for first: a person who is filmed
talking takes more than a twelfth of it, and four times the pixels cost four times the time."""
_SMALL_PX = 200
"""Longer side of a picture in which nothing else was found: then its face fills it."""
_ROOM = 0.3
"""Of what is added around a picture, as a share of the face or of the picture."""
_OTHER_SCALE = 1.35


def find_faces(image: Image, provider: FaceProvider, *, near: Box | None = None) -> list[Face]:
    """All faces, surest first; boxes may reach beyond the picture.

    Args:
        near: Where the face is that must be found. The search takes its size for granted, and goes
            on until that face is among what is found. Without it, it goes on until there is any.

    Returns:
        What the first look found that found what was wanted, else what the first look found.
    """
    first: list[Face] | None = None
    for scale, room_px in _looks(image, near):
        found = _look(image, provider, scale, room_px)
        wanted = found if near is None else [
            face for face in found if overlap(face.box, near) >= LEAST_OVERLAP
        ]  # fmt: skip
        if wanted:
            return found
        first = found if first is None else first
    return first or []


def found_in(
    image: Image, search: Callable[[Image], list[Face]], *, most_side_px: int
) -> list[Face]:
    """What a search finds in a picture, or in a copy shrunk to that side, surest first.

    Cost and memory of a detector grow with the pixels, and pictures may have 64 million of them.
    """
    height, width = image.shape[:2]
    scale = min(1.0, most_side_px / max(height, width))
    searched = np.ascontiguousarray(image)
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        searched = np.asarray(cv2.resize(searched, size, interpolation=cv2.INTER_AREA), np.uint8)
    # The two axes are rounded apart, so each has its own way back.
    back = (width / searched.shape[1], height / searched.shape[0]) * 2
    found = []
    for face in search(searched):
        left, top, right, bottom = (
            round(side * factor) for side, factor in zip(face.box, back, strict=True)
        )
        found.append(Face(box=(left, top, right, bottom), score=face.score))
    return sorted(found, key=lambda face: -face.score)


def overlap(one: Box, two: Box) -> float:
    """Intersection over union."""
    shared = (
        max(one[0], two[0]), max(one[1], two[1]), min(one[2], two[2]), min(one[3], two[3])
    )  # fmt: skip
    both = area_of(shared)
    return both / max(1, area_of(one) + area_of(two) - both)


def area_of(box: Box) -> int:
    """Pixels; 0 for a box turned inside out."""
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def _looks(image: Image, near: Box | None) -> Iterator[tuple[float, int]]:
    """Scale and room in pixels of the scaled picture, the cheapest first."""
    height, width = image.shape[:2]
    if near is None:
        room = round(_ROOM * max(height, width))
        first = min(1.0, _FIRST_PX / max(height, width))
        yield first, 0
        if first < 1.0:
            yield 1.0, 0
        yield 1.0, room
        small = min(1.0, _SMALL_PX / max(height, width))
        yield small, round(small * room)
        return
    size = max(near[2] - near[0], near[3] - near[1], 1)
    scale = min(1.0, _WANTED_PX / size)
    slack = _ROOM * size / 2
    is_at_edge = (
        near[0] < slack or near[1] < slack or near[2] > width - slack or near[3] > height - slack
    )
    room = round(_ROOM * size * scale)
    yield scale, room if is_at_edge else 0
    yield min(1.0, _OTHER_SCALE * scale), room


def _look(image: Image, provider: FaceProvider, scale: float, room_px: int) -> list[Face]:
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    seen = image
    if scale < 1.0:
        seen = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    if room_px:
        sides = (room_px,) * 4
        seen = np.asarray(cv2.copyMakeBorder(seen, *sides, cv2.BORDER_REPLICATE), np.uint8)
    back_x, back_y = width / size[0], height / size[1]
    return [
        Face(
            box=(
                round((face.box[0] - room_px) * back_x),
                round((face.box[1] - room_px) * back_y),
                round((face.box[2] - room_px) * back_x),
                round((face.box[3] - room_px) * back_y),
            ),
            score=face.score,
        )
        for face in provider.detect(seen)
    ]
