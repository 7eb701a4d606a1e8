"""A drawn face with known landmarks, and the detector, loaded once."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from visage.faces.dlib68 import Dlib68


def _line(start: tuple[float, float], end: tuple[float, float], count: int) -> NDArray[np.float64]:
    return np.linspace(start, end, count)


def _ring(
    centre: tuple[float, float], radii: tuple[float, float], count: int
) -> NDArray[np.float64]:
    """Points around an ellipse, from its left end over its top."""
    angles = math.pi + np.arange(count) * 2 * math.pi / count
    return np.stack(
        [centre[0] + radii[0] * np.cos(angles), centre[1] + radii[1] * np.sin(angles)], axis=1
    )


@pytest.fixture
def face_points() -> NDArray[np.float32]:
    """68 plausible points of a symmetric face around (100, 100), 80 pixels between the eye
    corners."""
    jaw_angles = math.pi - np.arange(17) * math.pi / 16
    jaw = np.stack([100 + 65 * np.cos(jaw_angles), 95 + 105 * np.sin(jaw_angles)], axis=1)
    points = np.concatenate(
        [
            jaw,
            _line((45, 75), (88, 72), 5),
            _line((112, 72), (155, 75), 5),
            _line((100, 88), (100, 118), 4),
            _line((88, 130), (112, 130), 5),
            _ring((72, 90), (12, 5), 6),
            _ring((128, 90), (12, 5), 6),
            _ring((100, 158), (26, 11), 12),
            _ring((100, 158), (16, 4), 8),
        ]
    )
    return points.astype(np.float32)


@pytest.fixture(scope="session")
def dlib68() -> Dlib68:
    """The default detector and predictor."""
    return Dlib68()


@pytest.fixture(scope="session")
def truth_of() -> object:
    """Reads a `.pts` file of human annotations, shape (68, 2)."""

    def read(path: Path) -> NDArray[np.float64]:
        body = path.read_text().split("{")[1].split("}")[0]
        return np.array(
            [[float(v) for v in line.split()] for line in body.split("\n") if line.strip()]
        )

    return read
