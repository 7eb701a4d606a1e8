"""What a speaking person does besides speaking: head, blinks, brows and eyes, frame by frame.

The mouth follows the articulation exactly. The head sways by itself, turns a little with each
phrase and nods on stressed syllables; styles differ in how much and how fast.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from visage.seeds import rng_of
from visage.synth.articulation import Articulation, articulate
from visage.synth.expression import Expression
from visage.synth.phonemes import PHONEMES
from visage.synth.relief import Pose
from visage.synth.styles import Style
from visage.synth.trajectories import Steps, Times, minimum_jerk, pulses
from visage.synth.utterance import Utterance

__all__ = ["Performance", "perform"]

_BLINKS_HZ = 0.28
_CLOSE_S, _REOPEN_S = (0.06, 0.09), (0.11, 0.17)
_BLINK_APART_S = 0.45
_PHRASE_S = 0.5  # how long the head takes to where it looks in the next phrase
_ROUGH_HZ = 0.9  # beyond the slow waves the head is never quite still
_SHARE = {"yaw": 1.0, "pitch": 0.55, "roll": 0.6}
"""How much of a style's sway each angle has."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Performance:
    """One value for each of n frames; the same seed gives the same motion at any rate."""

    expressions: tuple[Expression, ...]
    poses: tuple[Pose, ...]
    shifts: NDArray[np.float64]
    """Of the head from its place, in face widths right and down, (n, 2)."""
    mouth: NDArray[np.float64]
    """Opening, spread, press as in `Articulation.mouth`, (n, 3)."""


def perform(utterance: Utterance, *, frames: int, fps: float, seed: int) -> Performance:
    """Act out an utterance in `frames` pictures at `fps`."""
    times = np.arange(frames) / fps
    style, articulation = utterance.style, articulate(utterance)
    mouth = articulation.mouth(times)
    angles, shifts = _head(utterance, mouth, times, seed)
    lids = _lids(utterance, times, seed)
    stress = _stress(utterance, times)
    gaze = _gaze(utterance, times, seed)
    values = _resting(style.face, frames)
    values["mouth_open"] += 0.92 * mouth[:, 0]
    values["mouth_stretch"] += mouth[:, 1] * (0.35 + 0.65 * np.minimum(1.0, 3 * mouth[:, 0]))
    values["lip_press"] += mouth[:, 2]
    bite = articulation.channel("puff", times)  # lower lip under the upper teeth
    values["upper_lip"] += 0.35 * bite
    values["lower_lip"] += 0.25 * _teeth(articulation, times) - 0.2 * bite
    values["brow_inner"] += 0.22 * stress
    values["brow_outer"] += 0.25 * stress
    values["eye_wide"] += 0.12 * stress
    values["eye_wide"] = values["eye_wide"] * (1 - lids) - lids
    values["gaze_x"], values["gaze_y"] = gaze[:, 0], gaze[:, 1]
    return Performance(
        expressions=tuple(
            Expression(**{name: float(row[index]) for name, row in values.items()})
            for index in range(frames)
        ),
        poses=tuple(
            Pose(yaw_deg=float(yaw), pitch_deg=float(pitch), roll_deg=float(roll))
            for yaw, pitch, roll in angles
        ),
        shifts=shifts,
        mouth=mouth,
    )


def _resting(face: Expression, frames: int) -> dict[str, Times]:
    return {item.name: np.full(frames, getattr(face, item.name)) for item in fields(Expression)}


