"""Where a face's features lie: contour, brows, eyes, nose and mouth as curves, and the 68 points.

Units: half the distance between the ears is 1, the eye line is y = 0, x to the right, y down, z
towards the viewer. What is painted and what is stated as truth are read from the same curves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visage.synth.expression import Expression
from visage.synth.identity import Identity
from visage.synth.paint import Floats

__all__ = ["Features", "contour_half_width", "features_of", "landmarks_2d"]

SKULL_TOP = -1.36
EYE_X = 0.43
EYE_HALF_WIDTH = 0.185
MOUTH_Y = 1.0
INNER_CORNER = 0.86  # the inner lip contour starts inside of the corner of the mouth


@dataclass(frozen=True, slots=True, kw_only=True)
class Eye:
    """One eye: lids from the left to the right corner of the picture, (n, 2) each."""

    upper: Floats
    lower: Floats
    iris: tuple[float, float]
    open: float
    """Height of the opening at its middle, in units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mouth:
    """The four lip contours from left to right, (n, 2) each, all over the same t in [-1, 1]."""

    upper_outer: Floats
    upper_inner: Floats
    lower_inner: Floats
    lower_outer: Floats
    gap: float
    """Height of the opening at its middle, in units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """All curves of a face before it is turned; index 0 is the left side of the picture."""

    contour: Floats
    chin: float
    jaw: float
    brows: tuple[Floats, Floats]
    """From the outer to the inner end, five knots each."""
    eyes: tuple[Eye, Eye]
    nose_tip_y: float
    nose_base: Floats
    """Five points under the nose, left to right."""
    mouth: Mouth


def contour_half_width(y: Floats, *, chin: float, jaw: float) -> Floats:
    """Half the width of the head at each height: a skull above the eyes, a jaw below."""
    down = np.clip(y / chin, 0.0, 1.0)
    up = np.clip(y / SKULL_TOP, 0.0, 1.0)
    below = (1.0 - down**jaw) ** (1 / 1.65)
    above = (1.0 + 0.05 * np.sin(np.pi * up)) * (1.0 - up**2.5) ** (1 / 2.1)
    return np.asarray(np.where(y >= 0, below, above), np.float32)


def features_of(identity: Identity, expression: Expression) -> Features:
    """The curves of this person with this expression."""
    chin = identity.chin + 0.22 * max(0.0, expression.mouth_open)
    sides = (-1.0, 1.0)
    eyes = (_eye(identity, expression, -1.0), _eye(identity, expression, 1.0))
    wrinkle = max(0.0, expression.nose_wrinkle)
    tip = 0.47 * identity.nose_length - 0.03 * wrinkle
    return Features(
        contour=_contour(chin=chin, jaw=identity.jaw),
        chin=chin,
        jaw=identity.jaw,
        brows=(_brow(identity, expression, sides[0]), _brow(identity, expression, sides[1])),
        eyes=eyes,
        nose_tip_y=tip,
        nose_base=_nose_base(identity, expression, tip),
        mouth=_mouth(identity, expression),
    )


def landmarks_2d(features: Features) -> Floats:
    """The 68 points of iBUG 300-W on the unturned face, (68, 2) in units."""
    points = np.zeros((68, 2), np.float32)
    points[0:17] = _jaw_points(features)
    points[17:22] = features.brows[0]
    points[22:27] = features.brows[1][::-1]
    tip = features.nose_tip_y
    points[27:31] = np.stack([np.zeros(4), np.linspace(-0.04, tip, 4)], axis=1)
    points[31:36] = features.nose_base
    for side, first in ((0, 36), (1, 42)):
        points[first : first + 6] = _eye_points(features.eyes[side])
    points[48:68] = _mouth_points(features.mouth)
    return points


def _contour(*, chin: float, jaw: float) -> Floats:
    """The whole head, clockwise from the left ear over the skull; (n, 2)."""
    theta = np.linspace(0.0, np.pi, 60, dtype=np.float32)
    top_y = (SKULL_TOP * np.sin(theta)).astype(np.float32)
    low_y = (chin * np.sin(theta)).astype(np.float32)
    top_x = contour_half_width(top_y, chin=chin, jaw=jaw) * np.where(theta < np.pi / 2, -1, 1)
    low_x = contour_half_width(low_y, chin=chin, jaw=jaw) * np.where(theta < np.pi / 2, 1, -1)
    return np.concatenate([np.stack([top_x, top_y], 1), np.stack([low_x, low_y], 1)[1:-1]]).astype(
        np.float32
    )


def _jaw_points(features: Features) -> Floats:
    """17 points at equal distances along the contour from ear to ear through the chin."""
    theta = np.linspace(0.0, np.pi, 241, dtype=np.float32)
    y = (features.chin * np.sin(theta)).astype(np.float32)
    x = contour_half_width(y, chin=features.chin, jaw=features.jaw)
    x = x * np.where(theta < np.pi / 2, -1, 1)
    steps = np.hypot(np.diff(x), np.diff(y))
    length = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.linspace(0.0, length[-1], 17)
    return np.stack([np.interp(at, length, x), np.interp(at, length, y)], 1).astype(np.float32)


def _side_gain(expression: Expression, side: float) -> float:
    return 1.0 + 0.45 * expression.asymmetry * side


def _brow(identity: Identity, expression: Expression, side: float) -> Floats:
    gain = _side_gain(expression, side)
    x = np.array([0.80, 0.67, 0.52, 0.36, 0.19], np.float32)
    y = np.array([-0.24, -0.35, -0.385, -0.365, -0.31], np.float32) - identity.brow_height
    inner = np.array([0.0, 0.1, 0.32, 0.7, 1.0], np.float32)
    outer = np.array([0.75, 1.0, 0.95, 0.55, 0.25], np.float32)
    y = y - gain * 0.17 * expression.brow_inner * inner
    y = y - gain * 0.15 * expression.brow_outer * outer
    y = y + 0.20 * expression.brow_lower * (0.30 + 0.70 * inner)
    y = y + 0.05 * expression.nose_wrinkle * inner
    x = x - 0.06 * expression.brow_lower * inner
    return np.stack([side * x, y], axis=1).astype(np.float32)


def _eye(identity: Identity, expression: Expression, side: float) -> Eye:
    size = identity.eye_size
    centre = side * EYE_X * identity.eye_spacing
    half = EYE_HALF_WIDTH * size
    t = np.linspace(-1.0, 1.0, 25, dtype=np.float32)
    wide = expression.eye_wide
    lift = 0.118 * size * (1.0 + (0.55 * wide if wide > 0 else 0.95 * wide))
    drop = 0.062 * size * (1.0 + 0.25 * max(wide, 0.0)) * (1.0 - 0.75 * max(expression.squint, 0))
    lift *= 1.0 - 0.22 * max(expression.squint, 0.0)
    lift += 0.02 * min(wide, 0.0)  # a closed lid hangs below the corners
    corner = -identity.eye_tilt * t * side
    # The highest point of the upper lid lies towards the nose, that of the lower lid away from it.
    shift = 0.18 * side * t * (1 - t**2)
    upper = corner - lift * ((1 - np.abs(t) ** 2.2) - shift * 0.8)
    lower = corner + drop * ((1 - np.abs(t) ** 2.4) + shift * 0.8)
    droop = 0.05 * max(expression.brow_inner - expression.brow_outer, 0.0) * max(-wide, 0.0)
    upper = upper + droop * np.clip(t * side, 0, 1) * (1 - t**2) * 4
    upper = np.minimum(upper, lower)
    x = centre + half * t
    # The iris stays between the lids and looks a little up as lids cover more of it from above.
    iris = (centre + 0.05 * expression.gaze_x * size, -0.022 * size + 0.035 * expression.gaze_y)
    return Eye(
        upper=np.stack([x, upper], 1).astype(np.float32),
        lower=np.stack([x, lower], 1).astype(np.float32),
        iris=(float(iris[0]), float(iris[1])),
        open=float(lower[12] - upper[12]),
    )


def _nose_base(identity: Identity, expression: Expression, tip: float) -> Floats:
    wrinkle = max(0.0, expression.nose_wrinkle)
    half = 0.2 * identity.nose_width * (1 + 0.16 * wrinkle + 0.06 * max(0, expression.cheek))
    x = np.array([-1.0, -0.5, 0.0, 0.5, 1.0], np.float32) * half
    y = tip + 0.13 + np.array([0.0, 0.035, 0.055, 0.035, 0.0], np.float32)
    y = y - 0.06 * wrinkle * np.abs(x / half) ** 1.5
    return np.stack([x, y], axis=1).astype(np.float32)


def _mouth(identity: Identity, expression: Expression) -> Mouth:
    e = expression
    opened, press = max(0.0, e.mouth_open), max(0.0, e.lip_press)
    raised, lowered = max(0.0, e.upper_lip), max(0.0, e.lower_lip)
    smile, frown = max(0.0, e.mouth_corner), max(0.0, -e.mouth_corner)
    half = 0.37 * identity.mouth_width
    half *= (
        1 + 0.26 * smile + 0.05 * frown + (0.2 if e.mouth_stretch > 0 else 0.45) * (e.mouth_stretch)
    )
    t = np.linspace(-1.0, 1.0, 41, dtype=np.float32)
    side = 1.0 + 0.5 * e.asymmetry * t
    curve = np.abs(t) ** 1.7 * (-0.19 * smile + 0.15 * frown) * side
    line = MOUTH_Y + curve + 0.04 * smile - 0.05 * frown - 0.03 * raised
    # A rounded mouth is an ellipse; a smile is flat above and round below.
    inside = np.clip(np.abs(t) / INNER_CORNER, 0, 1)
    bow = (1 - inside**2) ** (0.5 + 0.25 * (e.mouth_stretch > 0))
    flat = (1 - inside**4) ** 0.8
    upper_inner = line - bow * 0.10 * opened - flat * (0.085 * raised * side)
    lower_inner = line + bow * (0.42 * opened) + flat * (0.10 * lowered + 0.02 * smile * opened)
    dip = 1 - 0.3 * np.exp(-((t / 0.13) ** 2)) + 0.12 * np.exp(-(((np.abs(t) - 0.3) / 0.2) ** 2))
    full = identity.lip_fullness * (1 - 0.68 * press) * (1 - 0.2 * smile)
    thin = 1 - 0.35 * raised
    upper_outer = upper_inner - 0.088 * full * thin * (1 - t**2) ** 0.85 * dip
    lower_outer = lower_inner + 0.118 * full * (1 - 0.12 * opened) * (1 - t**2) ** 0.7
    x = half * t
    return Mouth(
        upper_outer=np.stack([x, upper_outer], 1).astype(np.float32),
        upper_inner=np.stack([x, upper_inner], 1).astype(np.float32),
        lower_inner=np.stack([x, lower_inner], 1).astype(np.float32),
        lower_outer=np.stack([x, lower_outer], 1).astype(np.float32),
        gap=float(lower_inner[20] - upper_inner[20]),
    )


def _eye_points(eye: Eye) -> Floats:
    """Corner, two on the upper lid, corner, two on the lower lid; clockwise from the left."""
    upper, lower = eye.upper, eye.lower
    return np.stack([upper[0], upper[8], upper[16], upper[24], lower[16], lower[8]])


def _mouth_points(mouth: Mouth) -> Floats:
    """The 20 lip points in the order of 300-W."""
    outer_up = [_at(mouth.upper_outer, t) for t in (-1.0, -0.62, -0.27, 0.0, 0.27, 0.62, 1.0)]
    outer_low = [_at(mouth.lower_outer, t) for t in (0.62, 0.3, 0.0, -0.3, -0.62)]
    inner_up = [_at(mouth.upper_inner, t) for t in (-INNER_CORNER, -0.3, 0.0, 0.3, INNER_CORNER)]
    inner_low = [_at(mouth.lower_inner, t) for t in (0.3, 0.0, -0.3)]
    return np.stack(outer_up + outer_low + inner_up + inner_low)


def _at(curve: Floats, t: float) -> Floats:
    """The point of a lip contour at t in [-1, 1]."""
    place = (t + 1) * 0.5 * (len(curve) - 1)
    low = min(int(place), len(curve) - 2)
    point: Floats = curve[low] + (curve[low + 1] - curve[low]) * np.float32(place - low)
    return point
