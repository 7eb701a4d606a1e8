"""Hair: what hangs behind the head and what lies over it, shaded as strands.

Strands are a smooth noise across the direction of growth, so they cost one interpolation per
pixel.
"""

from __future__ import annotations

import numpy as np

from visage.seeds import rng_of
from visage.synth.geometry import SKULL_TOP
from visage.synth.identity import Identity
from visage.synth.paint import Canvas, Floats, arc, smooth_curve

__all__ = ["BACK_HAIR", "paint_back_hair", "paint_front_hair"]

BACK_HAIR = ("long", "bob", "fringe", "curly", "bun")
"""Styles that show behind the neck or above the skull."""
_STRANDS = 256


def paint_back_hair(canvas: Canvas, identity: Identity) -> None:
    """Hair behind neck and shoulders; nothing for short styles."""
    style = identity.hair_style
    if style == "long":
        _strands(canvas, identity, _mane(low=2.42, flare=1.34), darken=0.72)
    elif style in ("bob", "fringe"):
        low = 1.25 if style == "bob" else 1.6
        _strands(canvas, identity, _mane(low=low, flare=1.27), darken=0.68)
    elif style == "curly":
        _curls(canvas, identity, behind=True)
    elif style == "bun":
        _strands(canvas, identity, arc(0.12 * identity.part, -1.62, rx=0.42, ry=0.36), darken=0.9)


def paint_front_hair(canvas: Canvas, identity: Identity) -> None:
    """Hair that grows over forehead and temples."""
    style = identity.hair_style
    if style == "buzz":
        outline = _cap(top=SKULL_TOP - 0.2, side=1.2, ear=-0.1, line=-0.86, dip=0.12)
        _strands(canvas, identity, outline, darken=0.85, opacity=0.74, blur=0.035, over=False)
        return
    shadow = _cap(top=-1.2, side=0.98, ear=-0.05, line=_hairline(identity) + 0.09, dip=0.1)
    tint = np.asarray(identity.skin, np.float32) * 0.55
    canvas.fill(shadow, tint, opacity=0.35, blur=0.07, over=False)
    if style in ("crop", "side", "quiff"):
        _short(canvas, identity)
    elif style == "curly":
        _curls(canvas, identity, behind=False)
    elif style == "fringe":
        outline = _cap(top=-1.5, side=1.15, ear=0.75, line=-0.47, dip=0.03)
        _strands(canvas, identity, outline)
    else:
        _parted(canvas, identity, low=_curtain_low(identity))


def _hairline(identity: Identity) -> float:
    return {"fringe": -0.47, "curly": -0.72, "quiff": -0.8}.get(identity.hair_style, -0.76)


def _curtain_low(identity: Identity) -> float:
    return {"bob": 1.0, "long": 1.9}.get(identity.hair_style, 0.1)


def _cap(*, top: float, side: float, ear: float, line: float, dip: float) -> Floats:
    """A helmet outline: over the skull, down to the ears, back along the hairline."""
    theta = np.linspace(0.0, np.pi, 30)
    over = np.stack([-side * np.cos(theta), top * np.sin(theta) - 0.02], 1)
    edge = np.array(
        [
            [side * 0.99, ear], [side * 0.91, ear - 0.02], [0.86, -0.35], [0.74, line + 0.12],
            [0.4, line - dip * 0.3], [0.0, line - dip], [-0.4, line - dip * 0.3],
            [-0.74, line + 0.12], [-0.86, -0.35], [-side * 0.91, ear - 0.02], [-side * 0.99, ear],
        ]
    )  # fmt: skip
    return np.concatenate([over, smooth_curve(edge.astype(np.float32), samples=60)]).astype(
        np.float32
    )


def _short(canvas: Canvas, identity: Identity) -> None:
    """Sides, then a top with volume that falls to one side."""
    p = identity.part
    sides = _cap(top=-1.42, side=1.07, ear=0.02, line=-0.72, dip=0.1)
    _strands(canvas, identity, sides, darken=0.82)
    lift = {"crop": 1.5, "side": 1.56, "quiff": 1.68}[identity.hair_style]
    top = np.array(
        [
            [-0.90 * p, -0.58], [-1.0 * p, -0.95], [-0.74 * p, -lift + 0.26], [-0.25 * p, -lift],
            [0.35 * p, -lift + 0.06], [0.85 * p, -1.22], [1.02 * p, -0.86], [0.9 * p, -0.58],
            [0.66 * p, -0.78], [0.25 * p, -0.9], [-0.25 * p, -0.82], [-0.62 * p, -0.66],
        ]
    )  # fmt: skip
    _strands(canvas, identity, smooth_curve(top.astype(np.float32), samples=90, closed=True))


