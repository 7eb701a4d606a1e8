"""Paints eyes, brows, mouth, nostrils, beard and glasses onto the canvas of a face.

`paint_skin` lays what the light then shades; `paint_details` lays what shines or lies in the
dark.
"""

from __future__ import annotations

import numpy as np

from visage.synth.expression import Expression
from visage.synth.geometry import EYE_HALF_WIDTH, Eye, Features, Mouth
from visage.synth.identity import Identity
from visage.synth.paint import Canvas, Floats, arc, ribbon, smooth_curve

__all__ = ["paint_details", "paint_skin"]


def paint_skin(
    canvas: Canvas, identity: Identity, expression: Expression, features: Features
) -> None:
    """Unlit skin colour: blush, lid shade, beard, lips and brows."""
    skin = np.asarray(identity.skin, np.float32)
    blush = skin * np.array([1.0, 0.72, 0.70], np.float32)
    cheek = 0.22 + 0.18 * max(0.0, expression.cheek)
    for side in (-1.0, 1.0):
        spot = arc(side * 0.55, 0.45 - 0.05 * expression.cheek, rx=0.24, ry=0.17)
        canvas.fill(spot, blush, opacity=cheek, blur=0.1, over=False)
        lid = arc(side * 0.42, -0.1, rx=0.25, ry=0.12)
        canvas.fill(lid, skin * 0.72, opacity=0.45, blur=0.07, over=False)
    canvas.fill(
        arc(0.0, features.nose_tip_y, rx=0.15, ry=0.13), blush, opacity=0.3, blur=0.06, over=False
    )
    if identity.beard > 0:
        _beard(canvas, identity, features)
    _lips(canvas, identity, features.mouth)
    for brow in features.brows:
        _brow(canvas, identity, brow)


def paint_details(
    canvas: Canvas, identity: Identity, expression: Expression, features: Features
) -> None:
    """Everything that the relief does not light: inside of the mouth, eyes, nostrils, glasses."""
    _nostrils(canvas, identity, features)
    _mouth_inside(canvas, identity, expression, features.mouth)
    for index, eye in enumerate(features.eyes):
        _eye(canvas, identity, eye, side=-1.0 if index == 0 else 1.0)
    if identity.glasses:
        _glasses(canvas, features)


def _beard(canvas: Canvas, identity: Identity, features: Features) -> None:
    """A shadow along the jaw and over the lip, light for stubble, dark for a full beard."""
    chin, mouth = features.chin, features.mouth
    strength = 0.18 + 0.55 * identity.beard
    colour = np.asarray(identity.hair, np.float32) * 0.7 + np.asarray(identity.skin, np.float32) * (
        0.2
    )
    low = float(mouth.lower_outer[20, 1])
    corner = mouth.upper_outer[-1]
    right = np.array(
        [[0.97, 0.25], [0.84, 0.62], [0.62, 0.86], [float(corner[0]) + 0.14, corner[1] - 0.02]]
    )
    under = np.array([[0.2, low + 0.11], [0.0, low + 0.09]])
    inner = np.concatenate([right, under])
    left = inner[::-1][1:] * np.array([-1, 1])
    theta = np.linspace(np.pi - 0.1, 0.1, 40)
    outline = np.stack([1.1 * np.cos(theta), (chin + 0.1) * np.sin(theta)], 1)
    points = np.concatenate([inner, left, outline]).astype(np.float32)
    canvas.fill(points, colour, opacity=strength, blur=0.045, over=False)
    top = mouth.upper_outer[::4]
    band = ribbon(smooth_curve(top - np.array([0, 0.055], np.float32)), 0.085)
    canvas.fill(band, colour, opacity=strength * 0.9, blur=0.025, over=False)


def _lips(canvas: Canvas, identity: Identity, mouth: Mouth) -> None:
    base = np.asarray(identity.lips, np.float32)
    upper = np.concatenate([mouth.upper_outer, mouth.upper_inner[::-1]])
    lower = np.concatenate([mouth.lower_inner, mouth.lower_outer[::-1]])
    canvas.fill(upper, base * 0.86, opacity=0.95, blur=0.006, over=False)
    canvas.fill(lower, base * 1.03, opacity=0.92, blur=0.008, over=False)
    middle = 0.5 * (mouth.lower_inner + mouth.lower_outer)[14:27]
    glow = ribbon(middle, 0.03)
    canvas.fill(glow, np.minimum(base * 1.3 + 0.08, 1), opacity=0.4, blur=0.02, over=False)


def _brow(canvas: Canvas, identity: Identity, brow: Floats) -> None:
    colour = np.asarray(identity.hair, np.float32) * 0.62
    if float(np.mean(identity.hair)) > 0.5:
        colour = colour * 0.85
    curve = smooth_curve(brow, samples=28)
    t = np.linspace(0.0, 1.0, 28, dtype=np.float32)
    widths = 0.105 * identity.brow_thickness * (0.25 + 0.95 * np.sqrt(t)) * (1 - 0.35 * t**6)
    canvas.fill(ribbon(curve, widths * 1.25), colour, opacity=0.45, blur=0.02, over=False)
    canvas.fill(ribbon(curve, widths * 0.8), colour, opacity=0.75, blur=0.008, over=False)


