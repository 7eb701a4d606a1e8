"""Speech to motion: landmarks, head pose, blinks and shoulders."""

from __future__ import annotations

from visage.models.motion.finish import Motion
from visage.models.motion.losses import (
    MotionLoss,
    MotionPrediction,
    MotionWeights,
    motion_loss,
)
from visage.models.motion.motion import MotionGenerator
from visage.models.motion.stream import MotionStream

__all__ = [
    "Motion",
    "MotionGenerator",
    "MotionLoss",
    "MotionPrediction",
    "MotionStream",
    "MotionWeights",
    "motion_loss",
]
