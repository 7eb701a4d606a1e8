"""How a drawn person moves in a clip: a feeling that grows, blinks, sway and speech."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from visage.synth.expression import Expression, mixed
from visage.synth.relief import Pose

__all__ = ["Moment", "Motion", "draw_motion"]

_BLINK_S = 0.14  # half the length of a blink


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The state of a person in one frame."""

    expression: Expression
    pose: Pose
    dx: float
    """Of the head since the first plan, in face widths."""
    dy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """A smooth motion as a function of time; the same time gives the same moment."""

    target: Expression
    pose: Pose
    duration_s: float
    onset: float
    """Share of the target that shows from the first frame on."""
    rates_hz: tuple[float, float, float]
    phases: tuple[float, float, float]
    sway_deg: float
    blink_s: float

    def at(self, time_s: float, *, opening: float = 0.0, spread: float = 0.0) -> Moment:
        """The moment at a time; `opening` and `spread` in [0, 1] and [-1, 1] are speech on top."""
        part = min(max(time_s / (0.5 * self.duration_s), 0.0), 1.0)
        grown = self.onset + (1.0 - self.onset) * (part * part * (3 - 2 * part))
        expression = mixed(Expression(), self.target, weight=grown)
        expression = _speaking(expression, opening, spread)
        closed = float(np.exp(-(((time_s - self.blink_s) / (0.6 * _BLINK_S)) ** 2)))
        lids = (1 - closed) * expression.eye_wide - closed
        swing = [
            np.sin(2 * np.pi * rate * time_s + phase) - np.sin(phase)
            for rate, phase in zip(self.rates_hz, self.phases, strict=True)
        ]
        pose = Pose(
            yaw_deg=self.pose.yaw_deg + self.sway_deg * float(swing[0]),
            pitch_deg=self.pose.pitch_deg + 0.6 * self.sway_deg * float(swing[1]) + 2 * opening,
            roll_deg=self.pose.roll_deg + 0.5 * self.sway_deg * float(swing[2]),
        )
        return Moment(
            expression=replace(expression, eye_wide=lids),
            pose=pose,
            dx=0.012 * float(swing[0]),
            dy=0.010 * float(swing[1]),
        )


def draw_motion(
    target: Expression, pose: Pose, *, duration_s: float, rng: np.random.Generator
) -> Motion:
    """A motion by lot that ends in `target` and stays near `pose`."""
    rates, phases = rng.uniform(0.2, 0.6, 3), rng.uniform(0.0, 2 * np.pi, 3)
    return Motion(
        target=target,
        pose=pose,
        duration_s=duration_s,
        onset=float(rng.uniform(0.6, 0.85)),
        rates_hz=(float(rates[0]), float(rates[1]), float(rates[2])),
        phases=(float(phases[0]), float(phases[1]), float(phases[2])),
        sway_deg=float(rng.uniform(0.8, 2.2)),
        blink_s=float(rng.uniform(0.15, 0.95) * duration_s),
    )


def _speaking(expression: Expression, opening: float, spread: float) -> Expression:
    """Speech moves the jaw and the width of the mouth; the feeling keeps the rest."""
    if opening <= 0:
        return expression
    voiced = min(opening, 1.0)
    return replace(
        expression,
        mouth_open=max(expression.mouth_open * 0.6, 0.12) + 0.5 * voiced,
        mouth_stretch=expression.mouth_stretch * 0.6 + 0.7 * spread * voiced,
        lip_press=expression.lip_press * (1.0 - voiced),
    )
