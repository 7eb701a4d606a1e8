"""What is said: syllables by lot in the rhythm, stress and melody of a style, for any duration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visage.data.clip_truth import Phone
from visage.errors import SpecError
from visage.synth.phonemes import CLOSURES, FRICATIVES, SILENCE
from visage.synth.styles import Range, Style
from visage.synth.trajectories import Times

__all__ = ["Utterance", "compose"]

_SHORTEST_S = 0.4
_LEAD_S, _TAIL_S = (0.12, 0.30), 0.15
_SCALE = (0, 2, 4, 7, 9)  # pentatonic: any walk on it sounds like a tune
_LAST_LONGER = 1.25  # the last vowel of a phrase


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Utterance:
    """Sounds with their times, and what goes with them."""

    style: Style
    duration_s: float
    phones: tuple[Phone, ...]
    """From 0 to the duration without gaps; silence first and last."""
    is_stressed: NDArray[np.bool_]
    """Of each phone."""
    starts_s: Times
    """When each syllable's vowel begins, (k,)."""
    notes_st: Times
    """Of each syllable, semitones above the voice, (k,)."""
    stresses_s: Times
    """When each stressed vowel begins, (m,)."""
    phrases_s: Times
    """When each phrase begins, (p,)."""


def compose(style: Style, *, duration_s: float, rng: np.random.Generator) -> Utterance:
    """Say something for `duration_s` seconds (0.4 and more); SpecError for less."""
    if not duration_s >= _SHORTEST_S:
        raise SpecError(f"an utterance of {duration_s} s: give {_SHORTEST_S} s or more")
    draft = _Draft(style, duration_s, rng)
    draft.add(SILENCE, draft.drawn(_LEAD_S), stressed=False)
    while draft.phrase():
        draft.add(SILENCE, draft.drawn(style.pause_s), stressed=False)
    return draft.finished()


class _Draft:
    """An utterance that grows from left to right."""

    def __init__(self, style: Style, duration_s: float, rng: np.random.Generator) -> None:
        self.style, self.duration_s, self.rng = style, duration_s, rng
        self.at_s = 0.0
        self.degree = len(_SCALE) // 2
        self.phones: list[tuple[str, float, bool]] = []
        self.syllables: list[tuple[float, float, bool]] = []
        self.phrases: list[float] = []

    def drawn(self, bounds: Range) -> float:
        return float(self.rng.uniform(*bounds))

    def add(self, symbol: str, length_s: float, *, stressed: bool) -> None:
        self.phones.append((symbol, length_s, stressed))
        self.at_s += length_s

    def phrase(self) -> bool:
        """Add a phrase; False when the time is over."""
        low, high = self.style.syllables
        count = int(self.rng.integers(low, high + 1))
        begun = self.at_s
        beat = int(self.rng.integers(2))
        for index in range(count):
            stressed = (index + beat) % 2 == 0 or self.rng.random() < 0.2
            if not self._syllable(index / count, stressed=stressed, is_last=index == count - 1):
                break
        if self.at_s == begun:
            return False
        self.phrases.append(begun)
        return self.duration_s - self.at_s > _TAIL_S + self.style.pause_s[0]

    def _syllable(self, place: float, *, stressed: bool, is_last: bool) -> bool:
        style = self.style
        onset, vowel = self._pick(style.onsets), self._pick(style.vowels)
        coda = self._pick(style.onsets) if self.rng.random() < style.coda else ""
        vowel_s = self.drawn(style.vowel_s) * (style.stressed if stressed else 1.0)
        vowel_s *= _LAST_LONGER if is_last else 1.0
        around = [(one, self._length(one)) for one in (onset, coda)]
        room_s = self.duration_s - self.at_s - _TAIL_S - sum(length for _, length in around)
        if room_s < min(vowel_s, 0.8 * style.vowel_s[0]):
            return False
        if onset:
            self.add(onset, around[0][1], stressed=stressed)
        self.syllables.append((self.at_s, self._note(place, stressed=stressed), stressed))
        self.add(vowel, min(vowel_s, room_s), stressed=stressed)
        if coda:
            self.add(coda, around[1][1], stressed=stressed)
        return True

    def _length(self, symbol: str) -> float:
        if symbol in CLOSURES:
            return self.drawn(self.style.closure_s)
        return self.drawn(self.style.fricative_s) if symbol in FRICATIVES else 0.0

    def _note(self, place: float, *, stressed: bool) -> float:
        """A note of the scale, or the fall of a sentence with its accents."""
        style = self.style
        if not style.is_sung:
            accent = 0.45 if stressed else 0.0
            lively = accent + float(self.rng.normal(0.0, 0.08))
            return style.pitch + style.range_st * (0.3 - 0.6 * place + lively)
        notes = [st for st in (12 * o + s for o in (0, 1) for s in _SCALE) if st <= style.range_st]
        self.degree += int(self.rng.integers(-2, 3)) + (1 if stressed else 0)
        self.degree = min(max(self.degree, 0), len(notes) - 1)
        if self.degree == len(notes) - 1:  # turn back before the walk sticks to the top
            self.degree -= int(self.rng.integers(0, 3))
        return style.pitch + notes[max(self.degree, 0)]

    def _pick(self, odds: Mapping[str, float]) -> str:
        names, weights = list(odds), np.array(list(odds.values()))
        return names[int(self.rng.choice(len(names), p=weights / weights.sum()))]

    def finished(self) -> Utterance:
        """Close with silence and add up the times."""
        if self.phones[-1][0] == SILENCE and len(self.phones) > 1:
            self.at_s -= self.phones.pop()[1]
        self.phones.append((SILENCE, self.duration_s - self.at_s, False))
        edges = np.concatenate([[0.0], np.cumsum([length for _, length, _ in self.phones])])
        edges = np.minimum(edges, self.duration_s)
        edges[-1] = self.duration_s
        return Utterance(
            style=self.style,
            duration_s=self.duration_s,
            phones=tuple(
                Phone(symbol=symbol, start_s=float(start), stop_s=float(stop))
                for (symbol, _, _), start, stop in zip(
                    self.phones, edges[:-1], edges[1:], strict=True
                )
            ),
            is_stressed=np.array([stressed for _, _, stressed in self.phones]),
            starts_s=np.array([start for start, _, _ in self.syllables]),
            notes_st=np.array([note for _, note, _ in self.syllables]),
            stresses_s=np.array([start for start, _, stressed in self.syllables if stressed]),
            phrases_s=np.array(self.phrases),
        )
