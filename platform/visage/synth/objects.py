"""Things that stand in rooms: balloons, gifts, bins, plants; some tell, some do not."""

from __future__ import annotations

import numpy as np

from visage.synth.backdrop import Backdrop, Shade, lighter

__all__ = [
    "balloon",
    "bin_bag",
    "bolt",
    "bunting",
    "burst",
    "flame",
    "gift",
    "lamp",
    "pick",
    "picture_frame",
    "plant",
    "shelf",
    "streamer",
    "tree",
]

BRIGHT: tuple[Shade, ...] = (
    (236, 72, 84), (250, 176, 52), (255, 222, 89), (92, 190, 120), (72, 150, 230), (180, 100, 210),
    (255, 130, 170), (64, 200, 200),
)  # fmt: skip
BOOKS: tuple[Shade, ...] = (
    (120, 60, 55), (60, 80, 110), (170, 140, 90), (80, 100, 80), (90, 90, 100), (150, 150, 145),
)  # fmt: skip


def pick(rng: np.random.Generator, choices: tuple[Shade, ...], *, spread: float = 10.0) -> Shade:
    """One of the colours, a little off."""
    colour = np.asarray(choices[int(rng.integers(len(choices)))], float)
    return tuple(float(v) for v in np.clip(colour + rng.normal(0, spread, 3), 0, 255))


def balloon(b: Backdrop, rng: np.random.Generator, *, x: float, y: float, size: float) -> None:
    """A balloon on a string."""
    colour = pick(rng, BRIGHT)
    sway = rng.normal(0, 0.03)
    string = [[x, y + size * 1.2], [x + sway, y + size * 2.6], [x - sway, y + size * 4.5]]
    b.line(string, (225, 225, 225), width=0.003)
    b.polygon(
        [
            [x, y + size * 1.1],
            [x - size * 0.16, y + size * 1.36],
            [x + size * 0.16, y + size * 1.36],
        ],
        lighter(colour, 0.7),
    )
    b.ball(x, y, rx=size, ry=size * 1.2, colour=colour)


def bunting(b: Backdrop, rng: np.random.Generator, *, y: float) -> None:
    """A row of paper triangles on a slack line across the picture."""
    sag, count = rng.uniform(0.05, 0.14), int(rng.integers(9, 15))
    x = np.linspace(-0.05, b.aspect + 0.05, count + 1)
    height = y + sag * (1 - (2 * x / b.aspect - 1) ** 2)
    b.line(np.stack([x, height], 1).astype(np.float32), (240, 235, 225), width=0.004)
    drop = rng.uniform(0.07, 0.11)
    for k in range(count):
        middle = [(x[k] + x[k + 1]) / 2, (height[k] + height[k + 1]) / 2 + drop]
        b.polygon([[x[k], height[k]], [x[k + 1], height[k + 1]], middle], pick(rng, BRIGHT))


def gift(b: Backdrop, rng: np.random.Generator, *, x: float, y: float, size: float) -> None:
    """A box with a ribbon; x, y is the middle of its bottom edge."""
    paper, ribbon = pick(rng, BRIGHT), pick(rng, BRIGHT)
    tall = size * rng.uniform(0.8, 1.1)
    b.rectangle(x - size / 2, y - tall, w=size, h=tall, colour=paper)
    b.rectangle(x + size * 0.18, y - tall, w=size * 0.32, h=tall, colour=lighter(paper, 0.82))
    b.rectangle(x - size * 0.08, y - tall, w=size * 0.16, h=tall, colour=ribbon)
    lid = size * 0.2
    b.rectangle(
        x - size * 0.56, y - tall - lid * 0.6, w=size * 1.12, h=lid, colour=lighter(paper, 1.12)
    )
    for side in (-1, 1):
        b.ellipse(
            x + side * size * 0.2, y - tall - lid, rx=size * 0.2, ry=size * 0.11, colour=ribbon,
            tilt_deg=-side * 28,
        )  # fmt: skip
        b.ellipse(
            x + side * size * 0.2, y - tall - lid, rx=size * 0.09, ry=size * 0.045,
            colour=lighter(ribbon, 0.6), tilt_deg=-side * 28,
        )  # fmt: skip


