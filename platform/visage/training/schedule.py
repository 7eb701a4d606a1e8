"""Learning rates as pure functions of the step."""

from __future__ import annotations

import math

from visage.specs.train import ScheduleSpec

__all__ = ["lr_at"]

EPOCH_ROUNDING = 1e-9
"""Milestones fall on steps exactly; without it rounding makes one in a thousand a step late."""


def lr_at(spec: ScheduleSpec, step: int, *, peak_lr: float, steps: int, epochs: float) -> float:
    """The learning rate of `step` (0 … steps-1) in a run that reads `epochs` epochs in all."""
    if step < spec.warmup_steps:
        return peak_lr * (step + 1) / spec.warmup_steps
    match spec.name:
        case "constant":
            lr = peak_lr
        case "cosine":
            span = max(1, steps - spec.warmup_steps)
            progress = min(1.0, (step - spec.warmup_steps) / span)
            lr = peak_lr * (1 + math.cos(math.pi * progress)) / 2
        case "milestones":
            epoch = epochs * step / steps + EPOCH_ROUNDING
            passed = sum(epoch >= milestone for milestone in spec.milestones_epochs)
            lr = peak_lr * spec.gamma**passed
    return max(lr, spec.floor_lr)
