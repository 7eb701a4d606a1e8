"""Trajectories at a steady rate: through the samples, without repeats, without drift."""

from __future__ import annotations

import numpy as np
import pytest

from visage.data.resample import resample_track, steady_times
from visage.errors import DataError


@pytest.mark.parametrize("fps", [23.976, 25.0, 29.97, 30.0, 50.0, 60.0])
def test_a_moving_point_never_stands_still_at_60_hz(fps: float) -> None:
    times = np.arange(100) / fps
    track = np.stack([3 * times, np.sin(times)], axis=1)
    wanted = steady_times(times[-1], 60)
    found = resample_track(track, times, wanted)
    assert (np.diff(found[:, 0]) > 0).all()
    np.testing.assert_allclose(found[:, 0], 3 * wanted, atol=1e-9)
    np.testing.assert_allclose(found[:, 1], np.sin(wanted), atol=1e-4)


def test_samples_are_kept_where_they_are_asked_for() -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.1, 30))
    track = rng.normal(size=(30, 68, 2))
    np.testing.assert_allclose(resample_track(track, times, times), track, atol=1e-12)


def test_uneven_times_are_no_special_case() -> None:
    rng = np.random.default_rng(1)
    times = np.concatenate([[0.0], np.cumsum(rng.uniform(0.02, 0.06, 60))])
    wanted = steady_times(times[-1], 60)
    found = resample_track(np.sin(3 * times)[:, None], times, wanted)[:, 0]
    np.testing.assert_allclose(found, np.sin(3 * wanted), atol=2e-2)


def test_the_ends_are_held() -> None:
    found = resample_track(np.array([[1.0], [2.0]]), np.array([1.0, 2.0]), np.array([0.0, 5.0]))
    np.testing.assert_array_equal(found[:, 0], [1.0, 2.0])


def test_one_sample_stands_for_all_times() -> None:
    assert resample_track(np.ones((1, 3)), np.zeros(1), np.arange(4.0)).shape == (4, 3)


@pytest.mark.parametrize("hours", [1, 10])
def test_frame_times_do_not_drift(hours: int) -> None:
    times = steady_times(3600.0 * hours, 60)
    assert len(times) == 216_000 * hours
    assert times[-1] == pytest.approx(3600 * hours - 1 / 60, abs=1e-9)


@pytest.mark.parametrize("times", [[0.0, 0.0], [1.0, 0.5], [0.0]])
def test_times_that_do_not_increase_are_refused(times: list[float]) -> None:
    with pytest.raises(DataError, match="increasing"):
        resample_track(np.zeros((2, 1)), np.array(times), np.zeros(1))
