"""Made-up photographs, and the ways in which a copy of a photograph differs from it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from visage.media.image import Image, decode_image, encode_jpeg
from visage.seeds import rng_of

__all__ = ["COPIES", "scene"]


def scene(seed: int, *, height: int = 96, width: int = 128) -> Image:
    """A made-up photograph: soft structure at several scales, some edges, some noise."""
    rng = rng_of(seed, "scene")
    picture = np.zeros((height, width, 3), np.float32)
    for cells, weight in ((3, 90.0), (7, 50.0), (17, 25.0)):
        coarse = rng.normal(size=(cells, cells, 3)).astype(np.float32)
        picture += weight * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    canvas = np.clip(picture + 128 + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)
    x, y = (int(v) for v in rng.integers(20, 76, 2))
    cv2.rectangle(canvas, (x, y), (x + 24, y + 18), (200, 40, 90), -1)
    return canvas


def shrunk(picture: Image) -> Image:
    return np.asarray(cv2.resize(picture, (64, 48), interpolation=cv2.INTER_AREA), np.uint8)


def turned(picture: Image) -> Image:
    turn = cv2.getRotationMatrix2D((64, 48), 3, 1.02)
    return np.asarray(
        cv2.warpAffine(picture, turn, (128, 96), borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


COPIES: dict[str, Callable[[Image], Image]] = {
    "re-encoded": lambda picture: decode_image(encode_jpeg(picture, 40)),
    "halved": shrunk,
    "brightened": lambda picture: np.clip(picture * 1.1 + 12, 0, 255).astype(np.uint8),
    "turned": turned,
}
