"""Which pixel belongs to skin, eyes or mouth: from landmarks, or from a face parser.

Labels are 0 rest, 1 skin, 2 eyes, 3 mouth. Skin is the hull of jaw and brows (landmarks know no
forehead), eyes are what the lids enclose, mouth is what the outer lip line encloses.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.errors import MediaError, SpecError
from visage.faces.provider import Box, Landmarks, clip_box

__all__ = [
    "EYES",
    "MOUTH",
    "PARSE_CLASSES",
    "REST",
    "SKIN",
    "RegionMap",
    "region_crop",
    "region_map",
    "regions_from_parse",
]

RegionMap = NDArray[np.uint8]
"""Labels, shape (height, width)."""

REST, SKIN, EYES, MOUTH = 0, 1, 2, 3

PARSE_CLASSES: tuple[str, ...] = (
    "background",
    "skin",
    "left brow",
    "right brow",
    "left eye",
    "right eye",
    "glasses",
    "left ear",
    "right ear",
    "earring",
    "nose",
    "inner mouth",
    "upper lip",
    "lower lip",
    "neck",
    "necklace",
    "cloth",
    "hair",
    "hat",
)
"""What the 19 labels of a CelebAMask-HQ parser mean, in their order."""

_REGION_OF_CLASS = {
    "skin": SKIN,
    "left brow": SKIN,
    "right brow": SKIN,
    "nose": SKIN,
    "left eye": EYES,
    "right eye": EYES,
    "glasses": EYES,  # the parser gives one label to glasses and what is seen through them
    "inner mouth": MOUTH,
    "upper lip": MOUTH,
    "lower lip": MOUTH,
}
_JAW_AND_BROWS = slice(0, 27)
_EYE_LIDS = (slice(36, 42), slice(42, 48))
_OUTER_LIP = slice(48, 60)
_SUBPIXEL_BITS = 4
_FAR_PX = 1e6  # beyond it OpenCV's fixed-point coordinates would overflow


def region_map(landmarks: Landmarks, *, width: int, height: int) -> RegionMap:
    """Labels of a whole picture, shape (height, width); points may lie outside of it.

    Raises MediaError `no_face` if the landmarks are not finite.
    """
    if not np.isfinite(landmarks).all():
        raise MediaError("no_face", "landmarks are no numbers; they show no face")
    labels = np.zeros((height, width), np.uint8)
    points = np.clip(np.asarray(landmarks, np.float64), -_FAR_PX, _FAR_PX)
    hull = cv2.convexHull(points[_JAW_AND_BROWS].astype(np.float32))
    if hull is not None:  # points that fall together have none
        _fill(labels, hull[:, 0], SKIN)
    for lids in _EYE_LIDS:
        _fill(labels, points[lids], EYES)
    _fill(labels, points[_OUTER_LIP], MOUTH)
    return labels


def region_crop(
    landmarks: Landmarks, box: Box | None, *, width: int, height: int, size: int
) -> RegionMap:
    """Labels of the face crop of side `size`, shape (size, size); all rest if there is no box.

    The crop is what `face_crop` shows: the part of the box inside the picture of `width` x
    `height`, stretched to a square. The polygons are drawn at that size, so thin lids survive.
    """
    clipped = None if box is None else clip_box(box, width=width, height=height)
    if clipped is None:
        return np.zeros((size, size), np.uint8)
    x1, y1, x2, y2 = clipped
    stretch = np.array([size / (x2 - x1), size / (y2 - y1)])
    # Pixel centres are whole numbers on both sides of the stretch.
    points = (np.asarray(landmarks, np.float64) - (x1, y1) + 0.5) * stretch - 0.5
    return region_map(points.astype(np.float32), width=size, height=size)


def regions_from_parse(parse: NDArray[np.uint8]) -> RegionMap:
    """The four regions of a parse map with the labels of PARSE_CLASSES, same shape.

    Unlike the landmarks' map, skin reaches up to the hair, and glasses count as eyes.
    Raises SpecError for labels that are not in PARSE_CLASSES.
    """
    if parse.size and int(parse.max()) >= len(PARSE_CLASSES):
        raise SpecError(f"parse label {int(parse.max())}: only 0 to {len(PARSE_CLASSES) - 1} exist")
    table = np.array([_REGION_OF_CLASS.get(name, REST) for name in PARSE_CLASSES], np.uint8)
    return np.asarray(table[parse], np.uint8)


def _fill(labels: RegionMap, polygon: NDArray[np.floating], label: int) -> None:
    fixed = np.round(polygon * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(labels, [fixed.reshape(-1, 1, 2)], int(label), shift=_SUBPIXEL_BITS)