def _nostrils(canvas: Canvas, identity: Identity, features: Features) -> None:
    dark = np.asarray(identity.skin, np.float32) * np.array([0.34, 0.24, 0.22], np.float32)
    base = features.nose_base
    for index in (1, 3):
        x, y = float(base[index, 0]), float(base[index, 1]) - 0.018
        canvas.fill(arc(x, y, rx=0.058, ry=0.024), dark, opacity=0.85, blur=0.012)
    shadow = smooth_curve(base + np.array([0.0, 0.012], np.float32), samples=24)
    canvas.fill(ribbon(shadow, 0.028), dark, opacity=0.34, blur=0.018)
    for index, side in ((0, -1.0), (4, 1.0)):
        x, y = float(base[index, 0]), float(base[index, 1])
        wing = arc(
            x - side * 0.035, y - 0.04, rx=0.06, ry=0.085,
            start=-0.9 if side > 0 else np.pi - 1.0, stop=1.0 if side > 0 else np.pi + 0.9,
            samples=14,
        )  # fmt: skip
        canvas.fill(ribbon(wing, 0.02), dark, opacity=0.38, blur=0.014)


def _mouth_inside(canvas: Canvas, identity: Identity, expression: Expression, mouth: Mouth) -> None:
    skin = np.asarray(identity.skin, np.float32)
    line = (skin * np.array([0.42, 0.26, 0.25], np.float32)).astype(np.float32)
    if mouth.gap < 0.03:
        seam = 0.5 * (mouth.upper_inner + mouth.lower_inner)
        t = np.linspace(-1, 1, len(seam))
        canvas.fill(ribbon(seam, 0.034 * (1 - 0.5 * t**2)), line, opacity=0.9, blur=0.006)
    else:
        _open_mouth(canvas, expression, mouth)
        rim = ribbon(mouth.upper_inner, 0.022)
        canvas.fill(rim, line, opacity=0.7, blur=0.008)
    for corner in (mouth.upper_outer[0], mouth.upper_outer[-1]):
        spot = arc(float(corner[0]), float(corner[1]), rx=0.035, ry=0.03)
        canvas.fill(spot, line, opacity=0.5, blur=0.018)


def _open_mouth(canvas: Canvas, expression: Expression, mouth: Mouth) -> None:
    hole = np.concatenate([mouth.upper_inner, mouth.lower_inner[::-1]])
    region, cover = canvas.mask(hole)
    canvas.blend(region, cover, (0.26, 0.07, 0.08))
    x, y = canvas.grid(region)
    centre = 0.5 * (mouth.upper_inner[20] + mouth.lower_inner[20])
    middle_y, half = float(centre[1]), float(mouth.upper_inner[-1, 0])
    # Upper teeth hang from the upper lip; lower ones show where the lower lip is drawn down.
    lip = np.interp(x[0], mouth.upper_inner[:, 0], mouth.upper_inner[:, 1]).astype(np.float32)
    reach = min(0.125, 0.85 * mouth.gap)
    edge = np.clip((lip[None, :] + reach - y) * canvas.scale, 0, 1)
    rows = np.clip(1.05 - 0.85 * np.abs(x / max(half, 0.05)) ** 2.2, 0, 1)
    seams = 1 - 0.16 * np.exp(-((np.sin(x * np.pi / 0.085) / 0.22) ** 2))
    tooth = np.array([0.96, 0.94, 0.90], np.float32) * (rows * seams)[..., None]
    shown = np.float32(0.95 if expression.mouth_stretch > -0.4 else 0.8)
    canvas.blend(region, cover * edge * shown, np.broadcast_to(tooth, (*cover.shape, 3)))
    if expression.lower_lip > 0.25:
        lip = np.interp(x[0], mouth.lower_inner[:, 0], mouth.lower_inner[:, 1]).astype(np.float32)
        edge = np.clip((y - (lip[None, :] - 0.3 * mouth.gap)) * canvas.scale, 0, 1)
        canvas.blend(region, cover * edge * 0.8, np.broadcast_to(tooth * 0.9, (*cover.shape, 3)))
    elif mouth.gap > 0.2:
        tongue = arc(0.0, middle_y + 0.45 * mouth.gap, rx=0.62 * half, ry=0.26 * mouth.gap)
        part, soft = canvas.mask(tongue, blur=0.02)
        inside = np.zeros(canvas.alpha.shape, np.float32)
        inside[region] = cover
        canvas.blend(part, soft * inside[part] * 0.85, (0.74, 0.33, 0.34))


