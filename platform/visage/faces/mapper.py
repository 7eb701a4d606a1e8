"""Where region labels come from: polygons over the landmarks, or a face parser with its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from visage.faces.provider import Box, Image, Landmarks, clip_box
from visage.faces.regions import RegionMap, region_crop, regions_from_parse
from visage.store.commit import sha256_of

__all__ = ["LandmarkRegions", "ParserRegions", "RegionMapper", "open_region_mapper"]


class RegionMapper(Protocol):
    """Labels the face crop of a picture: 0 rest, 1 skin, 2 eyes, 3 mouth."""

    @property
    def name(self) -> str:
        """Identity of method and weights; part of the prepare settings' digest."""
        ...

    def __call__(self, image: Image, box: Box, landmarks: Landmarks, size: int) -> RegionMap:
        """Labels over the box stretched to (size, size)."""
        ...


class LandmarkRegions:
    """Polygons over the 68 points; needs nothing."""

    name = "landmarks"

    def __call__(self, image: Image, box: Box, landmarks: Landmarks, size: int) -> RegionMap:
        """Labels over the box stretched to (size, size)."""
        height, width = image.shape[:2]
        return region_crop(landmarks, box, width=width, height=height, size=size)


class ParserRegions:
    """BiSeNet's 19 classes folded into the four regions; slower, and right about hair and hands."""

    def __init__(self, weights: Path) -> None:
        """Load the weights; NotFoundError or CorruptError says what is wrong with them."""
        from visage.faces.bisenet import FaceParser  # torch is only needed where a parser is used

        self._parser = FaceParser(weights)
        self.name = f"bisenet-{sha256_of(weights)[:12]}"

    def __call__(self, image: Image, box: Box, landmarks: Landmarks, size: int) -> RegionMap:
        """Labels over the box stretched to (size, size); the landmarks are not needed."""
        inside = clip_box(box, width=image.shape[1], height=image.shape[0])
        if inside is None:
            return np.zeros((size, size), np.uint8)
        x1, y1, x2, y2 = inside
        labels = regions_from_parse(self._parser.parse(image, box))[y1:y2, x1:x2]
        resized = cv2.resize(labels, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
        return np.asarray(resized, np.uint8)


def open_region_mapper(parser_weights: Path | None = None) -> RegionMapper:
    """A parser where its weights are given, else the landmarks."""
    return LandmarkRegions() if parser_weights is None else ParserRegions(parser_weights)
