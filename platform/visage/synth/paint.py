"""A small canvas: anti-aliased shapes in face units on float pictures.

Invariant: a shape only touches the pixels of its own bounding box, so that the cost of a feature
is its area, not the picture's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Canvas", "Floats", "Region", "arc", "ribbon", "smooth_curve"]

Floats = NDArray[np.float32]
Region = tuple[slice, slice]
"""Rows and columns of a canvas."""

_SHIFT = 4  # sub-pixel bits of cv2's fixed-point coordinates


class Canvas:
    """An RGBA picture in [0, 1] that is addressed in units: x to the right, y down."""

    def __init__(
        self, *, left: float, top: float, right: float, bottom: float, scale: float
    ) -> None:
        """A transparent canvas of `scale` pixels to the unit."""
        self.left, self.top, self.scale = left, top, scale
        self.width = max(2, round((right - left) * scale))
        self.height = max(2, round((bottom - top) * scale))
        self.rgb: Floats = np.zeros((self.height, self.width, 3), np.float32)
        self.alpha: Floats = np.zeros((self.height, self.width), np.float32)

    def grid(self, region: Region) -> tuple[Floats, Floats]:
        """x (1, w) and y (h, 1) in units of the pixel centres of a region."""
        rows = np.arange(region[0].start, region[0].stop, dtype=np.float32)
        columns = np.arange(region[1].start, region[1].stop, dtype=np.float32)
        x = (columns + 0.5) / np.float32(self.scale) + np.float32(self.left)
        y = (rows + 0.5) / np.float32(self.scale) + np.float32(self.top)
        return x[None, :], y[:, None]

    def region(self, *, left: float, top: float, right: float, bottom: float) -> Region:
        """The pixels of a rectangle in units, clipped to the canvas."""
        # Plain numbers: NumPy on scalars costs more than the painting of a small feature.
        x1 = min(max(int((left - self.left) * self.scale), 0), self.width)
        x2 = min(max(math.ceil((right - self.left) * self.scale), x1), self.width)
        y1 = min(max(int((top - self.top) * self.scale), 0), self.height)
        y2 = min(max(math.ceil((bottom - self.top) * self.scale), y1), self.height)
        return slice(y1, y2), slice(x1, x2)

    def mask(self, points: Floats, *, blur: float = 0.0) -> tuple[Region, Floats]:
        """The coverage in [0, 1] of a polygon, its edge softened over `blur` units."""
        margin = 2.5 * blur + 2.0 / self.scale
        (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        region = self.region(
            left=left - margin, top=top - margin, right=right + margin, bottom=bottom + margin
        )
        shape = (region[0].stop - region[0].start, region[1].stop - region[1].start)
        if 0 in shape:
            return region, np.zeros(shape, np.float32)
        sigma = blur * self.scale
        shrink = max(1, int(sigma / 1.5))  # a soft edge needs few pixels
        small = (-(-shape[0] // shrink), -(-shape[1] // shrink))
        zoom = self.scale / shrink * (1 << _SHIFT)
        half = 0.5 * (1 << _SHIFT) - 0.5  # pixel centres; the other half rounds
        column = (self.left + region[1].start / self.scale) * zoom + half
        row = (self.top + region[0].start / self.scale) * zoom + half
        fixed = np.floor(points * np.float32(zoom) - np.array([column, row], np.float32))
        covered = np.zeros(small, np.uint8)
        cv2.fillPoly(covered, [fixed.astype(np.int32)], (255,), cv2.LINE_AA, _SHIFT)
        if sigma > 0.3:
            covered = cv2.GaussianBlur(covered, (0, 0), sigma / shrink)
        if shrink > 1:
            size = (small[1] * shrink, small[0] * shrink)
            covered = cv2.resize(covered, size, interpolation=cv2.INTER_LINEAR)
            covered = covered[: shape[0], : shape[1]]
        return region, covered.astype(np.float32) * np.float32(1 / 255)

    def blend(
        self, region: Region, cover: Floats, colour: Floats | Sequence[float], *, over: bool = True
    ) -> None:
        """Lay a colour, (3,) or (h, w, 3), over a region; `over=False` keeps to what is painted."""
        tint = np.asarray(colour, np.float32)
        if not over:
            cover = cover * self.alpha[region]
        part = self.rgb[region]
        # One plane at a time: broadcasting over a last axis of three is several times slower.
        for plane in range(3):
            here = part[..., plane]
            here += cover * (tint[..., plane] - here)
        if over:
            alpha = self.alpha[region]
            alpha += cover * (1.0 - alpha)

    def fill(
        self,
        points: Floats,
        colour: Sequence[float] | Floats,
        *,
        opacity: float = 1.0,
        blur: float = 0.0,
        over: bool = True,
    ) -> None:
        """A filled polygon; points (n, 2) in units."""
        region, cover = self.mask(points, blur=blur)
        self.blend(region, cover * np.float32(opacity), colour, over=over)

    def flattened(self) -> NDArray[np.uint8]:
        """Premultiplied RGBA, (height, width, 4), so that it may be resampled without fringes."""
        layer = np.empty((self.height, self.width, 4), np.uint8)
        strength = self.alpha * np.float32(255)
        for plane in range(3):
            layer[..., plane] = np.minimum(self.rgb[..., plane], 1) * strength + np.float32(0.5)
        layer[..., 3] = strength + np.float32(0.5)
        return layer


def smooth_curve(points: Floats, *, samples: int = 40, closed: bool = False) -> Floats:
    """A Catmull-Rom curve through the points, (samples, 2)."""
    knots = np.asarray(points, np.float32)
    if closed:
        padded = np.concatenate([knots[-1:], knots, knots[:2]])
        spans = len(knots)
    else:
        padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
        spans = len(knots) - 1
    at = np.linspace(0.0, spans, samples, endpoint=not closed, dtype=np.float32)
    index = np.minimum(at.astype(int), spans - 1)
    t = (at - index)[:, None]
    before, start, stop, after = (padded[index + k] for k in range(4))
    curve: Floats = 2 * start + (stop - before) * t
    curve = curve + (2 * before - 5 * start + 4 * stop - after) * t**2
    curve = curve + (3 * start - before - 3 * stop + after) * t**3
    return np.asarray(curve * 0.5, np.float32)


def ribbon(curve: Floats, widths: ArrayLike) -> Floats:
    """The outline of a band along a curve, (2n, 2), `widths` being full widths in units."""
    along = np.empty_like(curve, np.float32)
    along[1:-1] = curve[2:] - curve[:-2]
    along[0], along[-1] = curve[1] - curve[0], curve[-1] - curve[-2]
    reach = np.float32(0.5) * np.asarray(widths, np.float32)
    reach = reach / (np.hypot(along[:, 0], along[:, 1]) + np.float32(1e-6))
    outline = np.empty((2 * len(curve), 2), np.float32)
    for axis, step in ((0, -along[:, 1] * reach), (1, along[:, 0] * reach)):
        outline[: len(curve), axis] = curve[:, axis] + step
        outline[len(curve) :, axis] = (curve[:, axis] - step)[::-1]
    return outline


def arc(
    x: float,
    y: float,
    *,
    rx: float,
    ry: float,
    start: float = 0.0,
    stop: float = 2 * np.pi,
    samples: int = 40,
) -> Floats:
    """Points of an ellipse from one angle (radians, clockwise from the right) to another."""
    angle = np.linspace(start, stop, samples, dtype=np.float32)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1).astype(np.float32)
