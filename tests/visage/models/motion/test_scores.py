"""Promises of the mouth's figures: blind to where a mouth is, honest about how it moves."""

from __future__ import annotations

import pytest
import torch

from visage.landmarks import INNER_LIP_PAIRS
from visage.models.motion.scores import mouth_error, opening_correlation


def _talking(amplitude: float, phase: float = 0.0, frames: int = 60) -> torch.Tensor:
    """(1, T, 68, 3): only the lower points of the inner lip move."""
    time = torch.arange(frames) / 10
    clip = torch.zeros(1, frames, 68, 3)
    for _, lower in INNER_LIP_PAIRS:
        clip[0, :, lower, 1] = 0.1 + amplitude * torch.sin(time + phase)
    return clip


def test_a_mouth_is_without_error_beside_itself_wherever_it_is():
    clip = torch.randn(3, 9, 68, 3)
    assert mouth_error(clip, clip).tolist() == [0, 0, 0]
    torch.testing.assert_close(mouth_error(clip + 0.4, clip), torch.zeros(3), atol=1e-4, rtol=0)


def test_the_error_is_the_mean_distance_in_percent_of_the_eye_distance():
    true = torch.zeros(1, 4, 68, 3)
    wide = true.clone()
    wide[..., 48:58, 0], wide[..., 58:68, 0] = 0.02, -0.02  # ten points each way: no shift
    assert mouth_error(wide, true).item() == pytest.approx(2.0, rel=1e-5)


def test_points_outside_of_the_mouth_do_not_count():
    true = torch.randn(1, 4, 68, 3)
    other = true.clone()
    other[..., :48, :] += 1
    assert mouth_error(other, true).item() == 0


@pytest.mark.parametrize(("amplitude", "phase", "expected"), [
    (0.1, 0.0, 1.0), (0.01, 0.0, 1.0), (0.1, torch.pi, -1.0), (0.1, torch.pi / 2, 0.0),
    (0.0, 0.0, 0.0),
])  # fmt: skip
def test_the_correlation_hears_rhythm_and_not_amplitude(amplitude, phase, expected):
    true = _talking(0.1, frames=126)  # two whole periods
    found = opening_correlation(_talking(amplitude, phase, frames=126), true)
    assert found.item() == pytest.approx(expected, abs=0.02)
