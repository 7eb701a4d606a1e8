"""Faces of 68 points whose mouths move by formulas: clips for metrics and references."""

from __future__ import annotations

import numpy as np

__all__ = ["face", "talking"]


def _ellipse(count: int, cx: float, cy: float, rx: float, ry: float, start: float) -> np.ndarray:
    """Points from the left, over the top, to the right and back along the bottom."""
    angle = start + np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([cx + rx * np.cos(angle), cy + ry * np.sin(angle)], axis=1)


def face(
    *, opening: float = 0.03, width: float = 0.5, lips: float = 0.07, lids: float = 0.06
) -> np.ndarray:
    """A frontal face, (68, 2), in units of the outer eye corners' distance, origin on the bridge.

    `opening` is the inner lips' height, `width` that of the outer lip, `lips` the thickness of a
    lip, `lids` the height of the open eyes.
    """
    points = np.zeros((68, 2))
    jaw = np.linspace(np.pi, 0, 17)
    points[0:17] = np.stack([0.85 * np.cos(jaw), 0.1 + 1.25 * np.sin(jaw)], axis=1)
    for first, centre in ((17, -0.32), (22, 0.32)):
        x = np.linspace(-0.22, 0.22, 5)
        points[first : first + 5] = np.stack([centre + x, -0.25 + x**2], axis=1)
    points[27:31] = np.stack([np.zeros(4), np.linspace(0, 0.45, 4)], axis=1)
    points[31:36] = np.stack([np.linspace(-0.15, 0.15, 5), np.full(5, 0.55)], axis=1)
    for first, centre in ((36, -0.34), (42, 0.34)):
        points[first : first + 6] = _ellipse(6, centre, 0.02, 0.16, lids / np.sqrt(3), np.pi)
    inner_height = opening / (2 * np.sin(np.pi / 2))
    points[48:60] = _ellipse(12, 0, 0.85, width / 2, inner_height + lips, np.pi)
    points[60:68] = _ellipse(8, 0, 0.85, 0.36 * width, inner_height, np.pi)
    return points


def talking(frames: int, *, amplitude: float = 0.3, period: float = 17.0, seed: int = 0,
            scale: float = 120.0) -> np.ndarray:  # fmt: skip
    """A clip (T, 68, 2) in pixels: a mouth of two rhythms under a swaying head."""
    draws = np.random.default_rng(seed)
    phase = draws.uniform(0, 2 * np.pi, 3)
    time = np.arange(frames)
    beat = np.sin(2 * np.pi * time / period + phase[0]) + 0.4 * np.sin(time / 3.1 + phase[1])
    opening = 0.02 + amplitude * np.clip(beat, 0, None)
    sway = 0.05 * np.sin(time / 40 + phase[2])
    clip = np.stack([face(opening=float(one)) for one in opening])
    clip[..., 0] += sway[:, None]
    return 256 + scale * clip
