"""Source and filter: the sound of an articulation (Fant, Acoustic Theory of Speech Production).

A band-limited pulse train (the larynx, with jitter) and noise pass through resonances whose
frequencies follow the opening, the rounding and the tongue; so the first formant tells the opening,
the second the spread. The filter works on overlapping pieces in the frequency domain, which costs
a few milliseconds a second of sound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visage.seeds import rng_of
from visage.synth.articulation import Articulation, articulate
from visage.synth.trajectories import Steps, Times
from visage.synth.utterance import Utterance

__all__ = ["Voice", "formants_hz", "speak", "voice_of"]

Samples = NDArray[np.float32]
_HOP_S = 0.010
_RING_S = 0.03  # how long a resonance is heard after its piece
_BLOCK = 2048  # pieces filtered at once, so that an hour needs no more memory than a minute
_BANDWIDTHS_HZ = (70.0, 95.0, 140.0, 220.0, 320.0)
_WIDENING = 0.10  # the least bandwidth, share of the frequency
_NASAL_HZ, _NASAL_WIDTHS_HZ = (260.0, 1050.0, 2300.0), (90.0, 260.0, 400.0)
_GLIDE_S = 0.09  # from one note to the next
_KNEE = 0.7  # where the level begins to be held back


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """Who speaks."""

    pitch_hz: float
    tract: float
    """Length of the vocal tract, 1 for 17.5 cm; formants go with its inverse."""
    breath: float
    """Noise in the voice, 0 to 1."""
    jitter: float
    """How uneven the pulses are, share of their distance."""


def voice_of(number: int, *, is_female: bool, seed: int = 0) -> Voice:
    """The voice of the person with this number in the corpus of this seed."""
    rng = rng_of(seed, "voice", number)
    pitch, tract = ((178.0, 225.0), (0.84, 0.90)) if is_female else ((98.0, 138.0), (0.96, 1.04))
    return Voice(
        pitch_hz=float(rng.uniform(*pitch)),
        tract=float(rng.uniform(*tract)),
        breath=float(rng.uniform(0.02, 0.06)),
        jitter=float(rng.uniform(0.004, 0.009)),
    )


def speak(
    utterance: Utterance, voice: Voice, *, sample_rate: int, rng: np.random.Generator
) -> Samples:
    """The sound of an utterance, mono in [-1, 1], (round(duration · rate),)."""
    count = round(utterance.duration_s * sample_rate)
    hop = round(_HOP_S * sample_rate)
    pieces = -(-count // hop) + 1
    articulation = articulate(utterance)
    times: Times = np.arange(pieces, dtype=np.float64) * (hop / sample_rate)
    pitch = voice.pitch_hz * 2 ** (_melody(utterance, times) / 12)
    sources = _sources(
        articulation, voice, pitch, times=times, count=count, sample_rate=sample_rate, rng=rng
    )
    sound = np.zeros((pieces + 8) * hop + 4 * _fft_size(hop, sample_rate), np.float32)
    for start in range(0, pieces, _BLOCK):
        part = slice(start, min(start + _BLOCK, pieces))
        _filter(sound, sources, articulation, voice, utterance.style.loudness,
                times=times[part], first=start, hop=hop, sample_rate=sample_rate)  # fmt: skip
    return _held_back(sound[hop : hop + count])


def formants_hz(opening: Times, spread: Times, front: Times, *, tract: float) -> Times:
    """The five lowest resonances, (n, 5), of a mouth so open and so wide, the tongue so far front.

    Stylised: the first rises with the opening alone, the second falls with rounding and rises with
    the tongue, as in tables of vowels.
    """
    round_ = np.clip(-spread, 0.0, 1.0)
    first = 250.0 + 560.0 * opening**0.85
    second = (820.0 + 1450.0 * front) * (1.0 - 0.16 * round_ + 0.04 * np.clip(spread, 0.0, 1.0))
    third = 2450.0 + 450.0 * (front - 0.4) - 220.0 * round_
    flat = np.ones_like(opening)
    return np.stack([first, second, third, 3450.0 * flat, 4500.0 * flat], axis=1) / tract


def _melody(utterance: Utterance, times: Times) -> Times:
    """Semitones above the voice, (n,)."""
    style = utterance.style
    if not len(utterance.starts_s):
        return np.full(len(times), style.pitch)
    notes = np.concatenate([utterance.notes_st[:1], utterance.notes_st])
    ways = np.full(len(utterance.starts_s), _GLIDE_S)
    line = Steps(values=notes, centres_s=utterance.starts_s, lengths_s=ways).at(times)
    return line + style.vibrato_st * np.sin(2 * np.pi * style.vibrato_hz * times)


@dataclass(frozen=True, slots=True, eq=False)
class _Sources:
    """Pulses, noise, and the noise of bursts, (count,) each."""

    pulses: Samples
    noise: Samples
    bursts: Samples


def _sources(
    articulation: Articulation,
    voice: Voice,
    pitch_hz: Times,
    *,
    times: Times,
    count: int,
    sample_rate: int,
    rng: np.random.Generator,
) -> _Sources:
    at = np.arange(count) / sample_rate
    noise = rng.standard_normal(count, dtype=np.float32)
    # Pulses are uneven from one to the next, not within one: noise at about their own rate.
    uneven = 1.0 + voice.jitter * rng.standard_normal(len(times)) * 1.6
    hertz = np.interp(at, times, pitch_hz * uneven)
    phase = np.cumsum(hertz / sample_rate)
    pulses = _pulse_train(phase, hertz, sample_rate)
    fine = np.arange(0, count, max(1, sample_rate // 2000)) / sample_rate
    burst = np.interp(at, fine, articulation.burst(fine)).astype(np.float32)
    return _Sources(pulses, noise, noise * burst)


def _pulse_train(phase: Times, hertz: Times, sample_rate: int) -> Samples:
    """All harmonics below half the rate with equal strength: (Dirichlet's kernel - 1) / 2."""
    harmonics = np.floor(0.48 * sample_rate / hertz)
    angle = np.pi * (phase % 1.0)
    below = np.sin(angle)
    near = np.abs(below) < 1e-4
    kernel = np.sin((2 * harmonics + 1) * angle) / np.where(near, 1.0, below)
    kernel = np.where(near, 2 * harmonics + 1, kernel)
    return np.asarray(0.5 * (kernel - 1.0), np.float32)


def _fft_size(hop: int, sample_rate: int) -> int:
    return 1 << int(np.ceil(np.log2(2 * hop + _RING_S * sample_rate)))


def _filter(
    sound: Samples,
    sources: _Sources,
    articulation: Articulation,
    voice: Voice,
    loudness: float,
    *,
    times: Times,
    first: int,
    hop: int,
    sample_rate: int,
) -> None:
    """Add the pieces `first` … of the filtered sources; piece k stands at (k - 1) · hop and on."""
    size = _fft_size(hop, sample_rate)
    hertz = np.fft.rfftfreq(size, 1 / sample_rate).astype(np.float32)
    mouth = articulation.mouth(times)
    oral = _response(
        hertz,
        formants_hz(
            mouth[:, 0], mouth[:, 1], articulation.channel("front", times), tract=voice.tract
        ),
        _BANDWIDTHS_HZ,
    )
    nose = _response(hertz, np.array([_NASAL_HZ]) / voice.tract, _NASAL_WIDTHS_HZ)
    nasal = _column(articulation.channel("nasal", times))
    through = oral * (1.0 - nasal) + 0.6 * nose * nasal
    opened = _column(0.18 + 0.82 * np.sqrt(mouth[:, 0])) * (1 - nasal) + 0.9 * nasal
    level = _column(articulation.channel("voice", times)) * opened
    # A louder larynx closes faster: its harmonics fall off later.
    cut = np.float32(350.0 + 1700.0 * loudness)
    slope = 1j * (hertz / 90.0) / ((1 + 1j * hertz / 90.0) * (1 + 1j * hertz / cut))
    breath = voice.breath + _column(articulation.breath(times))
    loud = np.float32(0.022 + 0.010 * loudness)
    voiced = through * slope.astype(np.complex64)[None] * (loud * level)
    airy = np.abs(oral) * np.float32(0.4 * loud) * breath * np.sqrt(opened)
    hissing = sum(
        (_column(articulation.channel(name, times)) * shape for name, shape in _noises(hertz)),
        start=np.zeros(1, np.float32),
    )
    pieces = _cut(sources.pulses, first, len(times), hop)
    spectrum = np.fft.rfft(pieces, size).astype(np.complex64) * voiced
    pieces = _cut(sources.noise, first, len(times), hop)
    spectrum += np.fft.rfft(pieces, size).astype(np.complex64) * (airy + hissing)
    pieces = _cut(sources.bursts, first, len(times), hop)
    spectrum += np.fft.rfft(pieces, size).astype(np.complex64) * _lip_burst(hertz)[None]
    _add(sound, np.fft.irfft(spectrum, size), first=first, hop=hop)


def _response(hertz: Samples, formants: Times, widths: tuple[float, ...]) -> NDArray[np.complex64]:
    """Π 1 / (1 - (f/F)² + j f B/F²), (n, bins), with what higher resonances would add."""
    below = np.ones((len(formants), len(hertz)), np.complex64)
    for index, width in enumerate(widths):
        centre = formants[:, index : index + 1].astype(np.float32)
        part = hertz[None] / centre
        wide = np.maximum(np.float32(width), np.float32(_WIDENING) * centre) / centre
        below *= 1 - part * part + 1j * part * wide
    higher = 1 + (hertz / np.float32(4200.0)) ** 4
    return np.asarray(higher[None] / below, np.complex64)


def _noises(hertz: Samples) -> tuple[tuple[str, Samples], ...]:
    """Spectra of the three fricatives."""
    return (
        ("hiss", np.asarray(0.030 * _band(hertz, 5800.0, 1300.0), np.float32)),
        ("hush", np.asarray(0.030 * _band(hertz, 3000.0, 800.0), np.float32)),
        ("puff", np.asarray(0.006 * (0.3 + _band(hertz, 6800.0, 3000.0)), np.float32)),
    )


def _band(hertz: Samples, centre: float, width: float) -> Samples:
    away = (hertz - np.float32(centre)) / np.float32(width)
    return np.asarray(np.exp(-away * away), np.float32)


def _lip_burst(hertz: Samples) -> Samples:
    return np.asarray(0.10 / (1 + (hertz / np.float32(900.0)) ** 2) ** 0.5, np.float32)


def _cut(samples: Samples, first: int, count: int, hop: int) -> Samples:
    """Pieces of two hops under a Hann window, (count, 2 · hop); their sum is the signal."""
    start = (first - 1) * hop
    wanted = np.zeros((count + 1) * hop, np.float32)
    low, high = max(start, 0), min(start + len(wanted), len(samples))
    if high > low:
        wanted[low - start : high - start] = samples[low:high]
    window = np.hanning(2 * hop + 1)[:-1].astype(np.float32)
    pieces = np.lib.stride_tricks.sliding_window_view(wanted, 2 * hop)[::hop]
    return np.asarray(pieces * window, np.float32)


def _add(sound: Samples, pieces: NDArray[np.floating], *, first: int, hop: int) -> None:
    """Overlap and add; sample 0 of the sound is one hop into the buffer."""
    size = pieces.shape[1]
    tail = -size % hop
    rows = np.pad(pieces, ((0, 0), (0, tail))).reshape(len(pieces), -1, hop)
    for shift in range(rows.shape[1]):  # (pieces, hop) lies `shift` hops later
        start = (first + shift) * hop
        sound[start : start + len(pieces) * hop] += rows[:, shift].reshape(-1)


def _column(values: Times) -> Samples:
    return np.asarray(values, np.float32)[:, None]


def _held_back(sound: Samples) -> Samples:
    """Louder than the knee bends towards 1, so that nothing is cut off."""
    over = np.maximum(np.abs(sound) - _KNEE, 0.0) / (1.0 - _KNEE)
    held = np.minimum(np.abs(sound), _KNEE) + (1.0 - _KNEE) * np.tanh(over)
    return np.asarray(np.sign(sound) * held, np.float32)
