"""One picture of many: a row of each kind of scene, with what face and setting show under it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from visage.faces.provider import Image
from visage.media.image import encode_jpeg
from visage.specs.emotion import EMOTIONS
from visage.synth.caer_s import Picture, plan_of
from visage.synth.production import write_atomically
from visage.synth.scene import ScenePlan, draw_scene
from visage.synth.spec import CaerSSpec

__all__ = ["contact_sheet", "write_contact_sheet"]

_CELL = (236, 177)
_HEADER, _CAPTION, _GAP = 30, 20, 8
_INK, _PAPER, _QUIET = (32, 34, 38), (250, 250, 248), (120, 124, 130)


def write_contact_sheet(path: str | Path, spec: CaerSSpec | None = None, *, rows: int = 4) -> Path:
    """Write the contact sheet as a JPEG and return its path; raises DataError if it cannot."""
    target = Path(path)
    write_atomically(target, encode_jpeg(contact_sheet(spec or CaerSSpec(), rows=rows), 84))
    return target


def contact_sheet(spec: CaerSSpec, *, rows: int = 4) -> Image:
    """The first test pictures of each class, one column a class; RGB."""
    wide, high = _CELL
    width = len(EMOTIONS) * (wide + _GAP) + _GAP
    height = _HEADER + rows * (high + _CAPTION + _GAP) + _GAP
    sheet = Pillow.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    title, small = ImageFont.load_default(16), ImageFont.load_default(11)
    for column, label in enumerate(EMOTIONS):
        x = _GAP + column * (wide + _GAP)
        draw.text((x + wide / 2, 8), label, fill=_INK, font=title, anchor="mt")
        for row in range(rows):
            plan = plan_of(spec, Picture(label=label, split="test", index=row, path=""))
            y = _HEADER + row * (high + _CAPTION + _GAP)
            sheet.paste(Pillow.fromarray(_thumbnail(plan)), (x, y))
            text, ink = _caption(plan)
            draw.text((x + wide / 2, y + high + 4), text, fill=ink, font=small, anchor="mt")
    return np.asarray(sheet, np.uint8)


def _thumbnail(plan: ScenePlan) -> Image:
    image = draw_scene(plan)
    return np.asarray(cv2.resize(image, _CELL, interpolation=cv2.INTER_AREA), np.uint8)


def _caption(plan: ScenePlan) -> tuple[str, tuple[int, int, int]]:
    """What is shown; darker where a cue misleads."""
    text = f"face {plan.shown_expression}, scene {plan.shown_setting}"
    honest = plan.shown_expression == plan.shown_setting == plan.label
    return text, _QUIET if honest else _INK
