"""The face as a height field, its light, and its turn: what makes a drawing look round.

`heights` is a function of position, so the truth (68 points) and the picture are projected by the
same formula: orthographic, after a rotation about the middle of the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from visage.synth.expression import Expression
from visage.synth.geometry import Features, contour_half_width
from visage.synth.identity import Colour, Identity
from visage.synth.paint import Canvas, Floats

__all__ = ["Light", "Pose", "heights", "project", "shade", "soft_parts", "unproject"]

PIVOT_Y = 0.35
_DEPTH = 0.78
_ITERATIONS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """How the head is turned, degrees; angles beyond about 25 show places that are not drawn."""

    yaw_deg: float = 0.0
    """Positive looks to the right of the picture."""
    pitch_deg: float = 0.0
    """Positive looks down."""
    roll_deg: float = 0.0
    """Positive leans clockwise in the picture."""

    def matrix(self) -> Floats:
        """Rotation (3, 3) of x right, y down, z towards the viewer."""
        yaw, pitch, roll = np.radians([self.yaw_deg, self.pitch_deg, self.roll_deg])
        cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
        cr, sr = np.cos(roll), np.sin(roll)
        turn_yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        turn_pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        turn_roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        return np.asarray(turn_roll @ turn_pitch @ turn_yaw, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """One soft key light and the room around it."""

    x: float = -0.45
    """Where the key comes from: left of the picture is negative."""
    y: float = -0.5
    """Above is negative."""
    key: Colour = (1.0, 0.98, 0.95)
    ambient: Colour = (0.62, 0.60, 0.62)
    contrast: float = 1.0
    """0 flat to about 1.3 hard."""

    def direction(self) -> Floats:
        """Unit vector towards the light, (3,)."""
        vector = np.array([self.x, self.y, 0.85], np.float32)
        return vector / np.float32(np.linalg.norm(vector))


def heights(x: Floats, y: Floats, features: Features, *, nose: float = 1.0) -> Floats:
    """Height z in units at x and y (broadcast together); smooth, and 0 beyond the head."""
    width = np.maximum(contour_half_width(y, chin=features.chin, jaw=features.jaw), 0.05)
    # Towards crown and chin the head stays broad in depth while its contour closes.
    across = np.clip(np.abs(x) / (width**6 + 0.66**6) ** (1 / 6), 0.0, 1.0)
    top = np.clip((-0.45 - y) / 0.95, 0.0, 1.0)
    low = np.clip(y / features.chin, 0.0, 1.35)
    upright = (1.0 - 0.8 * top**2.2) * np.maximum(1.0 - 0.2 * low**5, 0.1)
    z = _DEPTH * (1.0 - across**2.6) * upright
    tip = features.nose_tip_y
    z = z + _bump(x, y, 0.0, tip + 0.01, 0.13 * nose, 0.13, 0.26)  # ball of the nose
    bridge = 0.19 * np.clip((y + 0.25) / (tip + 0.25), 0, 1) ** 1.3
    bridge = bridge * np.exp(-((np.maximum(y - tip, 0) / 0.1) ** 2))
    z = z + np.exp(-((x / (0.105 * nose)) ** 2)) * bridge
    for side in (-1.0, 1.0):
        z = z + _bump(x, y, side * 0.155 * nose, tip + 0.08, 0.085, 0.085, 0.09)
        z = z + _bump(x, y, side * 0.42, -0.27, 0.30, 0.12, 0.075)  # brow ridge
        z = z - _bump(x, y, side * 0.33, -0.06, 0.22, 0.14, 0.11)  # socket
    return np.asarray(z, np.float32)


def soft_parts(
    x: Floats, y: Floats, features: Features, *, expression: Expression, identity: Identity
) -> Floats:
    """What the light sees on top of `heights`: cheeks, folds, lips, chin; too flat to move with."""
    mouth = features.mouth
    smile = max(0.0, expression.mouth_corner)
    corner = mouth.upper_outer[-1]
    cheek = max(0.0, expression.cheek)
    fold = 0.018 + 0.025 * cheek + 0.02 * smile + 0.025 * identity.age
    fold += 0.035 * max(0.0, expression.upper_lip)
    low, high = float(mouth.lower_outer[20, 1]), float(mouth.upper_outer[20, 1])
    z = _bump(x, y, 0.0, features.chin - 0.2, 0.24, 0.16, 0.10)
    z = z - _bump(x, y, 0.0, low + 0.07, 0.26, 0.06, 0.055)
    z = z - _bump(x, y, 0.0, high - 0.1, 0.05, 0.09, 0.03)
    z = z + _bump(x, y, 0.0, (low + high) / 2, float(corner[0]) * 0.9, 0.26, 0.09)
    for side in (-1.0, 1.0):
        z = z + _bump(x, y, side * 0.52, 0.42 - 0.08 * cheek, 0.24, 0.22, 0.05 + 0.09 * cheek)
        z = z + _bump(x, y, side * 0.43, 0.0, 0.2, 0.12, 0.07)  # the ball of the eye under its lids
        z = z - _bump(x, y, side * 0.40, 0.17, 0.18, 0.05, 0.025 + 0.02 * identity.age)
        down = np.clip((y - 0.5) / max(float(corner[1]) - 0.5, 0.2), 0, 1.3)
        bend = side * (0.2 + (float(corner[0]) - 0.08) * down**1.3)
        reach = np.clip(down / 0.25, 0, 1) * np.clip((1.25 - down) / 0.4, 0, 1)
        z = z - fold * np.exp(-(((x - bend) / 0.075) ** 2)) * reach
    return z + _wrinkles(x, y, expression=expression, identity=identity)


def _wrinkles(x: Floats, y: Floats, *, expression: Expression, identity: Identity) -> Floats:
    """Furrows between the brows, over the nose and across the forehead."""
    z: Floats = np.zeros_like(x + y)
    furrow = max(0.0, expression.brow_lower) * 0.035
    for side in (-1.0, 1.0):
        z = z - _bump(x, y, side * 0.075, -0.3, 0.03, 0.13, furrow)
    wrinkle = max(0.0, expression.nose_wrinkle) * 0.02
    over_nose = np.asarray(np.sin(y * 55), np.float32)
    z = z + over_nose * _bump(x, y, 0.0, 0.08, 0.16, 0.13, wrinkle)
    raised = max(0.0, 0.5 * (expression.brow_inner + expression.brow_outer))
    lines = 0.012 * raised + 0.004 * identity.age
    rows = np.asarray(np.sin((y + 0.12 * x * x) * 38), np.float32)
    return z + rows * _bump(x, y, 0.0, -0.72, 0.5, 0.17, lines)


def shade(z: Floats, *, scale: float, light: Light, pose: Pose) -> tuple[Floats, Floats]:
    """Diffuse light in [0, 1] and highlight in [0, 1] of a height field, (h, w) each.

    `scale` is pixels to the unit; the light stands still in the picture while the head turns.
    """
    gain = float(scale) / 8.0
    slope_x = cv2.Sobel(z, cv2.CV_32F, 1, 0, ksize=3, scale=gain)
    slope_y = cv2.Sobel(z, cv2.CV_32F, 0, 1, ksize=3, scale=gain)
    towards = pose.matrix().T @ light.direction()
    halfway = pose.matrix().T @ (light.direction() + np.array([0, 0, 1], np.float32))
    halfway = halfway / np.float32(np.linalg.norm(halfway))
    length = 1.0 / np.sqrt(1.0 + slope_x * slope_x + slope_y * slope_y)
    diffuse = (towards[2] - towards[0] * slope_x - towards[1] * slope_y) * length
    shine = (halfway[2] - halfway[0] * slope_x - halfway[1] * slope_y) * length
    # Hollows see less of the room: the field against its own blur.
    small = cv2.resize(z, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    around = cv2.GaussianBlur(small, (0, 0), max(0.12 * scale / 4, 0.5))
    around = cv2.resize(around, (z.shape[1], z.shape[0]), interpolation=cv2.INTER_LINEAR)
    hollow = np.clip((around - z) * 2.2, -0.12, 0.35)
    level = np.clip(0.30 + 0.72 * diffuse - hollow, 0.0, 1.0)
    level = 1.0 - (1.0 - level) * np.float32(light.contrast)
    return np.clip(level, 0, 1), np.clip(shine, 0, 1) ** 22


def project(points: Floats, z: Floats, pose: Pose) -> Floats:
    """Turn points (n, 2) at heights z (n,) and drop the depth; (n, 2) in units."""
    turn = pose.matrix()
    centre = np.array([0.0, PIVOT_Y], np.float32)
    flat = (points - centre) @ turn[:2, :2].T + z[:, None] * turn[:2, 2]
    return (flat + centre).astype(np.float32)


def unproject(
    x: Floats, y: Floats, field: Floats, *, grid: Canvas, pose: Pose
) -> tuple[Floats, Floats]:
    """Where on the unturned face each pixel looks; the inverse of `project`, by iteration.

    x and y are (h, w) in units, and so are the results; `field` holds heights at the pixels of
    `grid`, and beyond its edge they continue. It converges where the turn is small enough for the
    field's slope.
    """
    turn = pose.matrix()
    inverse = np.linalg.inv(turn[:2, :2]).astype(np.float32)
    step_x, step_y = (np.float32(value) for value in inverse @ turn[:2, 2])
    flat_y = y - np.float32(PIVOT_Y)
    base_x = inverse[0, 0] * x + inverse[0, 1] * flat_y
    base_y = inverse[1, 0] * x + inverse[1, 1] * flat_y + np.float32(PIVOT_Y)
    scale = np.float32(grid.scale)
    at_x = (base_x - np.float32(grid.left)) * scale - np.float32(0.5)
    at_y = (base_y - np.float32(grid.top)) * scale - np.float32(0.5)
    z = np.full_like(base_x, 0.3)
    for _ in range(_ITERATIONS):
        column, row = at_x - step_x * scale * z, at_y - step_y * scale * z
        z = cv2.remap(field, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return base_x - step_x * z, base_y - step_y * z


def _bump(
    x: Floats, y: Floats, cx: float, cy: float, rx: float, ry: float, height: float
) -> Floats:
    """A Gaussian hill; separable, so it costs one product per pixel when x and y are vectors."""
    along_x = np.exp(-(((x - cx) / rx) ** 2)) * np.float32(height)
    return np.asarray(along_x * np.exp(-(((y - cy) / ry) ** 2)), np.float32)
