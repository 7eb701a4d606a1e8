"""Neck, shoulders and clothes, painted at picture resolution below the head."""

from __future__ import annotations

import numpy as np

from visage.synth.identity import Identity
from visage.synth.paint import Canvas, Floats, arc, ribbon, smooth_curve

__all__ = ["paint_body"]

COLLAR_Y = 1.84
"""Height of the collar at the sides of the neck, in face units."""
_BOTTOM = 16.0
_DEPTHS = {"crew": 0.5, "hoodie": 0.52, "vneck": 1.05, "shirt": 0.72, "jacket": 0.7}


def paint_body(canvas: Canvas, identity: Identity, *, chin: float, lean: float = 0.0) -> None:
    """Body of a person whose head stands at the origin; `lean` moves the shoulders sideways."""
    _torso(canvas, identity, lean)
    neckline = _neckline(identity, lean)
    _neck(canvas, identity, neckline, chin=chin, lean=lean)
    if identity.clothes in ("crew", "hoodie", "vneck"):
        _band(canvas, identity, neckline, lean)
    elif identity.clothes == "turtleneck":
        _roll(canvas, identity, lean)
    else:
        _shirt(canvas, identity, lean)


def _neck_half(identity: Identity) -> float:
    return 0.50 if identity.is_female else 0.62


def _torso(canvas: Canvas, identity: Identity, lean: float) -> None:
    wide, neck = (2.1 if identity.is_female else 2.5), _neck_half(identity)
    outline = np.array(
        [
            [-neck, COLLAR_Y - 0.12], [-neck - 0.18, COLLAR_Y + 0.12], [-wide * 0.48, 2.24],
            [-wide * 0.82, 2.50], [-wide * 1.0, 3.05], [-wide * 1.08, 4.2], [-wide * 1.12, 6.0],
        ],
        np.float32,
    )  # fmt: skip
    foot = np.array([[-wide * 1.15, _BOTTOM]], np.float32)
    left = np.concatenate([smooth_curve(outline, samples=50), foot])
    right = left[::-1] * np.array([-1, 1], np.float32)
    points = np.concatenate([left, right]) + np.array([lean, 0], np.float32)
    region, cover = canvas.mask(points)
    if cover.size == 0:
        return
    x, y = canvas.grid(region)
    across = (x - np.float32(lean)) / np.float32(wide)
    roundness = 1.06 - 0.5 * np.abs(across + 0.14) ** 1.7
    fall = 1.0 - 0.2 * np.clip(y - 2.3, 0, 3) / 3
    under = 1.0 - 0.38 * np.exp(-((across / 0.32) ** 2) - (((y - 2.1) / 0.38) ** 2))
    slope = np.clip(y - 2.1, 0, 4)
    fold = 1.0 + 0.045 * np.sin(np.abs(across) * 13 + slope * 2.2) * np.clip(y - 2.2, 0, 1)
    sleeve = np.exp(-(((np.abs(across) - 0.77) / 0.03) ** 2)) * np.clip(y - 3.1, 0, 1)
    tone = roundness * fall * under * fold * (1.0 - 0.35 * sleeve)
    canvas.blend(region, cover, np.asarray(identity.fabric, np.float32) * tone[..., None])


def _neckline(identity: Identity, lean: float) -> Floats:
    """The edge of the cloth from the left to the right side of the neck, (n, 2)."""
    t = np.linspace(-1.0, 1.0, 41, dtype=np.float32)
    depth = _DEPTHS.get(identity.clothes, 0.3)
    curve = 1 - np.abs(t) if identity.clothes in ("vneck", "shirt", "jacket") else 1 - t**2
    half = _neck_half(identity) + 0.1
    return np.stack([half * t + lean, COLLAR_Y + depth * curve], axis=1).astype(np.float32)


def _neck(
    canvas: Canvas, identity: Identity, neckline: Floats, *, chin: float, lean: float
) -> None:
    half = _neck_half(identity)
    knots = np.array([[half, 0.7], [half - 0.03, 1.4], [half + 0.06, COLLAR_Y]], np.float32)
    right = smooth_curve(knots, samples=20)
    shift = lean * np.clip((right[:, 1] - 0.9) / 0.9, 0, 1)
    left = np.stack([shift - right[:, 0], right[:, 1]], 1)
    right[:, 0] += shift
    points = np.concatenate([left, neckline, right[::-1]]).astype(np.float32)
    region, cover = canvas.mask(points)
    if cover.size == 0:
        return
    x, y = canvas.grid(region)
    side = 1.02 - 0.34 * np.clip(np.abs(x + 0.12 - lean * 0.5) / half, 0, 1.3) ** 2.4
    edge = np.float32(chin) - 0.62 * (x / 0.8) ** 2  # the jaw's shadow follows the jaw
    shadow = 1.0 - 0.5 * np.exp(-((np.maximum(y - edge, 0) / 0.26) ** 2))
    cords = np.abs(np.abs(x - lean * 0.6) - half * 0.75 * np.clip((2.5 - y) / 0.9, 0.1, 1))
    tone = side * shadow * (1.0 - 0.07 * np.exp(-((cords / 0.05) ** 2)))
    warm = np.stack([tone**0.82, tone**1.06, tone**1.1], axis=-1)
    canvas.blend(region, cover, np.asarray(identity.skin, np.float32) * 0.95 * warm)


