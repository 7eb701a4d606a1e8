"""Lips, tongue and larynx of an utterance as smooth functions of time.

Lips are closed for the whole of an m, b or p and move around it; vowels that are too short are not
reached; rounding and tongue begin in the consonant before. Nothing is drawn by lot here: mouth and
sound follow from the phones alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from visage.synth.phonemes import PHONEMES, Phoneme
from visage.synth.trajectories import Steps, Times, pulses
from visage.synth.utterance import Utterance

__all__ = ["Articulation", "articulate"]

_STRESSED, _UNSTRESSED = 1.08, 0.88  # opening of vowels
_SOURCE_S = 0.022  # how long larynx and hiss take to start or stop
_ONSET_S, _OFFSET_S = 0.05, 0.11  # the same from and to silence
_VOICE_LATE_S = 0.035  # after a p the larynx is late
_LONGEST = {"closure": 3.0, "vowel": 1.15, "fricative": 1.15, "silence": np.inf}
# Where a step lies about the boundary, in its own lengths: into and out of a closure the way is
# over before, or begins after; the mouth opens a little before it speaks and closes after.
_INTO = {"closure": -0.35, "fricative": -0.15, "silence": 0.20, "vowel": 0.0}
_OUT_OF = {"closure": 0.35, "fricative": 0.15, "silence": -0.10, "vowel": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Articulation:
    """Channels by the names of `Phoneme`'s fields; ask at any ascending times."""

    channels: Mapping[str, Steps]
    releases_s: Times
    """When a b or p opens, (k,)."""
    bursts: Times
    """How loud, (k,)."""
    breaths: Times
    """Breath after it, (k,)."""

    def mouth(self, times_s: Times) -> NDArray[np.float64]:
        """Opening in [0, 1], spread in [-1, 1] and press in [0, 1], (n, 3)."""
        return np.stack(
            [
                np.clip(self.channels["opening"].at(times_s), 0.0, 1.0),
                np.clip(self.channels["spread"].at(times_s), -1.0, 1.0),
                np.clip(self.channels["press"].at(times_s), 0.0, 1.0),
            ],
            axis=1,
        )

    def channel(self, name: str, times_s: Times) -> Times:
        """One of front, voice, nasal, hiss, hush, puff in [0, 1], (n,)."""
        return np.clip(self.channels[name].at(times_s), 0.0, 1.0)

    def burst(self, times_s: Times) -> Times:
        """Noise of opening lips, (n,)."""
        return self._released(times_s, self.bursts, rise_s=0.003, fall_s=0.022)

    def breath(self, times_s: Times) -> Times:
        """Breath after it, (n,)."""
        return self._released(times_s, self.breaths, rise_s=0.010, fall_s=0.060)

    def _released(self, times_s: Times, sizes: Times, *, rise_s: float, fall_s: float) -> Times:
        many = np.ones(len(sizes))
        return pulses(
            times_s, self.releases_s, sizes=sizes, rise_s=rise_s * many, fall_s=fall_s * many
        )


def articulate(utterance: Utterance) -> Articulation:
    """The movements that say an utterance."""
    phonemes = [PHONEMES[phone.symbol] for phone in utterance.phones]
    kinds = [one.kind for one in phonemes]
    lengths = np.array([phone.stop_s - phone.start_s for phone in utterance.phones])
    edges = np.array([phone.start_s for phone in utterance.phones[1:]])
    limits = lengths * [_LONGEST[kind] for kind in kinds]
    moves = np.minimum(np.minimum(limits[:-1], limits[1:]), utterance.style.move_s)
    shifts = np.array(
        [
            _OUT_OF[before] if before in ("closure", "silence") else _INTO[after] or _OUT_OF[before]
            for before, after in pairwise(kinds)
        ]
    )
    centres = edges + shifts * moves
    channels = {
        name: Steps(values=values, centres_s=centres, lengths_s=moves)
        for name, values in _lips(utterance, phonemes).items()
    }
    source_s, late_s = _source_times(kinds, phonemes)
    for name in ("voice", "nasal", "hiss", "hush", "puff"):
        values = np.array([getattr(one, name) for one in phonemes])
        delay = late_s if name == "voice" else np.zeros_like(late_s)
        channels[name] = Steps(values=values, centres_s=edges + delay, lengths_s=source_s)
    releases = [index for index, one in enumerate(phonemes[:-1]) if one.burst > 0]
    return Articulation(
        channels=channels,
        releases_s=np.array([utterance.phones[index].stop_s for index in releases]),
        bursts=np.array([phonemes[index].burst for index in releases]),
        breaths=np.array([phonemes[index].breath for index in releases]),
    )


def _lips(utterance: Utterance, phonemes: list[Phoneme]) -> dict[str, Times]:
    """Targets of the slow channels, (phones,) each."""
    style = utterance.style
    opening, spread, front = [], [], []
    for index, (one, stressed) in enumerate(zip(phonemes, utterance.is_stressed, strict=True)):
        ahead = phonemes[index + 1] if index + 1 < len(phonemes) else one
        lively = _STRESSED if stressed else _UNSTRESSED
        is_vowel = one.kind == "vowel"
        opening.append(min(1.0, one.opening * (style.jaw * lively if is_vowel else 0.8)))
        # What a consonant leaves free is where the next sound wants it.
        free = one.kind == "closure" and ahead.kind == "vowel"
        spread.append(0.6 * ahead.spread if free else one.spread + style.rounding * is_vowel)
        front.append(0.4 * one.front + 0.6 * ahead.front if free else one.front)
    return {
        "opening": np.array(opening),
        "spread": np.clip(spread, -1.0, 1.0),
        "press": np.array([one.press for one in phonemes]),
        "front": np.array(front),
    }


def _source_times(kinds: Sequence[str], phonemes: Sequence[Phoneme]) -> tuple[Times, Times]:
    """How long the larynx takes at each boundary, and how late it is."""
    lengths, late = [], []
    for index in range(len(kinds) - 1):
        before, after = kinds[index], kinds[index + 1]
        lengths.append(
            _ONSET_S if before == "silence" else _OFFSET_S if after == "silence" else _SOURCE_S
        )
        late.append(_VOICE_LATE_S if phonemes[index].breath > 0 and after != "silence" else 0.0)
    return np.array(lengths), np.array(late)
