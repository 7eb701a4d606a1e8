"""Pictures that this platform encoded itself: decoded fast, beside other threads.

The general decoder walks every JPEG header in Python and holds its lock for most of a small
picture, so a feed's threads would wait for each other. A plain JPEG, which is all that
`encode_jpeg` writes, goes to the same library (libjpeg-turbo) by way of OpenCV, outside the lock.
The pixels are the same bit for bit; whatever is not such a JPEG takes the general way.
"""

from __future__ import annotations

import cv2
import numpy as np

from visage.media.image import Image, decode_image
from visage.media.limits import ImageLimits

__all__ = ["decode_stored"]

_JFIF, _BASELINE, _SCAN = 0xE0, 0xC0, 0xDA
_PLAIN_MARKERS = {_JFIF, 0xDB, 0xC4}  # the header, quantisation tables, Huffman tables
_END = b"\xff\xd9"
_COLOURS = 3
_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


def decode_stored(data: bytes) -> Image:
    """The picture as RGB uint8 (height, width, 3), as `decode_image` gives it.

    Raises:
        MediaError: as `decode_image`.
    """
    if _is_plain_jpeg(data):
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS)
        if decoded is not None:
            picture: Image = decoded
            return picture
    return decode_image(data)


def _is_plain_jpeg(data: bytes) -> bool:
    """Whether it is a whole baseline JPEG in three colours, of fair size, with no notes in it."""
    if not (data.startswith(b"\xff\xd8\xff") and data.endswith(_END)):
        return False
    at, is_fair = 2, False
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == _SCAN:
            return is_fair
        if marker == _BASELINE:
            height, width = (int.from_bytes(data[at + n : at + n + 2], "big") for n in (5, 7))
            is_colour = data[at + 9] == _COLOURS
            is_fair = is_colour and 0 < width * height <= ImageLimits().max_pixels
        elif marker not in _PLAIN_MARKERS:
            return False
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False
