"""What a drawn face does: muscle-like parameters, one prototype for each emotion, and mixtures.

Every parameter is a plain float with 0 as rest, close to the facial action units (AU) that people
code by hand. A talking head moves `mouth_open`, `mouth_stretch` and `lip_press`; an emotion moves
the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from visage.errors import SpecError
from visage.specs.emotion import EMOTIONS

__all__ = ["Expression", "emotion_expression", "jittered", "mixed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """The state of a face; 0 everywhere is a relaxed face with open eyes."""

    brow_inner: float = 0.0
    """AU1: inner ends of the brows up (+1)."""
    brow_outer: float = 0.0
    """AU2: outer ends of the brows up (+1)."""
    brow_lower: float = 0.0
    """AU4: brows down and together (+1)."""
    eye_wide: float = 0.0
    """AU5: upper lids up (+1); AU43: closed (-1)."""
    squint: float = 0.0
    """AU6 and AU7: lower lids up (+1)."""
    cheek: float = 0.0
    """AU6: cheeks up and full (+1)."""
    nose_wrinkle: float = 0.0
    """AU9: nose pulled up and wrinkled (+1)."""
    upper_lip: float = 0.0
    """AU10: upper lip up, showing teeth (+1)."""
    lower_lip: float = 0.0
    """AU16: lower lip down (+1)."""
    mouth_corner: float = 0.0
    """AU12 up and out (+1), AU15 down (-1)."""
    mouth_stretch: float = 0.0
    """AU20 wide (+1), AU18 rounded and narrow (-1)."""
    mouth_open: float = 0.0
    """AU26 and AU27: jaw down (+1)."""
    lip_press: float = 0.0
    """AU23 and AU24: lips thin and tight (+1)."""
    gaze_x: float = 0.0
    """Eyes to the right of the picture (+1)."""
    gaze_y: float = 0.0
    """Eyes down (+1)."""
    asymmetry: float = 0.0
    """How much more the right side of the picture shows (+1), or the left (-1)."""


_PROTOTYPES: dict[str, Expression] = {
    "Anger": Expression(
        brow_lower=1.0, brow_outer=0.15, eye_wide=0.15, squint=0.6, nose_wrinkle=0.25,
        lip_press=0.9, mouth_corner=-0.45, mouth_stretch=-0.1,
    ),
    "Disgust": Expression(
        brow_lower=0.55, eye_wide=-0.3, squint=0.85, cheek=0.4, nose_wrinkle=1.0, upper_lip=1.0,
        lower_lip=0.25, mouth_corner=-0.6, mouth_stretch=-0.1, mouth_open=0.05, asymmetry=0.3,
    ),
    "Fear": Expression(
        brow_inner=1.0, brow_outer=0.35, brow_lower=0.35, eye_wide=0.95, mouth_stretch=0.8,
        mouth_corner=-0.35, mouth_open=0.28, lower_lip=0.5,
    ),
    "Happy": Expression(
        cheek=1.0, squint=0.5, mouth_corner=1.0, mouth_stretch=0.25, mouth_open=0.22,
        upper_lip=0.25, brow_outer=0.1,
    ),
    "Neutral": Expression(),
    "Sad": Expression(
        brow_inner=0.95, brow_outer=-0.35, brow_lower=0.2, eye_wide=-0.32, mouth_corner=-0.95,
        lip_press=0.1, mouth_stretch=-0.12, gaze_y=0.55,
    ),
    "Surprise": Expression(
        brow_inner=0.85, brow_outer=1.0, eye_wide=0.85, mouth_open=0.8, mouth_stretch=-0.6,
    ),
}  # fmt: skip

_JITTER = 0.07
_LIMITS = (-1.0, 1.25)


def emotion_expression(emotion: str, *, intensity: float = 1.0) -> Expression:
    """The prototype of one of EMOTIONS, scaled; raises SpecError for another name."""
    if emotion not in _PROTOTYPES:
        raise SpecError(f"no expression for {emotion!r}; choose one of {', '.join(EMOTIONS)}")
    return mixed(Expression(), _PROTOTYPES[emotion], weight=intensity)


def mixed(first: Expression, second: Expression, *, weight: float) -> Expression:
    """The way from `first` (weight 0) to `second` (weight 1); beyond 1 exaggerates."""
    values = {
        item.name: _clip(
            (1.0 - weight) * getattr(first, item.name) + weight * getattr(second, item.name)
        )
        for item in fields(Expression)
    }
    return Expression(**values)


def jittered(expression: Expression, rng: np.random.Generator) -> Expression:
    """The same expression as another person, another moment would show it; gaze wanders freely."""
    noise = rng.normal(0.0, _JITTER, size=len(fields(Expression)))
    values = {
        item.name: _clip(getattr(expression, item.name) + float(step))
        for item, step in zip(fields(Expression), noise, strict=True)
    }
    moved = Expression(**values)
    return replace(
        moved,
        gaze_x=_clip(expression.gaze_x + float(rng.normal(0.0, 0.3))),
        mouth_open=max(0.0, moved.mouth_open) if expression.mouth_open > 0.02 else 0.0,
        lip_press=max(0.0, moved.lip_press),
    )


def _clip(value: float) -> float:
    return min(max(value, _LIMITS[0]), _LIMITS[1])