def burst(b: Backdrop, rng: np.random.Generator, *, x: float, y: float, size: float) -> None:
    """A firework."""
    colour = pick(rng, BRIGHT)
    b.glow(x, y, radius=size * 0.8, colour=colour, strength=0.55)
    rays = int(rng.integers(14, 22))
    for angle in np.linspace(0, 2 * np.pi, rays, endpoint=False) + rng.uniform(0, 1):
        reach = size * rng.uniform(0.75, 1.05)
        start = [x + 0.25 * reach * np.cos(angle), y + 0.25 * reach * np.sin(angle)]
        stop = [x + reach * np.cos(angle), y + reach * np.sin(angle) + 0.15 * size]
        b.line([start, stop], lighter(colour, 1.25), width=0.006)
        b.ellipse(stop[0], stop[1], rx=0.008, ry=0.008, colour=(255, 250, 225))


def streamer(b: Backdrop, rng: np.random.Generator, *, x: float) -> None:
    """A paper spiral that hangs from the ceiling."""
    y = np.linspace(-0.02, rng.uniform(0.35, 0.8), 40)
    wave = x + 0.035 * np.sin(y * rng.uniform(22, 34) + rng.uniform(0, 6)) * (0.3 + y)
    b.line(np.stack([wave, y], 1).astype(np.float32), pick(rng, BRIGHT), width=0.013)


def flame(b: Backdrop, rng: np.random.Generator, *, x: float, y: float, size: float) -> None:
    """A tongue of fire with a bright core; x, y is the middle of its foot."""
    lean = rng.normal(0, 0.25)
    for share, colour in ((1.0, (205, 40, 18)), (0.72, (246, 112, 22)), (0.42, (255, 214, 92))):
        w, h = size * 0.42 * share, size * share * rng.uniform(0.9, 1.1)
        tip = [x + lean * h * 0.6, y - h]
        left = [
            [x - w, y],
            [x - w * 0.95, y - h * 0.3],
            [x - w * 0.35 + lean * h * 0.3, y - h * 0.6],
        ]
        right = [
            [x + w * 0.5 + lean * h * 0.3, y - h * 0.5],
            [x + w * 0.9, y - h * 0.24],
            [x + w, y],
        ]
        b.polygon([*left, tip, *right], colour)


