"""Who is drawn: proportions, colours, hair and clothes of one imaginary person.

An identity is a function of its number and the corpus seed; the same person looks the same in
every picture, frame and process.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from visage.seeds import rng_of

__all__ = ["Clothes", "Colour", "HairStyle", "Identity", "draw_identity", "dressed"]

Colour = tuple[float, float, float]
"""sRGB in [0, 1]."""
HairStyle = Literal["crop", "side", "quiff", "bob", "fringe", "long", "bun", "curly", "buzz"]
Clothes = Literal["crew", "vneck", "shirt", "jacket", "turtleneck", "hoodie"]

_SKINS: tuple[Colour, ...] = (
    (0.94, 0.81, 0.73),
    (0.93, 0.77, 0.66),
    (0.90, 0.72, 0.58),
    (0.87, 0.67, 0.52),
    (0.78, 0.57, 0.42),
    (0.66, 0.46, 0.33),
    (0.55, 0.37, 0.27),
)
_HAIRS: tuple[Colour, ...] = (
    (0.10, 0.08, 0.08),
    (0.18, 0.12, 0.09),
    (0.30, 0.18, 0.11),
    (0.45, 0.28, 0.15),
    (0.62, 0.43, 0.22),
    (0.82, 0.66, 0.40),
    (0.52, 0.22, 0.11),
    (0.62, 0.61, 0.61),
)
_IRISES: tuple[Colour, ...] = (
    (0.30, 0.18, 0.10),
    (0.42, 0.27, 0.13),
    (0.35, 0.42, 0.22),
    (0.25, 0.45, 0.60),
    (0.42, 0.52, 0.58),
)
_FABRICS: tuple[Colour, ...] = (
    (0.20, 0.27, 0.42),
    (0.55, 0.16, 0.18),
    (0.16, 0.38, 0.35),
    (0.88, 0.86, 0.82),
    (0.24, 0.24, 0.27),
    (0.82, 0.58, 0.22),
    (0.45, 0.32, 0.52),
    (0.40, 0.55, 0.70),
    (0.72, 0.42, 0.42),
    (0.36, 0.42, 0.26),
)
_WOMEN_HAIR: tuple[HairStyle, ...] = ("bob", "fringe", "long", "long", "bun", "curly", "side")
_MEN_HAIR: tuple[HairStyle, ...] = ("crop", "side", "quiff", "quiff", "buzz", "curly", "crop")
_CLOTHES: tuple[Clothes, ...] = ("crew", "vneck", "shirt", "jacket", "turtleneck", "hoodie")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One person; lengths are in face units (half the face's width), or factors near 1."""

    number: int
    is_female: bool
    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour
    fabric: Colour
    accent: Colour
    hair_style: HairStyle
    clothes: Clothes
    chin: float
    """y of the chin below the eye line."""
    jaw: float
    """Squareness of the jaw: exponent of its contour."""
    eye_size: float
    eye_spacing: float
    eye_tilt: float
    """Outer corners up (+)."""
    brow_thickness: float
    brow_height: float
    nose_width: float
    nose_length: float
    mouth_width: float
    lip_fullness: float
    beard: float
    """0 clean, about 0.4 stubble, 1 full."""
    glasses: bool
    age: float
    """0 young to 1 lined."""
    part: float
    """Side of the hair's parting, -1 or 1."""


def draw_identity(number: int, *, seed: int = 0) -> Identity:
    """The person with this number in the corpus of this seed; odd numbers are men, even women."""
    rng = rng_of(seed, "identity", number)
    is_female = number % 2 == 0
    tone = int(rng.integers(len(_SKINS)))
    skin = _varied(_SKINS[tone], rng, spread=0.02)
    # Dark skin with pale hair or eyes is rare; a portrait of it reads as an error of the drawing.
    hair_choices = len(_HAIRS) if tone < 4 else 3
    iris_choices = len(_IRISES) if tone < 4 else 2
    style = (_WOMEN_HAIR if is_female else _MEN_HAIR)[int(rng.integers(7))]
    bearded = not is_female and rng.random() < 0.4
    base = np.asarray(skin)
    lips = 0.55 * base + 0.45 * np.array([0.74, 0.28, 0.30] if is_female else [0.66, 0.36, 0.34])
    fabrics = rng.permutation(len(_FABRICS))
    return Identity(
        number=number,
        is_female=is_female,
        skin=skin,
        hair=_varied(_HAIRS[int(rng.integers(hair_choices))], rng, spread=0.015),
        iris=_varied(_IRISES[int(rng.integers(iris_choices))], rng, spread=0.02),
        lips=_colour(lips),
        fabric=_varied(_FABRICS[int(fabrics[0])], rng, spread=0.03),
        accent=_varied(_FABRICS[int(fabrics[1])], rng, spread=0.03),
        hair_style=style,
        clothes=_CLOTHES[int(rng.integers(len(_CLOTHES)))],
        chin=float(rng.uniform(1.50, 1.60) if is_female else rng.uniform(1.56, 1.68)),
        jaw=float(rng.uniform(2.2, 2.6) if is_female else rng.uniform(2.5, 3.3)),
        eye_size=float(rng.uniform(1.02, 1.16) if is_female else rng.uniform(0.92, 1.04)),
        eye_spacing=float(rng.uniform(0.96, 1.04)),
        eye_tilt=float(rng.uniform(-0.01, 0.035)),
        brow_thickness=float(rng.uniform(0.75, 0.95) if is_female else rng.uniform(1.0, 1.3)),
        brow_height=float(rng.uniform(-0.01, 0.03) if is_female else rng.uniform(-0.04, 0.01)),
        nose_width=float(rng.uniform(0.86, 1.0) if is_female else rng.uniform(0.95, 1.18)),
        nose_length=float(rng.uniform(0.94, 1.06)),
        mouth_width=float(rng.uniform(0.93, 1.08)),
        lip_fullness=float(rng.uniform(1.0, 1.3) if is_female else rng.uniform(0.8, 1.05)),
        beard=float(rng.uniform(0.25, 1.0)) if bearded else 0.0,
        glasses=bool(rng.random() < 0.12),
        age=float(rng.random() ** 1.5),
        part=1.0 if rng.random() < 0.5 else -1.0,
    )


def dressed(identity: Identity, rng: np.random.Generator) -> Identity:
    """The same person on another day: other clothes."""
    first, second = (int(index) for index in rng.permutation(len(_FABRICS))[:2])
    return replace(
        identity,
        fabric=_varied(_FABRICS[first], rng, spread=0.03),
        accent=_varied(_FABRICS[second], rng, spread=0.03),
        clothes=_CLOTHES[int(rng.integers(len(_CLOTHES)))],
    )


def _varied(colour: Colour, rng: np.random.Generator, *, spread: float) -> Colour:
    # Mostly lighter or darker, hardly another hue: skin that is off by two percent looks ill.
    step = rng.normal(0.0, spread) + rng.normal(0.0, spread * 0.3, size=3)
    return _colour(np.asarray(colour) + step)


def _colour(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Colour:
    red, green, blue = (float(value) for value in np.clip(values, 0.02, 0.99))
    return red, green, blue
