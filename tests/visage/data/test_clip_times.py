"""Times of frames, and smoothing that goes by them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visage.data.clip_times import fill_gaps, frame_times, smoothed_in_time
from visage.errors import MediaError
from visage.faces.lift import smoothed


def test_times_that_can_be_true_are_believed() -> None:
    assert frame_times([0.5, 0.51, 0.6], 25).tolist() == [0.5, 0.51, 0.6]


@pytest.mark.parametrize("stated", [[0.0, None, 0.1], [0.0, 0.2, 0.1], [0.0, 0.0, 0.1], [None] * 3])
def test_times_that_cannot_be_true_become_the_mean_rate(stated: list[float | None]) -> None:
    np.testing.assert_allclose(frame_times(stated, 25), [0.0, 0.04, 0.08])


@pytest.mark.parametrize("fps", [0.0, -1.0, math.nan, math.inf])
def test_a_clip_that_says_neither_times_nor_a_rate_is_one_rejection(fps: float) -> None:
    with pytest.raises(MediaError) as found:
        frame_times([None, None], fps)
    assert found.value.code == "unsupported_format"
    assert frame_times([0.0, 0.1], fps).tolist() == [0.0, 0.1]


@pytest.mark.parametrize("count", [2, 3, 9, 60])
@pytest.mark.parametrize("sigma_s", [0.02, 0.05, 0.3])
def test_at_a_steady_rate_it_is_the_smoothing_that_counts_frames(
    count: int, sigma_s: float
) -> None:
    track = np.random.default_rng(0).normal(size=(count, 4, 2))
    found = smoothed_in_time(track, np.arange(count) / 25, sigma_s)
    # They cut the Gaussian off at three standard deviations and at the frame beyond.
    np.testing.assert_allclose(found, smoothed(track, sigma_s * 25), atol=0.02)


def test_no_smoothing_changes_nothing() -> None:
    track = np.random.default_rng(0).normal(size=(5, 2))
    assert np.array_equal(smoothed_in_time(track, np.arange(5.0), 0.0), track)
    assert np.array_equal(smoothed_in_time(track[:1], np.zeros(1), 1.0), track[:1])


@given(
    st.lists(st.floats(0.004, 0.4), min_size=1, max_size=40),
    st.floats(0.005, 0.2),
    st.floats(-100, 100),
)
def test_whatever_the_times_what_stands_still_stays_and_nothing_overshoots(
    gaps: list[float], sigma_s: float, value: float
) -> None:
    times = np.concatenate([[0.0], np.cumsum(gaps)])
    still = np.full((len(times), 1), value)
    np.testing.assert_allclose(smoothed_in_time(still, times, sigma_s), still)
    wild = np.random.default_rng(len(times)).normal(size=(len(times), 1))
    found = smoothed_in_time(wild, times, sigma_s)
    assert found.shape == wild.shape
    assert wild.min() - 1e-9 <= found.min()
    assert found.max() <= wild.max() + 1e-9


def test_frames_that_are_far_apart_do_not_smooth_each_other() -> None:
    track = np.array([[0.0], [0.0], [10.0], [10.0]])
    times = np.array([0.0, 0.04, 5.0, 5.04])
    np.testing.assert_allclose(smoothed_in_time(track, times, 0.05), track, atol=1e-9)


def test_gaps_are_filled_by_lines_in_time() -> None:
    track = np.full((6, 2, 2), np.nan, np.float32)
    track[1], track[4] = 1.0, 7.0
    filled = fill_gaps(track, np.array([0.0, 1.0, 2.0, 6.0, 7.0, 9.0]))
    assert filled[:, 0, 0].tolist() == [1.0, 1.0, 2.0, 6.0, 7.0, 7.0]
    assert filled.dtype == np.float32
