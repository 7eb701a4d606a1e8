"""How people speak: four styles that differ in jaw, rhythm, melody and head, told by numbers.

They stand in for ballad, rap and opera beside plain talk: the names say what each is meant to be
near, not that it is that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from visage.errors import SpecError
from visage.synth.expression import Expression

__all__ = ["STYLES", "Style", "style_of"]

Range = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """One way to speak; ranges are drawn from evenly."""

    name: str
    jaw: float
    """How far the mouth opens for an a, 0 to 1."""
    rounding: float = 0.0
    """Added to the spread of vowels, negative rounds them."""
    vowel_s: Range
    stressed: float
    """How much longer a stressed vowel is."""
    closure_s: Range
    fricative_s: Range
    pause_s: Range
    syllables: tuple[int, int]
    """Of a phrase, between two pauses; the last is included."""
    move_s: float
    """How long lips take from one sound to the next."""
    onsets: Mapping[str, float]
    """How often a syllable begins with each consonant; the empty word is none."""
    vowels: Mapping[str, float]
    coda: float
    """How often a syllable ends in a consonant."""
    is_sung: bool = False
    """Notes of a scale, one a syllable, instead of the fall of a sentence."""
    pitch: float = 0.0
    """Semitones above the speaker's own voice."""
    range_st: float
    """Semitones between the lowest and the highest note or accent."""
    vibrato_st: float = 0.0
    vibrato_hz: float = 5.4
    loudness: float
    """Of the voice, 0 to 1; louder is brighter."""
    sway_deg: float
    sway_hz: float
    nod_deg: float
    """Down on a stressed syllable."""
    nod_s: float
    lift_deg: float = 0.0
    """How far the head looks up while it speaks."""
    lift_by_opening_deg: float = 0.0
    """The same, with the opening of the mouth."""
    face: Expression = field(default_factory=Expression)
    """What stays in the face while it speaks."""


STYLES: Mapping[str, Style] = {
    style.name: style
    for style in (
        Style(
            name="plain", jaw=0.55, vowel_s=(0.09, 0.16), stressed=1.3, closure_s=(0.06, 0.09),
            fricative_s=(0.08, 0.12), pause_s=(0.25, 0.55), syllables=(5, 10), move_s=0.10,
            onsets={"m": 2, "b": 2, "p": 2, "s": 2, "f": 1.5, "ʃ": 1.2, "": 1.5},
            vowels={"a": 2, "e": 2, "i": 2, "o": 1.5, "u": 1.2, "ə": 2}, coda=0.2,
            range_st=4.0, loudness=0.55, sway_deg=1.6, sway_hz=0.35, nod_deg=2.0, nod_s=0.36,
        ),
        Style(
            name="ballad", jaw=0.33, rounding=-0.1, vowel_s=(0.35, 0.75), stressed=1.4,
            closure_s=(0.10, 0.14), fricative_s=(0.11, 0.16), pause_s=(0.45, 0.9),
            syllables=(3, 6), move_s=0.22, onsets={"m": 3, "b": 1, "s": 1.5, "f": 1, "": 2},
            vowels={"a": 2, "e": 2, "i": 1.5, "o": 2, "u": 2, "ə": 1}, coda=0.05, is_sung=True,
            pitch=2.0, range_st=7.0, vibrato_st=0.18, vibrato_hz=5.0, loudness=0.40,
            sway_deg=3.4, sway_hz=0.2, nod_deg=0.6, nod_s=0.8,
            face=Expression(brow_inner=0.35, eye_wide=-0.18, mouth_corner=0.08),
        ),
        Style(
            name="rap", jaw=0.78, vowel_s=(0.065, 0.105), stressed=1.25, closure_s=(0.045, 0.065),
            fricative_s=(0.055, 0.08), pause_s=(0.18, 0.34), syllables=(8, 16), move_s=0.075,
            onsets={"m": 1.5, "b": 3, "p": 3, "s": 1.5, "f": 1, "ʃ": 1, "": 0.5},
            vowels={"a": 3, "e": 2, "i": 2, "o": 2, "u": 1, "ə": 2}, coda=0.3,
            pitch=-1.0, range_st=2.5, loudness=0.8, sway_deg=2.2, sway_hz=0.8, nod_deg=7.0,
            nod_s=0.24, face=Expression(brow_lower=0.35, squint=0.2),
        ),
        Style(
            name="opera", jaw=1.0, rounding=-0.25, vowel_s=(0.55, 1.2), stressed=1.4,
            closure_s=(0.09, 0.13), fricative_s=(0.10, 0.14), pause_s=(0.5, 0.9),
            syllables=(3, 5), move_s=0.26, onsets={"m": 2, "b": 1, "p": 1, "s": 1, "": 2},
            vowels={"a": 4, "e": 1.5, "i": 1, "o": 3, "u": 1.5}, coda=0.0, is_sung=True,
            pitch=7.0, range_st=12.0, vibrato_st=0.7, vibrato_hz=5.6, loudness=1.0,
            sway_deg=1.8, sway_hz=0.25, nod_deg=1.0, nod_s=0.7, lift_deg=7.0,
            lift_by_opening_deg=5.0, face=Expression(brow_outer=0.45, brow_inner=0.3, eye_wide=0.2),
        ),
    )
}  # fmt: skip
"""By name."""


def style_of(name: str) -> Style:
    """The style of a name; SpecError for a name that is none."""
    if name not in STYLES:
        raise SpecError(f"no style {name!r}; choose from {', '.join(STYLES)}")
    return STYLES[name]
