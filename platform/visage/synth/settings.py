"""Seven settings, one for each emotion: where the second cue of a scene lives.

Each has several palettes, layouts and things in common with others, so that no single pixel or
mean colour tells them apart, but a look at the whole does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from visage.errors import SpecError
from visage.faces.provider import Image
from visage.specs.emotion import EMOTIONS
from visage.synth.backdrop import Backdrop, Shade, lighter
from visage.synth.objects import (
    BRIGHT,
    balloon,
    bin_bag,
    bolt,
    bunting,
    burst,
    flame,
    gift,
    lamp,
    pick,
    picture_frame,
    plant,
    shelf,
    streamer,
    tree,
)

__all__ = ["SETTING_NAMES", "draw_setting"]

SETTING_NAMES: dict[str, str] = {
    "Anger": "fire and thunderstorm",
    "Disgust": "rubbish and slime",
    "Fear": "dark forest",
    "Happy": "party",
    "Neutral": "office",
    "Sad": "rain at the window",
    "Surprise": "gifts and fireworks",
}
"""What the setting of each emotion shows."""

_DISTRACTION = 0.35  # how often a setting holds a thing that belongs elsewhere
_Painter = Callable[[Backdrop, np.random.Generator], None]


def draw_setting(emotion: str, rng: np.random.Generator, *, width: int, height: int) -> Image:
    """The setting of one of EMOTIONS, (height, width, 3); SpecError for another name."""
    painters: dict[str, _Painter] = {
        "Anger": _storm,
        "Disgust": _rubbish,
        "Fear": _forest,
        "Happy": _party,
        "Neutral": _office,
        "Sad": _rain,
        "Surprise": _gifts,
    }
    if emotion not in painters:
        raise SpecError(f"no setting for {emotion!r}; choose one of {', '.join(EMOTIONS)}")
    backdrop = Backdrop(width=width, height=height)
    painters[emotion](backdrop, rng)
    if rng.random() < _DISTRACTION:
        _distraction(backdrop, rng)
    tint = rng.uniform(0.82, 1.1) * (1 + rng.normal(0, 0.05, 3))
    return backdrop.finished(tint=tint, mirrored=bool(rng.random() < 0.5))


def _distraction(b: Backdrop, rng: np.random.Generator) -> None:
    things = (balloon, gift, plant, lamp, picture_frame, bin_bag)
    thing = things[int(rng.integers(len(things)))]
    low = thing in (gift, plant, lamp, bin_bag)
    y = rng.uniform(0.85, 1.0) if low else rng.uniform(0.12, 0.35)
    size = rng.uniform(0.08, 0.14) if low else rng.uniform(0.06, 0.14)
    thing(b, rng, x=float(rng.uniform(0.05, b.aspect - 0.1)), y=float(y), size=float(size))


def _party(b: Backdrop, rng: np.random.Generator) -> None:
    walls: tuple[Shade, ...] = (
        (250, 218, 168), (246, 196, 172), (255, 230, 160), (206, 226, 232), (96, 66, 104),
    )  # fmt: skip
    wall = pick(rng, walls)
    b.gradient([lighter(wall, 1.05), wall, lighter(wall, 0.84)])
    for _ in range(int(rng.integers(6, 14))):
        x, y = rng.uniform(0, b.aspect), rng.uniform(0, 0.7)
        b.glow(x, y, radius=rng.uniform(0.02, 0.06), colour=(255, 226, 150), strength=0.6)
    b.blur(0.008)
    for _ in range(int(rng.integers(1, 3))):
        bunting(b, rng, y=float(rng.uniform(-0.02, 0.12)))
    for _ in range(int(rng.integers(4, 9))):
        edge = rng.beta(0.5, 0.5) * b.aspect
        balloon(b, rng, x=edge, y=rng.uniform(0.1, 0.62), size=rng.uniform(0.06, 0.105))
    if rng.random() < 0.6:
        cloth = pick(rng, ((255, 248, 240), (240, 120, 130), (130, 190, 210)))
        top = rng.uniform(0.82, 0.92)
        b.rectangle(0, top, w=b.aspect, h=1 - top, colour=cloth)
        _cake(b, rng, x=float(rng.choice([0.16, b.aspect - 0.16])), y=float(top + 0.03))
    if rng.random() < 0.5:
        _confetti(b, rng, count=int(rng.integers(10, 40)))


def _cake(b: Backdrop, rng: np.random.Generator, *, x: float, y: float) -> None:
    icing = pick(rng, ((255, 240, 235), (255, 190, 205), (240, 220, 170)))
    for level, half in ((0.0, 0.13), (0.075, 0.085)):
        b.rectangle(x - half, y - level - 0.075, w=2 * half, h=0.075, colour=lighter(icing, 0.85))
        b.ellipse(x, y - level - 0.075, rx=half, ry=0.02, colour=icing)
    for k in range(-2, 3):
        b.rectangle(x + k * 0.03 - 0.004, y - 0.21, w=0.008, h=0.055, colour=pick(rng, BRIGHT))
        b.glow(x + k * 0.03, y - 0.22, radius=0.02, colour=(255, 210, 90), strength=1.0)


def _confetti(b: Backdrop, rng: np.random.Generator, *, count: int) -> None:
    for _ in range(count):
        x, y, size = rng.uniform(0, b.aspect), rng.uniform(0, 1), rng.uniform(0.008, 0.016)
        angle = rng.uniform(0, 180)
        b.ellipse(x, y, rx=size, ry=size * 0.5, colour=pick(rng, BRIGHT), tilt_deg=angle)


def _rain(b: Backdrop, rng: np.random.Generator) -> None:
    sky = pick(rng, ((116, 128, 142), (98, 110, 128), (132, 136, 140), (86, 100, 112)))
    b.gradient([lighter(sky, 0.8), sky, lighter(sky, 1.18)])
    x = -0.05
    while x < b.aspect:
        w, h = rng.uniform(0.08, 0.2), rng.uniform(0.2, 0.6)
        b.rectangle(x, 1 - h, w=w, h=h, colour=lighter(sky, rng.uniform(0.62, 0.86)))
        if rng.random() < 0.5:
            b.glow(x + w / 2, 1 - h * 0.6, radius=0.03, colour=(220, 190, 130), strength=0.4)
        x += w * rng.uniform(0.8, 1.2)
    b.blur(0.02)
    for _ in range(int(rng.integers(60, 120))):
        x, y, long = rng.uniform(0, b.aspect), rng.uniform(-0.1, 1), rng.uniform(0.04, 0.16)
        b.line([[x, y], [x - 0.02, y + long]], lighter(sky, 1.4), width=0.003)
    for _ in range(int(rng.integers(30, 60))):
        x, y, r = rng.uniform(0, b.aspect), rng.uniform(0, 1), rng.uniform(0.005, 0.013)
        b.ellipse(x, y, rx=r, ry=r * 1.3, colour=lighter(sky, 0.75))
        b.ellipse(x - r * 0.3, y - r * 0.4, rx=r * 0.4, ry=r * 0.5, colour=lighter(sky, 1.7))
    frame = pick(rng, ((86, 82, 80), (168, 166, 162), (70, 62, 58)))
    cross, rail = rng.uniform(0.25, 0.75) * b.aspect, rng.uniform(0.25, 0.5)
    b.rectangle(cross - 0.02, 0, w=0.04, h=1, colour=frame)
    b.rectangle(0, rail - 0.015, w=b.aspect, h=0.03, colour=lighter(frame, 0.9))
    sill = rng.uniform(0.86, 0.95)
    b.rectangle(0, sill, w=b.aspect, h=0.04, colour=lighter(frame, 1.1))
    b.rectangle(0, sill + 0.04, w=b.aspect, h=1, colour=lighter(frame, 0.6))
    curtain = pick(rng, ((88, 92, 108), (110, 100, 104), (74, 88, 92)))
    wide = rng.uniform(0.1, 0.24)
    for k in range(6):
        tone = lighter(curtain, 0.8 + 0.3 * (k % 2))
        b.rectangle(wide * k / 6 - 0.01, 0, w=wide / 6 + 0.004, h=1, colour=tone)


def _forest(b: Backdrop, rng: np.random.Generator) -> None:
    night = pick(rng, ((30, 52, 66), (36, 44, 70), (34, 58, 54), (52, 44, 66)), spread=6)
    b.gradient([lighter(night, 0.5), night, lighter(night, 1.35), lighter(night, 0.6)])
    if rng.random() < 0.75:
        x, y, r = (
            rng.uniform(0.1, b.aspect - 0.1),
            rng.uniform(0.08, 0.25),
            rng.uniform(0.045, 0.08),
        )
        b.glow(x, y, radius=r * 3.2, colour=(120, 140, 150), strength=0.55)
        b.ellipse(x, y, rx=r, ry=r, colour=(222, 226, 214))
        b.ellipse(x + r * 0.3, y - r * 0.2, rx=r * 0.2, ry=r * 0.18, colour=(196, 200, 192))
    for depth, tone in enumerate((1.0, 0.68, 0.34)):
        for _ in range(int(rng.integers(3, 6))):
            width = (0.014 + 0.014 * depth) * rng.uniform(0.8, 1.4)
            tree(b, rng, x=rng.uniform(0, b.aspect), width=width, colour=lighter(night, tone))
        b.veil(lighter(night, 1.9), 0.34 - 0.1 * depth, top=0.45)
        if depth < 2:
            b.blur(0.008)
    for _ in range(int(rng.integers(1, 5))):
        x, y = rng.uniform(0.05, b.aspect - 0.05), rng.uniform(0.4, 0.85)
        colour = pick(rng, ((235, 215, 80), (240, 90, 50)))
        for side in (-1, 1):
            b.glow(x + side * 0.018, y, radius=0.02, colour=colour, strength=0.6)
            b.ellipse(x + side * 0.018, y, rx=0.011, ry=0.007, colour=colour)
    b.polygon(_hills(rng, b.aspect, level=0.93), lighter(night, 0.25))


def _hills(rng: np.random.Generator, aspect: float, *, level: float) -> list[list[float]]:
    x = np.linspace(-0.02, aspect + 0.02, 16)
    y = level + rng.normal(0, 0.02, 16)
    return [[float(a), float(c)] for a, c in zip(x, y, strict=True)] + [[aspect, 1.1], [0, 1.1]]


def _storm(b: Backdrop, rng: np.random.Generator) -> None:
    sky = pick(rng, ((110, 24, 26), (140, 40, 22), (84, 28, 52), (70, 34, 40)), spread=8)
    b.gradient([lighter(sky, 0.35), sky, lighter(sky, 1.7)])
    for _ in range(int(rng.integers(6, 10))):
        x, y = rng.uniform(0, b.aspect), rng.uniform(0, 0.4)
        rx, ry = rng.uniform(0.12, 0.3), rng.uniform(0.04, 0.1)
        b.ellipse(x, y, rx=rx, ry=ry, colour=lighter(sky, rng.uniform(0.4, 0.8)))
    b.blur(0.03)
    burning = rng.random() < 0.65
    for _ in range(int(rng.integers(0 if burning else 1, 3))):
        bolt(b, rng, x=float(rng.uniform(0.05, b.aspect - 0.05)))
    b.polygon(_hills(rng, b.aspect, level=0.86), lighter(sky, 0.25))
    for _ in range(int(rng.integers(2, 5))):
        _shard(b, rng, colour=lighter(sky, 0.3))
    if burning:
        b.glow(b.aspect / 2, 1.0, radius=0.5, colour=(255, 90, 20), strength=0.5)
        for _ in range(int(rng.integers(9, 16))):
            x, size = rng.uniform(-0.05, b.aspect + 0.05), rng.uniform(0.16, 0.42)
            flame(b, rng, x=float(x), y=1.02, size=float(size))
    for _ in range(int(rng.integers(15, 40))):
        x, y = rng.uniform(0, b.aspect), rng.uniform(0.1, 1)
        b.ellipse(x, y, rx=0.005, ry=0.005, colour=(255, 170, 70))


def _shard(b: Backdrop, rng: np.random.Generator, *, colour: Shade) -> None:
    """A jagged rock that grows from the ground."""
    x, w, h = rng.uniform(0, b.aspect), rng.uniform(0.05, 0.12), rng.uniform(0.15, 0.5)
    tip = [x + rng.normal(0, 0.06), 1 - h]
    b.polygon([[x - w, 1.05], [x - w * 0.3, 1 - h * 0.6], tip, [x + w * 0.5, 1 - h * 0.4],
               [x + w, 1.05]], colour)  # fmt: skip


def _rubbish(b: Backdrop, rng: np.random.Generator) -> None:
    wall = pick(rng, ((112, 118, 66), (96, 108, 78), (124, 112, 72), (88, 100, 60)), spread=7)
    b.gradient([lighter(wall, 0.8), wall, lighter(wall, 0.7)])
    tile = rng.uniform(0.07, 0.13)
    for row in np.arange(0, 1, tile):
        b.line([[0, row], [b.aspect, row]], lighter(wall, 0.82), width=0.005)
        for column in np.arange(tile * (round(row / tile) % 2) / 2, b.aspect, tile * 1.8):
            b.line([[column, row], [column, row + tile]], lighter(wall, 0.82), width=0.005)
    for _ in range(int(rng.integers(4, 9))):
        x, y, r = rng.uniform(0, b.aspect), rng.uniform(0, 0.9), rng.uniform(0.03, 0.12)
        b.ellipse(x, y, rx=r, ry=r * 0.7, colour=lighter(wall, rng.uniform(0.6, 0.85)))
    b.blur(0.01)
    slime = pick(rng, ((140, 176, 48), (118, 160, 60), (164, 168, 60)))
    _slime(b, rng, colour=slime)
    floor = rng.uniform(0.84, 0.92)
    b.rectangle(0, floor, w=b.aspect, h=1, colour=lighter(wall, 0.45))
    b.ellipse(rng.uniform(0.2, 1.0), 0.97, rx=0.3, ry=0.04, colour=lighter(slime, 0.7))
    for _ in range(int(rng.integers(4, 8))):
        x = rng.beta(0.6, 0.6) * b.aspect
        bin_bag(b, rng, x=x, y=rng.uniform(floor, 1.02), size=rng.uniform(0.14, 0.26))
    for _ in range(int(rng.integers(6, 16))):
        x, y = rng.uniform(0, b.aspect), rng.uniform(0.05, 0.8)
        b.ellipse(x, y, rx=0.006, ry=0.005, colour=(24, 26, 22))
        b.ellipse(x + 0.006, y - 0.006, rx=0.007, ry=0.003, colour=(190, 195, 180), tilt_deg=-35)


def _slime(b: Backdrop, rng: np.random.Generator, *, colour: Shade) -> None:
    """Drips from the upper edge."""
    x, points = -0.02, [[-0.05, -0.05]]
    while x < b.aspect + 0.05:
        w, drop = rng.uniform(0.03, 0.07), rng.uniform(0.04, 0.32)
        points += [[x, 0.03], [x + w * 0.1, drop], [x + w * 0.5, drop + w * 0.6]]
        points += [[x + w * 0.9, drop], [x + w, 0.03]]
        b.ellipse(x + w * 0.5, drop, rx=w * 0.5, ry=w * 0.6, colour=colour)
        x += w + rng.uniform(0.0, 0.1)
    b.polygon([*points, [b.aspect + 0.1, -0.05]], colour)
    for start in points[2::5]:
        b.line([start, [start[0], start[1] * 0.4]], lighter(colour, 1.35), width=0.008)


def _gifts(b: Backdrop, rng: np.random.Generator) -> None:
    wall = pick(rng, ((92, 60, 140), (34, 60, 120), (170, 60, 120), (36, 130, 140), (240, 200, 90)))
    b.gradient([lighter(wall, 0.8), lighter(wall, 1.1)])
    cx, cy = b.aspect * rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.6)
    rays = int(rng.integers(8, 14))
    turn = rng.uniform(0, 1)
    for k in range(rays):
        a, step = 2 * np.pi * (k + turn) / rays, np.pi / rays
        far = [
            [cx + 2 * np.cos(a + s * step / 2), cy + 2 * np.sin(a + s * step / 2)] for s in (-1, 1)
        ]
        b.polygon([[cx, cy], *far], lighter(wall, 1.35))
    b.glow(cx, cy, radius=0.35, colour=(255, 240, 200), strength=0.5)
    b.blur(0.008)
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.beta(0.6, 0.6) * b.aspect, rng.uniform(0.1, 0.45)
        burst(b, rng, x=float(x), y=float(y), size=float(rng.uniform(0.1, 0.2)))
    for _ in range(int(rng.integers(1, 5))):
        streamer(b, rng, x=float(rng.uniform(0, b.aspect)))
    for _ in range(int(rng.integers(3, 6))):
        x = rng.beta(0.5, 0.5) * b.aspect
        gift(
            b, rng, x=float(x), y=float(rng.uniform(0.9, 1.02)), size=float(rng.uniform(0.14, 0.26))
        )
    _confetti(b, rng, count=int(rng.integers(40, 90)))


def _office(b: Backdrop, rng: np.random.Generator) -> None:
    wall = pick(rng, ((206, 202, 192), (188, 196, 202), (216, 208, 196), (176, 182, 176)))
    b.gradient([lighter(wall, 1.04), lighter(wall, 0.9)])
    if rng.random() < 0.6:
        _window(b, rng)
    else:
        x, w = rng.uniform(0.05, 0.4), rng.uniform(0.4, 0.6)
        b.rectangle(x - 0.015, 0.09, w=w + 0.03, h=0.37, colour=(150, 152, 156))
        b.rectangle(x, 0.105, w=w, h=0.34, colour=(242, 244, 244))
        for k in range(4):
            wide = w * rng.uniform(0.3, 0.8)
            y = 0.16 + k * 0.065
            b.line([[x + 0.04, y], [x + 0.04 + wide, y]], (92, 110, 150), width=0.006)
    for _ in range(int(rng.integers(1, 4))):
        side = rng.choice([0.02, b.aspect - 0.44])
        shelf(b, rng, x=float(side), y=float(rng.uniform(0.25, 0.72)), width=0.42)
    b.blur(0.008)
    if rng.random() < 0.6:
        x, y = rng.uniform(0.2, b.aspect - 0.2), 0.09
        b.ellipse(x, y, rx=0.06, ry=0.06, colour=(80, 80, 84))
        b.ellipse(x, y, rx=0.05, ry=0.05, colour=(240, 240, 236))
        b.line([[x, y], [x, y - 0.035]], (50, 50, 54), width=0.006)
        b.line([[x, y], [x + 0.025, y + 0.01]], (50, 50, 54), width=0.006)
    desk = rng.uniform(0.84, 0.92)
    b.rectangle(0, desk, w=b.aspect, h=1, colour=pick(rng, ((150, 118, 86), (190, 184, 176))))
    x = float(rng.choice([0.2, b.aspect - 0.2]))
    b.rectangle(x - 0.13, desk - 0.2, w=0.26, h=0.17, colour=(54, 56, 60))
    b.rectangle(x - 0.118, desk - 0.19, w=0.236, h=0.145, colour=pick(rng, ((120, 146, 170),)))
    b.rectangle(x - 0.02, desk - 0.03, w=0.04, h=0.03, colour=(54, 56, 60))
    if rng.random() < 0.7:
        plant(
            b, rng, x=float(b.aspect - x), y=float(desk + 0.02), size=float(rng.uniform(0.1, 0.16))
        )
    if rng.random() < 0.4:
        lamp(b, rng, x=float(rng.uniform(0.3, b.aspect - 0.3)), y=float(desk), size=0.14)


def _window(b: Backdrop, rng: np.random.Generator) -> None:
    """A window by day, with blinds."""
    x, w = rng.uniform(0.05, 0.5), rng.uniform(0.35, 0.55)
    b.rectangle(x - 0.02, 0.06, w=w + 0.04, h=0.47, colour=(236, 236, 232))
    b.rectangle(x, 0.08, w=w, h=0.43, colour=pick(rng, ((198, 216, 230), (214, 222, 226))))
    for y in np.arange(0.09, rng.uniform(0.2, 0.5), 0.022):
        b.line([[x, y], [x + w, y]], (226, 226, 220), width=0.01)