def _parted(canvas: Canvas, identity: Identity, *, low: float) -> None:
    """Two curtains from a parting beside the middle."""
    p = identity.part
    for side, reach in ((-p, 0.42), (p, -0.02)):
        inner = 0.93 if low > 0.5 else 0.96
        outer = 1.2 if low > 0.5 else 1.08
        knots = [
            [-side * reach * 0.6, -1.48], [side * 0.45, -1.44], [side * 0.9, -1.12],
            [side * outer * 0.98, -0.4], [side * outer, low * 0.4], [side * outer * 0.98, low],
            [side * inner * 0.98, low - 0.08], [side * inner, low * 0.3], [side * 0.9, -0.3],
            [side * 0.66, -0.66], [side * 0.2, -0.86], [-side * reach, -0.93],
        ]  # fmt: skip
        _strands(canvas, identity, _closed(knots))


def _curls(canvas: Canvas, identity: Identity, *, behind: bool) -> None:
    """A cloud of overlapping balls, darker below."""
    rng = rng_of("curls", identity.number, int(behind))
    count = 22 if behind else 15
    angles = np.linspace(
        np.pi * (0.86 if behind else 1.08), np.pi * (2.14 if behind else 1.92), count
    )
    for angle in angles:
        reach = 1.16 if behind else 0.98
        x = reach * np.cos(angle) * rng.uniform(0.95, 1.05)
        y = -0.2 + reach * 1.12 * np.sin(angle) * rng.uniform(0.95, 1.05)
        radius = float(rng.uniform(0.28, 0.38) if behind else rng.uniform(0.22, 0.30))
        _strands(canvas, identity, arc(x, y, rx=radius, ry=radius, samples=18), darken=0.8)
    if behind:
        _strands(canvas, identity, arc(0, -0.45, rx=1.15, ry=1.05), darken=0.7)
    else:
        _strands(canvas, identity, _cap(top=-1.4, side=1.05, ear=-0.25, line=-0.78, dip=0.05))


def _mane(*, low: float, flare: float) -> Floats:
    """The outline of long hair: round over the skull, wider towards `low`."""
    theta = np.linspace(np.pi * 0.98, np.pi * 2.02, 30)
    over = np.stack([1.13 * np.cos(theta), 1.5 * np.sin(theta)], 1)
    right = [[flare * 0.96, 0.3 * low], [flare, 0.75 * low], [flare * 0.92, low - 0.12]]
    under = [[flare * 0.55, low], [0.0, low - 0.05], [-flare * 0.55, low]]
    left = [[-x, y] for x, y in reversed(right)]
    knots = np.concatenate([over[::3], right, under, left]).astype(np.float32)
    return smooth_curve(knots, samples=120, closed=True)


def _closed(knots: list[list[float]]) -> Floats:
    return smooth_curve(np.asarray(knots, np.float32), samples=110, closed=True)


def _strands(
    canvas: Canvas,
    identity: Identity,
    outline: Floats,
    *,
    darken: float = 1.0,
    opacity: float = 1.0,
    blur: float = 0.03,
    over: bool = True,
) -> None:
    """Fill an outline with strands that grow from the crown, with one soft highlight."""
    region, cover = canvas.mask(outline, blur=blur)
    if cover.size == 0:
        return
    x, y = canvas.grid(region)
    noise = rng_of("strands", identity.number).random(_STRANDS, dtype=np.float32)
    noise = np.convolve(np.concatenate([noise, noise[:3]]), np.ones(4) / 4, "valid")[:_STRANDS]
    crown_x, crown_y = 0.3 * identity.part, -1.15
    dx, dy = x - np.float32(crown_x), (y - np.float32(crown_y)) * np.float32(0.8)
    away = np.sqrt(dx * dx + dy * dy)
    angle = np.arctan2(dx, dy + 0.4) * np.float32(_STRANDS / 3.0)
    wave = angle + 5 * np.sin(away * 3)
    index = np.mod(wave.astype(np.int32), _STRANDS)
    strand = noise.astype(np.float32)[index]
    band = np.exp(-(((away - 0.62) / 0.24) ** 2)) * np.clip(1.1 - 0.5 * np.abs(dx), 0, 1)
    tone = 0.66 + 0.42 * strand + 0.34 * band * strand
    tone = tone * (1.02 - 0.10 * np.clip(y + 0.4, 0, 3)) * np.float32(darken)
    cover = np.clip((cover - 0.12 - 0.5 * strand) / 0.3 + 0.15, 0, 1)  # single hairs at the edge
    edge = 0.72 + 0.28 * cover
    colour = np.asarray(identity.hair, np.float32)[None, None] + 0.015
    canvas.blend(region, cover * np.float32(opacity), colour * (tone * edge)[..., None], over=over)
