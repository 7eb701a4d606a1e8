"""How much face and context say about the label, stated before anything is drawn.

The label y is drawn first. The face shows y with probability `face_accuracy`, else one of the
emotions that people confuse y with; the setting shows y with probability `context_accuracy`, else
any other. Given y the two are independent, so the best possible accuracy of each cue, and of
both, is arithmetic.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from visage.specs.base import Spec
from visage.specs.emotion import EMOTIONS

__all__ = ["CONFUSIONS", "CueSpec", "Cues", "bayes_accuracy", "face_table", "setting_table"]

Cues = Literal["face", "context", "both"]
Table = NDArray[np.float64]
"""(7, 7), row = label, column = what is shown; rows sum to 1."""

CONFUSIONS: dict[str, dict[str, float]] = {
    "Anger": {"Disgust": 0.85, "Neutral": 0.15},
    "Disgust": {"Anger": 0.85, "Sad": 0.15},
    "Fear": {"Surprise": 0.85, "Sad": 0.15},
    "Happy": {"Neutral": 0.6, "Surprise": 0.4},
    "Neutral": {"Sad": 0.6, "Happy": 0.4},
    "Sad": {"Neutral": 0.85, "Fear": 0.15},
    "Surprise": {"Fear": 0.85, "Happy": 0.15},
}
"""What a face shows instead of its label, and how often."""


class CueSpec(Spec):
    """The strengths of the two cues."""

    face_accuracy: float = Field(0.64, ge=0.0, le=1.0)
    """How often the face shows the label."""
    context_accuracy: float = Field(0.66, ge=0.0, le=1.0)
    """How often the setting shows the label."""
    blend: float = Field(0.2, ge=0.0, le=1.0)
    """How often the shown expression is mixed with the one it is most confused with."""


def face_table(cues: CueSpec) -> Table:
    """P(shown expression | label)."""
    table = np.zeros((len(EMOTIONS), len(EMOTIONS)))
    for row, label in enumerate(EMOTIONS):
        for other, share in CONFUSIONS[label].items():
            table[row, EMOTIONS.index(other)] = share * (1 - cues.face_accuracy)
        table[row, row] = cues.face_accuracy
    return table


def setting_table(cues: CueSpec) -> Table:
    """P(shown setting | label)."""
    count = len(EMOTIONS)
    table = np.full((count, count), (1 - cues.context_accuracy) / (count - 1))
    np.fill_diagonal(table, cues.context_accuracy)
    return table


def bayes_accuracy(cues: CueSpec, *, using: Cues = "both") -> float:
    """The accuracy of the best possible guess from what is shown, all labels equally frequent.

    No model that reads the shown expression and setting without error can be better on average; one
    that misreads them is worse.
    """
    face, setting = face_table(cues), setting_table(cues)
    if using == "face":
        joint = face
    elif using == "context":
        joint = setting
    else:
        # (label, expression, setting) -> (label, expression * setting)
        joint = (face[:, :, None] * setting[:, None, :]).reshape(len(EMOTIONS), -1)
    return float(joint.max(axis=0).sum() / len(EMOTIONS))
