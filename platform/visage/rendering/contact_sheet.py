"""One picture that says more than the tables: what is true above what was made above what is still.

clip name
truth      ▢ ▢ ▢ ▢
generated  ▢ ▢ ▢ ▢
frozen     ▢ ▢ ▢ ▢
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, islice

import cv2
import numpy as np

from visage.errors import DataError
from visage.media.image import Image

__all__ = ["contact_sheet", "contact_strip"]

TILE, LABEL, HEAD = 112, 84, 22
"""Pixels: side of a picture, width of the names on the left, height of the name above."""
PAPER, INK = 250, (40, 40, 40)


def contact_strip(title: str, rows: Mapping[str, Sequence[Image]], *, columns: int) -> Image:
    """One clip: a row of pictures for each name, evenly over it; where there are fewer they repeat.

    Raises:
        DataError: a row without pictures.
    """
    empty = [name for name, pictures in rows.items() if not pictures]
    if empty:
        raise DataError(f"{title}: no pictures of {', '.join(empty)}")
    sheet = np.full((HEAD + TILE * len(rows), LABEL + TILE * columns, 3), PAPER, np.uint8)
    _write(sheet, title, (6, HEAD - 7))
    for line, (name, pictures) in enumerate(rows.items()):
        top = HEAD + line * TILE
        _write(sheet, name, (6, top + TILE // 2))
        for at, picture in enumerate(_evenly(pictures, columns)):
            left = LABEL + at * TILE
            how = cv2.INTER_AREA if picture.shape[0] > TILE else cv2.INTER_CUBIC
            sheet[top : top + TILE, left : left + TILE] = cv2.resize(
                picture, (TILE, TILE), interpolation=how
            )
    return sheet


def _evenly(pictures: Sequence[Image], count: int) -> list[Image]:
    if len(pictures) < count:
        return list(islice(cycle(pictures), count))
    return [pictures[round(at)] for at in np.linspace(0, len(pictures) - 1, count)]


def contact_sheet(strips: Sequence[Image]) -> Image:
    """Strips below each other, narrower ones filled with paper; DataError without any."""
    if not strips:
        raise DataError("a contact sheet needs at least one clip")
    width = max(strip.shape[1] for strip in strips)
    return np.concatenate(
        [
            np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)), constant_values=PAPER)
            for strip in strips
        ]
    )


def _write(sheet: Image, text: str, at: tuple[int, int]) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(sheet, plain, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)
