"""One picture of the styles: a row for each, sound after sound, over the opening of the clip."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from visage.faces.provider import Image
from visage.media.image import encode_jpeg
from visage.synth.phonemes import SILENCE
from visage.synth.production import write_atomically
from visage.synth.spec import VoxCeleb2Spec
from visage.synth.takes import Shot, shoot, takes_of

__all__ = ["style_sheet", "write_style_sheet"]

_CELL, _LEFT, _CAPTION, _GAP, _STRIP = 152, 74, 18, 6, 42
_INK, _PAPER, _QUIET, _LINE = (32, 34, 38), (250, 250, 248), (120, 124, 130), (40, 110, 180)
_SPELT = {"ə": "uh", "ʃ": "sh", SILENCE: "silence"}


def write_style_sheet(path: str | Path, spec: VoxCeleb2Spec | None = None) -> Path:
    """Write the sheet as a JPEG and return its path; raises DataError if it cannot."""
    target = Path(path)
    write_atomically(target, encode_jpeg(style_sheet(spec or VoxCeleb2Spec()), 80))
    return target


def style_sheet(spec: VoxCeleb2Spec, *, columns: int = 8) -> Image:
    """A person for each style: the first sounds, and the opening over the whole clip; RGB."""
    row = _CELL + _CAPTION + _STRIP + _GAP
    width = _LEFT + columns * (_CELL + _GAP)
    sheet = Pillow.new("RGB", (width, len(spec.styles) * row + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, style in enumerate(spec.styles):
        y = _GAP + index * row
        draw.text((8, y + _CELL / 2), style, fill=_INK, font=ImageFont.load_default(16))
        draw.text((8, y + _CELL + 28), "opening", fill=_QUIET, font=ImageFont.load_default(11))
        _fill_row(sheet, draw, _shot(spec, style, index), y=y, columns=columns)
    return np.asarray(sheet, np.uint8)


def _shot(spec: VoxCeleb2Spec, style: str, index: int) -> Shot:
    """A take of this style by another person than in the row above, if there are more."""
    mine = [take for take in takes_of(spec) if take.style == style and take.number == 1]
    return shoot(spec, mine[index % len(mine)])


def _fill_row(
    sheet: Pillow.Image, draw: ImageDraw.ImageDraw, shot: Shot, *, y: int, columns: int
) -> None:
    small, last = ImageFont.load_default(11), len(shot.people) - 1
    phones = shot.truth.phones[:columns]
    middles = [0.5 * (phone.start_s + phone.stop_s) for phone in phones]
    shown = [min(round(middle * shot.truth.fps), last) for middle in middles]
    for column, (phone, index) in enumerate(zip(phones, shown, strict=True)):
        x = _LEFT + column * (_CELL + _GAP)
        picture = shot.film.frame(*shot.people[index])
        small_picture = cv2.resize(picture, (_CELL, _CELL), interpolation=cv2.INTER_AREA)
        sheet.paste(Pillow.fromarray(np.asarray(small_picture, np.uint8)), (x, y))
        told = _SPELT.get(phone.symbol, phone.symbol)
        draw.text((x + _CELL / 2, y + _CELL + 2), told, fill=_INK, font=small, anchor="mt")
    bottom, high = y + _CELL + _CAPTION + _STRIP - 2, _STRIP - 8
    opening = shot.truth.mouth[:, 0]
    across = (columns * (_CELL + _GAP) - _GAP) / max(1, last)
    points = [(_LEFT + across * at, bottom - high * float(o)) for at, o in enumerate(opening)]
    draw.line([(_LEFT, bottom), (points[-1][0], bottom)], fill=(220, 222, 224))
    draw.line(points, fill=_LINE, width=2, joint="curve")
    for index in shown:
        at_x, at_y = points[index]
        draw.ellipse((at_x - 3, at_y - 3, at_x + 3, at_y + 3), fill=_LINE)
