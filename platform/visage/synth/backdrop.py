"""A cheap painter for what stands behind people: drawn at half size, so softly focused.

Positions are in picture heights from the top left corner: y in [0, 1], x in [0, aspect]. Colours
are sRGB 0 to 255.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.faces.provider import Image
from visage.synth.paint import Floats

__all__ = ["Backdrop", "Shade", "lighter"]

Shade = Sequence[float]
_BITS = 4


class Backdrop:
    """An RGB picture that is painted on in place."""

    def __init__(self, *, width: int, height: int) -> None:
        """A black picture of half the final size."""
        self.final = (width, height)
        self.height, self.width = max(8, height // 2), max(8, width // 2)
        self.aspect = self.width / self.height
        self.image: Image = np.zeros((self.height, self.width, 3), np.uint8)

    def finished(self, *, tint: NDArray[np.float64] | None = None, mirrored: bool = False) -> Image:
        """The picture at its final size, (height, width, 3), its channels times `tint` (3,)."""
        image = self.image
        if tint is not None:
            table = np.clip(np.arange(256)[:, None] * tint, 0, 255).astype(np.uint8)
            image = np.asarray(cv2.LUT(image, table.reshape(1, 256, 3)), np.uint8)
        if mirrored:
            image = np.asarray(cv2.flip(image, 1), np.uint8)
        return np.asarray(cv2.resize(image, self.final, interpolation=cv2.INTER_LINEAR), np.uint8)

    def gradient(self, stops: Sequence[Shade], *, top: float = 0.0, bottom: float = 1.0) -> None:
        """Fill rows from `top` to `bottom` with colours from first to last."""
        y1, y2 = round(top * self.height), round(bottom * self.height)
        at = np.linspace(0, len(stops) - 1, max(y2 - y1, 1))
        table = np.asarray(stops, np.float32)
        rows = [np.interp(at, np.arange(len(stops)), table[:, k]) for k in range(3)]
        self.image[y1:y2] = np.stack(rows, axis=1).astype(np.uint8)[: y2 - y1, None]

    def polygon(self, points: Sequence[Sequence[float]] | Floats, colour: Shade) -> None:
        """A filled polygon."""
        cv2.fillPoly(self.image, [self._fixed(points)], _bgr(colour), cv2.LINE_AA, _BITS)

    def line(
        self, points: Sequence[Sequence[float]] | Floats, colour: Shade, *, width: float = 0.004
    ) -> None:
        """An open line of a width in picture heights."""
        pixels = max(1, round(width * self.height))
        fixed = [self._fixed(points)]
        cv2.polylines(self.image, fixed, False, _bgr(colour), pixels, cv2.LINE_AA, _BITS)

    def rectangle(self, x: float, y: float, *, w: float, h: float, colour: Shade) -> None:
        """A filled rectangle from its top left corner."""
        self.polygon([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], colour)

    def ellipse(
        self, x: float, y: float, *, rx: float, ry: float, colour: Shade, tilt_deg: float = 0.0
    ) -> None:
        """A filled ellipse."""
        centre = (round(x * self.height * 16), round(y * self.height * 16))
        axes = (max(round(rx * self.height * 16), 1), max(round(ry * self.height * 16), 1))
        cv2.ellipse(
            self.image, centre, axes, tilt_deg, 0, 360, _bgr(colour), -1, cv2.LINE_AA, _BITS
        )

    def ball(self, x: float, y: float, *, rx: float, ry: float, colour: Shade) -> None:
        """An ellipse that looks round: darker rim, bright spot."""
        self.ellipse(x, y, rx=rx, ry=ry, colour=lighter(colour, 0.72))
        self.ellipse(x - 0.06 * rx, y - 0.07 * ry, rx=rx * 0.9, ry=ry * 0.9, colour=colour)
        top = lighter(colour, 1.25)
        self.ellipse(x - 0.25 * rx, y - 0.3 * ry, rx=rx * 0.5, ry=ry * 0.5, colour=top)
        self.ellipse(x - 0.36 * rx, y - 0.42 * ry, rx=rx * 0.16, ry=ry * 0.2, colour=(255,) * 3)

    def glow(
        self, x: float, y: float, *, radius: float, colour: Shade, strength: float = 1.0
    ) -> None:
        """Add light that fades with distance."""
        reach = 2.2 * radius * self.height
        cx, cy = x * self.height, y * self.height
        x1, x2 = int(np.clip(cx - reach, 0, self.width)), int(np.clip(cx + reach, 0, self.width))
        y1, y2 = int(np.clip(cy - reach, 0, self.height)), int(np.clip(cy + reach, 0, self.height))
        if x2 <= x1 or y2 <= y1:
            return
        sigma = radius * self.height
        along_x = np.exp(-(((np.arange(x1, x2) - cx) / sigma) ** 2)).astype(np.float32)
        along_y = np.exp(-(((np.arange(y1, y2) - cy) / sigma) ** 2)).astype(np.float32)
        light = along_y[:, None, None] * along_x[None, :, None] * np.float32(strength)
        part = self.image[y1:y2, x1:x2]
        part[:] = np.minimum(part + light * np.asarray(colour, np.float32), 255)

    def veil(self, colour: Shade, amount: float, *, top: float = 0.0, bottom: float = 1.0) -> None:
        """Mist over the rows from `top` (none) to `bottom` (`amount` in [0, 1])."""
        y1, y2 = round(top * self.height), round(bottom * self.height)
        ramp = np.linspace(0, amount, max(y2 - y1, 1), dtype=np.float32)[: y2 - y1, None, None]
        part = self.image[y1:y2]
        part[:] = part + ramp * (np.asarray(colour, np.float32) - part)

    def blur(self, radius: float) -> None:
        """Put all that is painted so far out of focus."""
        sigma = radius * self.height
        if sigma > 0.4:
            cv2.GaussianBlur(self.image, (0, 0), sigma, dst=self.image)

    def _fixed(
        self, points: Sequence[Sequence[float]] | Floats
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
        scaled = np.asarray(points, np.float32) * (self.height * (1 << _BITS))
        return np.round(scaled).astype(np.int32)


def lighter(colour: Shade, factor: float) -> tuple[float, float, float]:
    """The colour times a factor, within 0 to 255."""
    red, green, blue = (min(max(part * factor, 0.0), 255.0) for part in colour)
    return red, green, blue


def _bgr(colour: Shade) -> tuple[float, float, float]:
    """cv2 writes channels in the order given; the picture is RGB throughout."""
    return float(colour[0]), float(colour[1]), float(colour[2])