def bolt(b: Backdrop, rng: np.random.Generator, *, x: float) -> None:
    """Lightning from the top of the picture, with one branch."""
    points, at = [[x, -0.02]], [x, -0.02]
    while at[1] < 0.75:
        at = [at[0] + rng.normal(0, 0.06), at[1] + rng.uniform(0.05, 0.12)]
        points.append(at)
    for width, colour in ((0.03, (150, 90, 150)), (0.013, (255, 240, 225))):
        b.line(points, colour, width=width)
    fork = points[len(points) // 2]
    b.line(
        [fork, [fork[0] + 0.1, fork[1] + 0.1], [fork[0] + 0.12, fork[1] + 0.22]], (245, 220, 215),
        width=0.008,
    )  # fmt: skip


def tree(b: Backdrop, rng: np.random.Generator, *, x: float, width: float, colour: Shade) -> None:
    """A bare trunk with crooked branches."""
    lean = rng.normal(0, 0.05)
    b.polygon(
        [
            [x - width, 1.05], [x - width * 0.55 + lean * 0.5, 0.5],
            [x - width * 0.35 + lean, -0.05], [x + width * 0.35 + lean, -0.05],
            [x + width * 0.5 + lean * 0.5, 0.5], [x + width, 1.05],
        ],
        colour,
    )  # fmt: skip
    for _ in range(int(rng.integers(3, 6))):
        y, side = rng.uniform(0.02, 0.6), 1 if rng.random() < 0.5 else -1
        start = [x + lean * (1 - y), y]
        reach = rng.uniform(0.08, 0.22) + width
        elbow = [start[0] + side * reach * 0.6, y - rng.uniform(0.0, 0.08)]
        tip = [start[0] + side * reach, elbow[1] - rng.uniform(0.03, 0.14)]
        b.line([start, elbow], colour, width=width * 0.35)
        b.line([elbow, tip], colour, width=width * 0.18)
        twig = [elbow[0] + side * 0.07, elbow[1] + rng.uniform(-0.01, 0.06)]
        b.line([elbow, twig], colour, width=width * 0.14)


def bin_bag(b: Backdrop, rng: np.random.Generator, *, x: float, y: float, size: float) -> None:
    """A tied rubbish bag."""
    tone = pick(rng, ((38, 42, 38), (52, 56, 50), (70, 78, 50), (44, 44, 52)), spread=5)
    b.ellipse(x, y - size * 0.5, rx=size * 0.62, ry=size * 0.55, colour=tone)
    knot = [[-0.2, 0.9], [0.24, 1.3], [-0.14, 1.25], [0.18, 0.9]]
    b.polygon([[x + size * dx, y - size * dy] for dx, dy in knot], tone)
    for _ in range(3):
        ox, oy = rng.uniform(-0.35, 0.3) * size, rng.uniform(0.3, 0.8) * size
        crease = [[x + ox, y - oy], [x + ox + size * 0.14, y - oy - size * 0.16]]
        b.line(crease, lighter(tone, 1.7), width=0.008)


def plant(b: Backdrop, rng: np.random.Generator, *, x: float, y: float, size: float) -> None:
    """A potted plant; x, y is the middle of the pot's foot."""
    pot = pick(rng, ((170, 96, 66), (210, 205, 198), (90, 96, 104)))
    green = pick(rng, ((74, 128, 78), (96, 140, 70), (58, 104, 84)))
    for angle in np.linspace(-1.2, 1.2, 8) + rng.normal(0, 0.1, 8):
        tip = [x + size * np.sin(angle), y - size * 0.5 - size * 1.1 * np.cos(angle)]
        side = np.array([np.cos(angle), np.sin(angle)]) * size * 0.12
        middle = np.array([x, y - size * 0.45]) * 0.45 + np.array(tip) * 0.55
        leaf = [[x, y - size * 0.45], list(middle + side), tip, list(middle - side)]
        b.polygon(leaf, lighter(green, rng.uniform(0.75, 1.2)))
    b.polygon([[x - size * 0.32, y - size * 0.5], [x + size * 0.32, y - size * 0.5],
               [x + size * 0.24, y], [x - size * 0.24, y]], pot)  # fmt: skip


def picture_frame(
    b: Backdrop, rng: np.random.Generator, *, x: float, y: float, size: float
) -> None:
    """A framed landscape."""
    w, h = size * rng.uniform(0.9, 1.4), size
    b.rectangle(x, y, w=w, h=h, colour=pick(rng, ((90, 66, 46), (60, 60, 64), (196, 172, 120))))
    m = 0.12 * size
    sky, land = pick(rng, ((180, 200, 215), (220, 200, 170))), pick(rng, BOOKS)
    b.rectangle(x + m, y + m, w=w - 2 * m, h=h - 2 * m, colour=sky)
    b.polygon([[x + m, y + h - m], [x + m, y + h * 0.6], [x + w * 0.45, y + h * 0.42],
               [x + w - m, y + h * 0.66], [x + w - m, y + h - m]], land)  # fmt: skip


def lamp(b: Backdrop, rng: np.random.Generator, *, x: float, y: float, size: float) -> None:
    """A lamp with a shade, lit; x, y is the middle of its foot."""
    b.line([[x, y], [x, y - size]], (70, 66, 62), width=0.012)
    shade = pick(rng, ((240, 214, 160), (214, 200, 190), (150, 170, 160)))
    cone = [[-0.24, 1.4], [0.24, 1.4], [0.4, 0.9], [-0.4, 0.9]]
    b.polygon([[x + size * dx, y - size * dy] for dx, dy in cone], shade)
    b.glow(x, y - size, radius=size * 0.8, colour=(255, 220, 160), strength=0.25)


def shelf(b: Backdrop, rng: np.random.Generator, *, x: float, y: float, width: float) -> None:
    """A board with books and folders."""
    at = x + 0.01
    while at < x + width - 0.03:
        w, h = rng.uniform(0.014, 0.034), rng.uniform(0.09, 0.14)
        if rng.random() < 0.82:
            colour = pick(rng, BOOKS)
            b.rectangle(at, y - h, w=w, h=h, colour=colour)
            b.rectangle(at, y - h * 0.75, w=w, h=h * 0.12, colour=lighter(colour, 1.45))
        at += w + 0.002
    b.rectangle(x, y, w=width, h=0.016, colour=pick(rng, ((134, 104, 76), (196, 188, 176))))
