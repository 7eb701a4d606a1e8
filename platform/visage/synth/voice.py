"""A voice of tones in the rhythm of a sentence, and the mouth that says it.

Not speech, but voiced sound whose loudness and vowels belong to the lips: enough for everything
that must find sound in a clip, or its agreement with the mouth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SENTENCES", "Utterance", "speak"]

SENTENCES: dict[int, str] = {1: "iaoiaeo", 2: "oaiiaeo"}
"""The vowels of the two statements of RAVDESS."""

_VOWELS: dict[str, tuple[float, float, float, float]] = {
    "a": (760.0, 1250.0, 1.0, 0.1),
    "e": (520.0, 1850.0, 0.6, 0.4),
    "i": (300.0, 2250.0, 0.35, 0.6),
    "o": (480.0, 880.0, 0.7, -0.7),
    "u": (320.0, 760.0, 0.35, -0.9),
}
"""First and second formant in Hz, opening and spread of the mouth."""
_HARMONICS = 24
_SILENCE = 0.08  # share of the clip before the first and after the last syllable


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """Sound and mouth of one sentence."""

    samples: NDArray[np.float32]
    """Mono, in [-1, 1]."""
    sample_rate: int
    vowels: str
    duration_s: float

    def mouth(self, time_s: float) -> tuple[float, float]:
        """Opening in [0, 1] and spread in [-1, 1] at a time; (0, 0) between syllables."""
        index, place = self._syllable(time_s)
        if index is None:
            return 0.0, 0.0
        _, _, opening, spread = _VOWELS[self.vowels[index]]
        return opening * float(np.sin(np.pi * place)) ** 0.8, spread

    def _syllable(self, time_s: float) -> tuple[int | None, float]:
        start, stop = _SILENCE * self.duration_s, (1 - _SILENCE) * self.duration_s
        at = (time_s - start) / (stop - start) * len(self.vowels)
        if not 0 <= at < len(self.vowels):
            return None, 0.0
        return int(at), at - int(at)


def speak(
    vowels: str,
    *,
    duration_s: float,
    sample_rate: int,
    pitch_hz: float,
    energy: float,
    rng: np.random.Generator,
) -> Utterance:
    """Say vowels evenly over a duration.

    Args:
        vowels: Letters of a, e, i, o, u.
        duration_s: Of the sound.
        sample_rate: Samples a second.
        pitch_hz: Mean of the fundamental.
        energy: 0 to 1; louder, brighter and livelier.
        rng: Small differences between takes.
    """
    count = round(duration_s * sample_rate)
    time_s = np.arange(count) / sample_rate
    start, stop = _SILENCE * duration_s, (1 - _SILENCE) * duration_s
    at = np.clip((time_s - start) / (stop - start) * len(vowels), 0, len(vowels) - 1e-6)
    index, place = at.astype(int), at - at.astype(int)
    voiced = (time_s >= start) & (time_s < stop)
    loud = np.sin(np.pi * place) ** 0.6 * voiced * (0.12 + 0.25 * energy)
    melody = 1.0 + 0.10 * energy * np.sin(2 * np.pi * (at / len(vowels) + rng.random()))
    melody = (
        melody * (1.04 - 0.1 * at / len(vowels)) * (1 + 0.01 * np.sin(2 * np.pi * 5.2 * time_s))
    )
    phase = 2 * np.pi * np.cumsum(pitch_hz * melody) / sample_rate
    formants = np.array([_VOWELS[vowel][:2] for vowel in vowels])
    first, second = formants[index, 0], formants[index, 1]
    sound = np.zeros(count)
    for harmonic in range(1, _HARMONICS + 1):
        hertz = harmonic * pitch_hz * melody
        peak = np.exp(-(((hertz - first) / 130) ** 2)) + 0.6 * np.exp(
            -(((hertz - second) / 180) ** 2)
        )
        sound += (peak + 0.25 / harmonic) * np.sin(harmonic * phase) / harmonic**0.3
    breath = rng.normal(0, 0.004, count)
    samples = np.clip(0.5 * loud * sound + breath * (0.3 + loud), -1, 1)
    return Utterance(
        samples=samples.astype(np.float32),
        sample_rate=sample_rate,
        vowels=vowels,
        duration_s=duration_s,
    )