def _band(canvas: Canvas, identity: Identity, neckline: Floats, lean: float) -> None:
    fabric = np.asarray(identity.fabric, np.float32)
    width = {"crew": 0.12, "vneck": 0.1}.get(identity.clothes, 0.26)
    t = np.linspace(-1, 1, len(neckline), dtype=np.float32)
    shade = ribbon(neckline - np.array([0, 0.05], np.float32), 0.1)
    canvas.fill(shade, (0.1, 0.05, 0.05), opacity=0.22, blur=0.04, over=False)
    outer = neckline + np.array([0, width * 0.35], np.float32)
    if identity.clothes == "hoodie":
        hood = neckline * np.array([1.0, 1.0], np.float32)
        hood[:, 0] = (hood[:, 0] - lean) * 1.28 + lean
        hood[:, 1] += 0.12
        canvas.fill(ribbon(hood, 0.34 * (1.05 - 0.3 * t**4)), fabric * 0.62, blur=0.02, over=False)
        upper = hood - np.array([0, 0.04], np.float32)
        canvas.fill(ribbon(upper, 0.26), fabric * 0.94, blur=0.02, over=False)
        for sign in (-1.0, 1.0):
            cord = np.array([[sign * 0.32 + lean, 2.5], [sign * 0.35 + lean, 3.35]], np.float32)
            canvas.fill(ribbon(cord, 0.055), fabric * 0.3 + 0.65, opacity=0.95)
        return
    canvas.fill(ribbon(outer, width), fabric * 0.80, blur=0.008, over=False)
    rim = ribbon(outer + np.array([0, width * 0.55], np.float32), 0.025)
    canvas.fill(rim, fabric * 0.5, opacity=0.5, blur=0.01, over=False)


def _roll(canvas: Canvas, identity: Identity, lean: float) -> None:
    fabric, half = np.asarray(identity.fabric, np.float32), _neck_half(identity) + 0.08
    knots = [[-half, 1.62], [0, 1.74], [half, 1.62], [half + 0.1, 1.95], [half + 0.12, 2.22]]
    knots += [[0, 2.5], [-half - 0.12, 2.22], [-half - 0.1, 1.95]]
    points = smooth_curve(np.asarray(knots, np.float32), samples=90, closed=True)
    points[:, 0] += lean
    region, cover = canvas.mask(points, blur=0.008)
    if cover.size == 0:
        return
    x, y = canvas.grid(region)
    side = 1.05 - 0.42 * np.abs((x - lean + 0.15) / half) ** 2.2
    rows = 0.94 + 0.12 * np.sin((y - 0.10 * (1 - ((x - lean) / half) ** 2)) * 13.0)
    ribs = 1 + 0.03 * np.sin((x - lean) * 60)
    canvas.blend(region, cover, fabric * (side * rows * ribs)[..., None])


def _shirt(canvas: Canvas, identity: Identity, lean: float) -> None:
    """Collar wings and a button row; a jacket lays its lapels around them."""
    fabric = np.asarray(identity.fabric, np.float32)
    inner = np.asarray(identity.accent, np.float32) if identity.clothes == "jacket" else fabric
    half = _neck_half(identity)
    if identity.clothes == "jacket":
        vee = [[-half - 0.12, 1.86], [half + 0.12, 1.86], [0.42, 3.4], [0, 4.6], [-0.42, 3.4]]
        opening = np.asarray(vee, np.float32) + np.array([lean, 0], np.float32)
        skin = np.asarray([[-half, 1.8], [half, 1.8], [0, 2.5]], np.float32)
        region, cover = canvas.mask(opening, blur=0.01)
        hole_region, hole = canvas.mask(skin + np.array([lean, 0], np.float32))
        whole = np.zeros(canvas.alpha.shape, np.float32)
        whole[region] = cover
        whole[hole_region] *= 1 - hole
        canvas.blend(region, whole[region], inner * 0.95)
        for sign in (-1.0, 1.0):
            lapel = [
                [half + 0.1, 1.84],
                [half + 0.34, 2.05],
                [1.02, 2.75],
                [0.78, 2.85],
                [0.03, 4.6],
            ]
            lapel += [[0.36, 3.2], [half + 0.02, 2.2]]
            points = np.asarray(lapel, np.float32) * np.array([sign, 1], np.float32)
            points[:, 0] += lean
            below = points + np.array([0.03 * sign, 0.05], np.float32)
            canvas.fill(below, fabric * 0.35, opacity=0.5, blur=0.03, over=False)
            canvas.fill(points, fabric * (0.84 if sign < 0 else 0.78))
    for sign in (-1.0, 1.0):
        wing = np.array(
            [[half - 0.02, 1.68], [half + 0.16, 1.86], [0.6, 2.52], [0.03, 2.54]], np.float32
        ) * np.array([sign, 1], np.float32)
        wing[:, 0] += lean
        below = wing + np.array([0, 0.05], np.float32)
        canvas.fill(below, inner * 0.35, opacity=0.45, blur=0.03, over=False)
        canvas.fill(wing, np.minimum(inner * (1.04 if sign < 0 else 0.96) + 0.03, 1.0))
    bottom = 4.4 if identity.clothes == "jacket" else _BOTTOM
    seam = np.array([[lean, 2.55], [lean, bottom]], np.float32)
    canvas.fill(ribbon(seam, 0.025), inner * 0.6, opacity=0.7, blur=0.01)
    for step in range(3):
        canvas.fill(arc(lean + 0.05, 2.9 + 0.6 * step, rx=0.04, ry=0.04), inner * 0.5)
