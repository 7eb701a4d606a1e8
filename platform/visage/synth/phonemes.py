"""The sounds that a drawn person can say, and what lips, tongue and larynx do for each.

The same table moves the mouth and shapes the sound, so the sound tells the mouth: that is what
makes a corpus from which lips can be learnt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["CLOSURES", "FRICATIVES", "PHONEMES", "SILENCE", "VOWELS", "Phoneme"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phoneme:
    """Targets of one sound; 0 everywhere is a silent mouth at rest."""

    kind: Literal["vowel", "closure", "fricative", "silence"]
    opening: float = 0.0
    """Of jaw and lips in [0, 1], before the speaker's own liveliness."""
    spread: float = 0.0
    """Corners of the mouth, -1 rounded to 1 wide."""
    press: float = 0.0
    """Lips against each other (or the lower one against the teeth), 0 to 1."""
    front: float = 0.45
    """The tongue from 0 (back) to 1 (front): the second formant."""
    voice: float = 0.0
    """Loudness of the larynx, 0 to 1."""
    nasal: float = 0.0
    """Share of the sound that leaves through the nose."""
    hiss: float = 0.0
    """Noise at the teeth (s)."""
    hush: float = 0.0
    """Noise behind the teeth (ʃ)."""
    puff: float = 0.0
    """Noise at the lower lip (f)."""
    burst: float = 0.0
    """Noise when a closure opens."""
    breath: float = 0.0
    """Breath through an open larynx after the burst."""


SILENCE = "_"
PHONEMES: Mapping[str, Phoneme] = {
    "a": Phoneme(kind="vowel", opening=1.0, spread=0.15, front=0.30, voice=1.0),
    "e": Phoneme(kind="vowel", opening=0.60, spread=0.45, front=0.80, voice=1.0),
    "i": Phoneme(kind="vowel", opening=0.32, spread=0.80, front=1.00, voice=1.0),
    "o": Phoneme(kind="vowel", opening=0.68, spread=-0.60, front=0.14, voice=1.0),
    "u": Phoneme(kind="vowel", opening=0.30, spread=-0.90, front=0.10, voice=1.0),
    "ə": Phoneme(kind="vowel", opening=0.46, spread=0.0, front=0.45, voice=0.8),
    "m": Phoneme(kind="closure", press=0.75, voice=0.55, nasal=1.0),
    "b": Phoneme(kind="closure", press=0.85, voice=0.12, nasal=0.5, burst=0.45),
    "p": Phoneme(kind="closure", press=1.0, burst=1.0, breath=0.5),
    "s": Phoneme(kind="fricative", opening=0.16, spread=0.35, front=0.75, hiss=1.0),
    "ʃ": Phoneme(kind="fricative", opening=0.20, spread=-0.50, front=0.65, hush=1.0),
    "f": Phoneme(kind="fricative", opening=0.08, spread=0.10, press=0.40, front=0.40, puff=1.0),
    SILENCE: Phoneme(kind="silence"),
}
"""By symbol; `ə` and `ʃ` as in the phonetic alphabet."""

VOWELS = tuple(symbol for symbol, one in PHONEMES.items() if one.kind == "vowel")
CLOSURES = tuple(symbol for symbol, one in PHONEMES.items() if one.kind == "closure")
FRICATIVES = tuple(symbol for symbol, one in PHONEMES.items() if one.kind == "fricative")