def _eye(canvas: Canvas, identity: Identity, eye: Eye, *, side: float) -> None:
    skin = np.asarray(identity.skin, np.float32)
    lash = np.asarray(identity.hair, np.float32) * 0.25
    size = identity.eye_size
    crease = eye.upper[2:23] - np.array([0.0, 0.055 * size], np.float32)
    crease[:, 1] = np.minimum(crease[:, 1], eye.upper[2:23, 1] - 0.03)
    canvas.fill(ribbon(crease, 0.022), skin * 0.5, opacity=0.5, blur=0.012)
    bag = eye.lower[3:22] + np.array([0.0, 0.035], np.float32)
    canvas.fill(ribbon(bag, 0.02), skin * 0.6, opacity=0.3, blur=0.014)
    if eye.open > 0.02:
        _eyeball(canvas, identity, eye)
    t = np.linspace(-1, 1, len(eye.upper), dtype=np.float32) * side
    weight = (0.042 if identity.is_female else 0.032) * (0.65 + 0.45 * t) * (1.1 - 0.5 * t**8)
    canvas.fill(ribbon(eye.upper, weight), lash, opacity=0.92, blur=0.006)
    if identity.is_female:
        tip = eye.upper[-1 if side > 0 else 0]
        flick = np.stack([tip, tip + np.array([side * 0.055, -0.035], np.float32)])
        canvas.fill(ribbon(flick, np.array([0.03, 0.006])), lash, opacity=0.85, blur=0.005)
    canvas.fill(ribbon(eye.lower, 0.014), lash * 0.5 + skin * 0.3, opacity=0.55, blur=0.006)


def _eyeball(canvas: Canvas, identity: Identity, eye: Eye) -> None:
    opening = np.concatenate([eye.upper, eye.lower[::-1]])
    region, cover = canvas.mask(opening)
    x, y = canvas.grid(region)
    centre_x = float(eye.upper[12, 0])
    lid = np.interp(x[0], eye.upper[:, 0], eye.upper[:, 1]).astype(np.float32)
    under_lid = 1 - 0.42 * np.exp(-np.maximum(y - lid[None, :], 0) / np.float32(0.045))
    half = EYE_HALF_WIDTH * identity.eye_size
    round_off = 1 - 0.22 * np.clip(np.abs(x - centre_x) / half, 0, 1) ** 2
    white = np.array([0.95, 0.94, 0.93], np.float32) * (under_lid * round_off)[..., None]
    canvas.blend(region, cover, white)
    iris_x, iris_y = eye.iris
    radius = 0.108 * identity.eye_size
    away = np.hypot(x - np.float32(iris_x), y - np.float32(iris_y)) / np.float32(radius)
    pixel = 1.0 / (radius * canvas.scale)
    disc = _edge(np.float32(1) - away, pixel)
    glow = 0.85 + 0.55 * np.clip((y - iris_y) / radius, -0.6, 1)
    ring = 1 - 0.62 * np.clip((away - 0.72) / 0.28, 0, 1)
    tone = np.asarray(identity.iris, np.float32) * (glow * ring * under_lid)[..., None]
    canvas.blend(region, cover * disc, tone)
    pupil = _edge(np.float32(0.44) - away, pixel)
    canvas.blend(region, cover * pupil, (0.03, 0.02, 0.03))
    spark_x, spark_y = iris_x - 0.36 * radius, iris_y - 0.36 * radius
    spark = np.hypot(x - np.float32(spark_x), y - np.float32(spark_y))
    spark = spark / np.float32(0.27 * radius)
    shine = _edge(np.float32(1) - spark, 3 * pixel)
    canvas.blend(region, cover * shine, (1.0, 1.0, 1.0))


def _edge(inside: Floats, pixel: float) -> Floats:
    """Anti-aliased coverage of where `inside` is positive, its unit being 1 / pixel pixels."""
    return np.asarray(np.clip(inside * np.float32(1 / pixel) + 0.5, 0, 1), np.float32)


def _glasses(canvas: Canvas, features: Features) -> None:
    frame = (0.13, 0.11, 0.12)
    for index, side in ((0, -1.0), (1, 1.0)):
        x = float(features.eyes[index].upper[12, 0]) * 1.02
        angle = np.linspace(0, 2 * np.pi, 49, dtype=np.float32)
        squared = 3.2
        rim = np.stack(
            [
                x + 0.31 * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / squared),
                0.03 + 0.22 * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / squared),
            ],
            axis=1,
        ).astype(np.float32)
        canvas.fill(rim, (0.85, 0.9, 0.95), opacity=0.07)
        canvas.fill(ribbon(rim, 0.036), frame, opacity=0.92)
        temple = np.array([[x + side * 0.31, -0.03], [side * 1.0, -0.06]], np.float32)
        canvas.fill(ribbon(temple, 0.035), frame, opacity=0.9)
    bridge = smooth_curve(np.array([[-0.13, 0.0], [0.0, -0.035], [0.13, 0.0]], np.float32))
    canvas.fill(ribbon(bridge, 0.032), frame, opacity=0.92)
