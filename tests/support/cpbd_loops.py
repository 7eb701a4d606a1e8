"""CPBD pixel by pixel, straight from its definition: the slow form that the fast one must equal."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["cpbd_by_loops", "widths_by_loops"]


def _side(row: np.ndarray, start: int, step: int, sign: float) -> int:
    """Pixels on one side: 1, and one more for each step in which sign x brightness grows."""
    length = 1
    here = start
    while length <= 100:
        there = here + step
        if not 0 <= there < len(row) or sign * (row[there] - row[here]) <= 0:
            return length
        here, length = there, length + 1
    return length


def widths_by_loops(grey: np.ndarray, measured: np.ndarray, *, released: bool) -> np.ndarray:
    """Marziliano widths; `released` keeps the quirks of the published port."""
    height, width = grey.shape
    steep_y, steep_x = np.gradient(grey)
    angles = np.zeros(grey.shape)
    for r in range(height):
        for c in range(width):
            if steep_x[r, c] != 0 or not released:
                angles[r, c] = math.degrees(math.atan2(steep_y[r, c], steep_x[r, c]))
            elif steep_y[r, c] == math.pi / 2:
                angles[r, c] = 90
    widths = np.zeros(grey.shape, int)
    if released and not angles.any():
        return widths
    for r in range(1, height - 1):
        for c in range(1, width - 1):
            turn = abs(round(angles[r, c] / 45) * 45)
            if measured[r, c] and turn in (0, 180):
                rising = 1.0 if turn == 0 else -1.0
                left = _side(grey[r], c - 1, -1, -rising)
                right = _side(grey[r], c + 1, +1, rising)
                widths[r, c] = left + right
    return widths


def cpbd_by_loops(
    grey: np.ndarray, blocks: np.ndarray, measured: np.ndarray, *, released: bool
) -> float:
    """A histogram of rounded probabilities over the edge blocks, summed up to 63 %."""
    widths = widths_by_loops(grey, measured, released=released)
    histogram = np.zeros(101)
    for top in range(0, grey.shape[0] - 63, 64):
        for left in range(0, grey.shape[1] - 63, 64):
            cut = np.s_[top : top + 64, left : left + 64]
            if np.count_nonzero(blocks[cut]) <= 64 * 64 * 0.002:
                continue
            contrast = int(grey[cut].max() - grey[cut].min())
            noticed = 5 if contrast <= 50 else 3
            for one in widths[cut].ravel():
                if one:
                    histogram[round((1 - math.exp(-((one / noticed) ** 3.6))) * 100)] += 1
    return float(histogram[:64].sum() / histogram.sum()) if histogram.any() else 0.0
