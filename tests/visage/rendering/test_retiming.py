"""Promises of retiming: every frame at its time, pieces do not matter, the count is exact."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visage.errors import SpecError
from visage.rendering.retiming import Retiming, frame_total


def _ramp(frames: int) -> torch.Tensor:
    """Points whose coordinates are the time in seconds at 60 Hz."""
    return (torch.arange(frames, dtype=torch.float64) / 60)[:, None, None].expand(-1, 3, 2)


def _retimed(points: torch.Tensor, sizes: list[int], *, fps: float, total: int) -> torch.Tensor:
    retiming = Retiming(from_hz=60, to_hz=fps, total=total)
    parts, at = [], 0
    for size in [*sizes, len(points)]:
        parts.append(retiming.push(points[at : at + size]))
        at = min(at + size, len(points))
    return torch.cat([*parts, retiming.finish()])


@pytest.mark.parametrize("fps", [24, 25, 29.97, 30, 48, 50, 59.94, 60])
@pytest.mark.parametrize("sizes", [[], [1] * 20, [0, 7, 0, 60], [59, 1, 1]])
def test_frame_k_shows_the_time_k_by_fps_and_the_end_is_held(fps, sizes):
    total = frame_total(2.0, fps)
    made = _retimed(_ramp(120), sizes, fps=fps, total=total)
    wanted = (torch.arange(total, dtype=torch.float64) / fps).clamp(max=119 / 60)
    torch.testing.assert_close(made[:, 0, 0], wanted, atol=1e-9, rtol=0)


@given(
    frames=st.integers(1, 90),
    fps=st.sampled_from([24.0, 25.0, 29.97, 60.0]),
    sizes=st.lists(st.integers(0, 40), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_no_way_of_cutting_the_motion_changes_a_frame(frames, fps, sizes):
    points = torch.randn(frames, 3, 2, generator=torch.Generator().manual_seed(frames))
    total = frame_total(frames / 60, fps)
    whole, pieces = (_retimed(points, cut, fps=fps, total=total) for cut in ([], sizes))
    assert len(whole) == total
    torch.testing.assert_close(pieces, whole)


@pytest.mark.parametrize("fps", [24.0, 25.0, 29.97, 30.0, 60.0])
@pytest.mark.parametrize("seconds", [0.01, 0.3, 1.0, 7.77, 3600.0])
def test_a_video_lasts_as_long_as_its_sound_to_half_a_frame(fps, seconds):
    total = frame_total(seconds, fps)
    assert total >= 1
    assert abs(total / fps - seconds) <= max(0.5 / fps, 1 / fps - seconds) + 1e-9


def test_what_is_held_does_not_grow():
    retiming = Retiming(from_hz=60, to_hz=24, total=10_000)
    for _ in range(300):
        retiming.push(_ramp(10))
    assert retiming._held is not None
    assert len(retiming._held) <= 4


def test_an_end_without_a_beginning_and_rates_of_nothing_are_refused():
    with pytest.raises(SpecError, match="no motion"):
        Retiming(from_hz=60, to_hz=30, total=3).finish()
    with pytest.raises(SpecError, match="above 0"):
        Retiming(from_hz=60, to_hz=0, total=1)
