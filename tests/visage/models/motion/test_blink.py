"""Promises of the blinks: a Poisson process that is a function of seed and time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from visage.landmarks import EYES
from visage.models.motion.blink import BlinkProcess, close_lids


def _blinks(**changes: float) -> BlinkProcess:
    values = {"seed": 7, "rate_hz": 0.27, "shortest_s": 0.1, "longest_s": 0.3, **changes}
    return BlinkProcess(**values)


def test_an_hour_has_the_stated_rate_and_the_spread_of_a_poisson_process():
    process = _blinks()
    cells = [len(process.blinks(cell)) for cell in range(900)]  # of 4 s
    assert sum(cells) / 3600 == pytest.approx(0.27, abs=4 * np.sqrt(0.27 / 3600))
    assert np.var(cells) / np.mean(cells) == pytest.approx(1.0, abs=0.2)


def test_blinks_are_as_long_as_stated():
    lengths = np.concatenate([_blinks().blinks(cell)[:, 1] for cell in range(300)])
    assert lengths.min() >= 0.1
    assert lengths.max() <= 0.3
    assert np.ptp(lengths) > 0.15


@pytest.mark.parametrize("cut", [1, 59, 240, 241, 3000])
def test_any_cut_of_time_and_any_start_gives_the_same_lids(cut):
    times = np.arange(3600) / 60
    process = _blinks(rate_hz=1.0)
    whole = process.closure(times)
    parts = np.concatenate([process.closure(times[:cut]), process.closure(times[cut:])])
    assert np.array_equal(whole, parts)
    assert whole[cut] == process.closure(times[cut : cut + 1])[0]


def test_lids_open_and_shut_wholly_and_rest_open_most_of_the_time():
    closure = _blinks().closure(np.arange(0, 600, 1 / 600))
    assert closure.min() == 0.0
    assert closure.max() == pytest.approx(1.0, abs=1e-3)
    assert (closure == 0).mean() > 0.9
    assert np.abs(np.diff(closure)).max() < 0.1  # no jump


def test_another_seed_blinks_at_other_times_and_rate_zero_never():
    times = np.arange(0, 60, 1 / 60)
    assert not np.array_equal(_blinks().closure(times), _blinks(seed=8).closure(times))
    assert not _blinks(rate_hz=0.0).closure(times).any()
    assert _blinks().closure(np.zeros(0)).shape == (0,)


def test_closing_moves_upper_lids_onto_lower_ones_and_nothing_else():
    landmarks = torch.randn(3, 68, 3)
    moved = close_lids(landmarks, torch.tensor([0.0, 0.5, 1.0]))
    upper, lower = [37, 38, 43, 44], [41, 40, 47, 46]
    assert torch.equal(moved[0], landmarks[0])
    torch.testing.assert_close(moved[1, upper], (landmarks[1, upper] + landmarks[1, lower]) / 2)
    torch.testing.assert_close(moved[2, upper], landmarks[2, lower])
    others = [point for point in range(68) if point not in upper]
    assert torch.equal(moved[:, others], landmarks[:, others])
    assert set(upper + lower) < set(EYES.tolist())
