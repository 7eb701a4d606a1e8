"""Films one person: what does not move by itself is painted once, what does is painted anew.

Backdrop, body, ears and hair are painted for the first frame only; hair is laid over each head as
the difference it made to a black and a white one. The truth is exact as in `visage.synth.face`;
turn and light are computed on a coarser grid than the picture, which costs a tenth of a pixel at
the tip of the nose. A frame costs about a third of `draw_person`.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.faces.provider import Image
from visage.synth.body import paint_body
from visage.synth.expression import Expression
from visage.synth.face import (
    HEAD,
    Person,
    aligned,
    composite,
    light_skin,
    paint_ears,
    turned,
)
from visage.synth.features import paint_details, paint_skin
from visage.synth.geometry import Features, features_of
from visage.synth.hair import BACK_HAIR, paint_back_hair, paint_front_hair
from visage.synth.paint import Canvas, Floats
from visage.synth.relief import Pose

__all__ = ["Film"]

# A head without the hair behind it, unturned and turned: much less than the whole canvas.
_HEAD = {"left": -1.45, "top": -2.0, "right": 1.45, "bottom": 2.1}
_TURNED = {"left": -1.65, "top": -2.15, "right": 1.65, "bottom": 2.3}
_SHARPNESS = 1.25  # head pixels to a picture pixel: details survive the turn
_LIGHT_FINEST, _TURN_FINEST = 40.0, 28.0  # pixels to the unit; light and turn are smoother
_BODY_FOLLOWS = 0.45  # share of the head's way that the shoulders go along
_MARGIN_PX = 12


class Film:
    """One person before one backdrop."""

    def __init__(self, person: Person, backdrop: Image) -> None:
        """Paint what stands still; `person` says how the person looks at rest."""
        self._person, self.backdrop = person, backdrop
        self._scale = person.face_width / 2
        self._coarser = max(1, round(self._scale / _TURN_FINEST))
        rest = features_of(person.identity, Expression())
        self._ears = Canvas(**_HEAD, scale=self._scale * _SHARPNESS)
        paint_ears(self._ears, person.identity)
        self._through, self._hair, self._cover = _front_hair(self._ears, person, rest.contour)
        self._back: tuple[Image, Canvas] | None = None
        if person.identity.hair_style in BACK_HAIR:
            canvas = Canvas(**HEAD, scale=self._scale)
            paint_back_hair(canvas, person.identity)
            self._back = (np.asarray(canvas.flattened(), np.uint8), canvas)
        self._body, self._body_canvas = self._painted_body(rest.chin)

    def person_at(self, expression: Expression, pose: Pose, shift: tuple[float, float]) -> Person:
        """The person of one frame; `shift` of the head is in face widths."""
        width = self._person.face_width
        return replace(
            self._person,
            expression=expression,
            pose=pose,
            x=self._person.x + shift[0] * width,
            y=self._person.y + shift[1] * width,
        )

    def frame(self, person: Person, features: Features) -> Image:
        """The picture of a `person_at` with its features, RGB, of the backdrop's size."""
        image = self.backdrop.copy()
        if self._back is not None:
            source, canvas = self._back
            composite(image, turned(source, canvas, person, None, coarser=self._coarser), person)
        self._lay_body(image, person)
        head = Canvas(**_HEAD, scale=self._ears.scale)
        head.rgb[:], head.alpha[:] = self._ears.rgb, self._ears.alpha
        head.fill(features.contour, person.identity.skin)
        paint_skin(head, person.identity, person.expression, features)
        light_skin(head, person, features, finest=_LIGHT_FINEST)
        paint_details(head, person.identity, person.expression, features)
        head.rgb *= self._through
        head.rgb += self._hair
        np.maximum(head.alpha, self._cover, out=head.alpha)
        layer = np.asarray(head.flattened(), np.uint8)
        seen = turned(layer, head, person, features, reach=_TURNED, coarser=self._coarser)
        composite(image, seen, person)
        return image

    def _painted_body(self, chin: float) -> tuple[Image, Canvas]:
        person, height = self._person, self.backdrop.shape[0]
        scale, margin = self._scale, _MARGIN_PX / self._scale
        left = -person.x / scale - margin
        right = (self.backdrop.shape[1] - person.x) / scale + margin
        canvas = aligned(
            person, left=left, top=0.6, right=right, bottom=(height - person.y) / scale + margin
        )
        paint_body(canvas, person.identity, chin=chin, lean=person.lean)
        return np.asarray(canvas.flattened(), np.uint8), canvas

    def _lay_body(self, image: Image, person: Person) -> None:
        move = np.array(
            [
                [1.0, 0.0, _BODY_FOLLOWS * (person.x - self._person.x)],
                [0.0, 1.0, _BODY_FOLLOWS * (person.y - self._person.y)],
            ]
        )
        size = (self._body.shape[1], self._body.shape[0])
        moved = cv2.warpAffine(self._body, move, size, borderMode=cv2.BORDER_REPLICATE)
        composite(image, (np.asarray(moved, np.uint8), self._body_canvas), self._person)


def _front_hair(
    bare: Canvas, person: Person, contour: Floats
) -> tuple[Floats, Floats, NDArray[np.float32]]:
    """What hair lets through (h, w, 3), what it adds (h, w, 3), and its coverage (h, w)."""
    seen = []
    cover = np.zeros_like(bare.alpha)
    for tone in (0.0, 1.0):
        canvas = Canvas(**_HEAD, scale=bare.scale)
        canvas.alpha[:] = bare.alpha
        canvas.fill(contour, (0.0, 0.0, 0.0))
        canvas.rgb[:] = tone
        paint_front_hair(canvas, person.identity)
        seen.append(canvas.rgb)
        cover = canvas.alpha
    return seen[1] - seen[0], seen[0], cover