def _head(
    utterance: Utterance, mouth: NDArray[np.float64], times: Times, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Yaw, pitch (down), roll in degrees, (n, 3), and shifts in face widths, (n, 2)."""
    style = utterance.style
    angles = np.stack(
        [share * _sway(style, name, times, seed) for name, share in _SHARE.items()], axis=1
    )
    rng = rng_of(seed, "phrases")
    turns = rng.normal(0.0, 1.0, (len(utterance.phrases_s) + 1, 3)) * (3.5, 1.5, 1.5)
    turns *= 0.6 + 0.25 * style.sway_deg
    ways = np.full(len(utterance.phrases_s), _PHRASE_S)
    for axis in range(3):
        line = Steps(values=turns[:, axis], centres_s=utterance.phrases_s, lengths_s=ways)
        angles[:, axis] += np.clip(line.at(times), -9.0, 9.0)
    speaks = _speaks(utterance, times)
    angles[:, 1] += style.nod_deg * _nods(utterance, times)
    angles[:, 1] -= style.lift_deg * speaks + style.lift_by_opening_deg * mouth[:, 0]
    angles[:, 1] += 1.5 * mouth[:, 0]  # the jaw takes the head along a little
    shifts = 0.0045 * angles[:, [0, 1]] + 0.004 * np.stack(
        [_sway(style, "x", times, seed), _sway(style, "y", times, seed)], axis=1
    )
    return np.clip(angles, -18.0, 18.0), shifts


def _sway(style: Style, name: str, times: Times, seed: int) -> Times:
    """Waves about the style's rate that never repeat, from -1 to 1 times its degrees."""
    rng = rng_of(seed, "sway", name)
    rates = style.sway_hz * rng.uniform(0.7, 1.3, 3) * (1.0, 1.7, 0.45)
    phases = rng.uniform(0, 2 * np.pi, 4)
    waves = np.sin(2 * np.pi * rates * times[:, None] + phases[:3]) @ np.array([0.6, 0.3, 0.4])
    rough = 0.06 * np.sin(2 * np.pi * _ROUGH_HZ * times + phases[3])
    return np.asarray(style.sway_deg * waves + rough, np.float64)


def _nods(utterance: Utterance, times: Times) -> Times:
    """Quickly down on the beat and back, (n,)."""
    style, many = utterance.style, np.ones(len(utterance.stresses_s))
    starts = utterance.stresses_s - 0.25 * style.nod_s
    rise, fall = 0.4 * style.nod_s * many, 0.9 * style.nod_s * many
    return pulses(times, starts, sizes=many, rise_s=rise, fall_s=fall)


def _stress(utterance: Utterance, times: Times) -> Times:
    """How much brows and eyes take part, 0 to about 1."""
    every = utterance.stresses_s[::2]
    many = np.ones(len(every))
    lift = pulses(times, every - 0.08, sizes=many, rise_s=0.16 * many, fall_s=0.45 * many)
    return np.minimum(lift, 1.2)


def _speaks(utterance: Utterance, times: Times) -> Times:
    """1 within phrases and 0 in longer silence, smoothly, (n,)."""
    inside = [PHONEMES[phone.symbol].kind != "silence" for phone in utterance.phones]
    edges = np.array([phone.start_s for phone in utterance.phones[1:]])
    values = np.array(inside, np.float64)
    kept = np.flatnonzero(np.diff(values)) if len(values) > 1 else np.zeros(0, int)
    line = Steps(
        values=np.concatenate([values[:1], values[kept + 1]]),
        centres_s=edges[kept],
        lengths_s=np.full(len(kept), 0.35),
    )
    return np.clip(line.at(times), 0.0, 1.0)


def _teeth(articulation: Articulation, times: Times) -> Times:
    return np.maximum(articulation.channel("hiss", times), articulation.channel("hush", times))


def _lids(utterance: Utterance, times: Times, seed: int) -> Times:
    """0 open to 1 closed; blinks come by chance, as a Poisson process with a short rest, (n,)."""
    rng = rng_of(seed, "blinks")
    expected = int(_BLINKS_HZ * utterance.duration_s * 2) + 8
    starts = np.cumsum(_BLINK_APART_S + rng.exponential(1 / _BLINKS_HZ - _BLINK_APART_S, expected))
    starts = starts + rng.uniform(-1.5, 0.0)
    close, reopen = rng.uniform(*_CLOSE_S, expected), rng.uniform(*_REOPEN_S, expected)
    lids = pulses(times, starts, sizes=np.ones(expected), rise_s=close, fall_s=reopen)
    return np.clip(lids, 0.0, 1.0)


def _gaze(utterance: Utterance, times: Times, seed: int) -> NDArray[np.float64]:
    """Quick small jumps of the eyes about once a second, (n, 2)."""
    rng = rng_of(seed, "gaze")
    count = int(utterance.duration_s) + 2
    jumps = np.sort(rng.uniform(0.0, utterance.duration_s, count))
    targets = rng.normal(0.0, 1.0, (count + 1, 2)) * (0.22, 0.12)
    index = np.searchsorted(jumps, times, "right")
    before = np.where(index > 0, jumps[np.maximum(index - 1, 0)], -1.0)
    part = minimum_jerk((times - before) / 0.05)[:, None]
    return np.asarray(
        targets[np.maximum(index - 1, 0)] * (1 - part) + targets[index] * part, np.float64
    )
