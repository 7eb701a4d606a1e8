"""Promises of the filters: constants stay, chunks do not matter, delays are as stated."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from visage.errors import SpecError
from visage.models.motion.smoothing import causal_filter, delay_frames, gaussian_smooth

CAUSAL = [("none", 3.0), ("ema", 0.0), ("ema", 1.0), ("ema", 9.0), ("one-euro", 3.0)]


def _noise(frames: int = 200, channels: int = 3) -> torch.Tensor:
    return torch.randn(frames, channels, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sigma", [0.0, 0.5, 3.0, 30.0])
def test_a_gaussian_keeps_constants_and_turns_an_impulse_into_its_bell(sigma):
    torch.testing.assert_close(
        gaussian_smooth(torch.full((9, 2), 5.0), sigma), torch.full((9, 2), 5.0)
    )
    impulse = torch.zeros(401, 1)
    impulse[200] = 1.0
    bell = gaussian_smooth(impulse, sigma)[:, 0].double().numpy()
    offsets = np.arange(-200, 201)
    assert bell.sum() == pytest.approx(1.0, abs=1e-5)
    assert (bell * offsets).sum() == pytest.approx(0.0, abs=1e-4)
    if sigma >= 3:
        assert np.sqrt((bell * offsets**2).sum()) == pytest.approx(sigma, rel=0.01)


@pytest.mark.parametrize(("kind", "sigma"), CAUSAL)
@pytest.mark.parametrize("cut", [0, 1, 77, 199])
def test_a_causal_filter_gives_the_same_in_chunks_and_as_a_whole(kind, sigma, cut):
    values = _noise()
    make = lambda: causal_filter(kind, sigma=sigma, fps=60, beta=2.0)  # noqa: E731
    whole, chunked = make(), make()
    parts = torch.cat([chunked(values[:cut]), chunked(values[cut:])])
    assert torch.equal(parts, whole(values))


@pytest.mark.parametrize(("kind", "sigma"), CAUSAL)
def test_a_causal_filter_never_sees_the_future_and_keeps_constants(kind, sigma):
    values, changed = _noise(), _noise()
    changed[100:] += 5
    left, right = (
        causal_filter(kind, sigma=sigma, fps=60, beta=2.0)(one) for one in (values, changed)
    )
    assert torch.equal(left[:100], right[:100])
    constant = torch.full((50, 2), 3.0)
    torch.testing.assert_close(
        causal_filter(kind, sigma=sigma, fps=60, beta=2.0)(constant), constant
    )


@pytest.mark.parametrize("sigma", [1.0, 3.0, 9.0])
def test_a_moving_average_steadies_noise_about_as_much_as_the_gaussian_it_stands_for(sigma):
    values = _noise(20_000, 1)
    gaussian = gaussian_smooth(values, sigma).std()
    average = causal_filter("ema", sigma=sigma, fps=60)(values)[500:].std()
    assert 0.6 < (average / gaussian).item() < 1.6


@pytest.mark.parametrize("sigma", [1.0, 3.0, 9.0])
@pytest.mark.parametrize("kind", ["ema", "one-euro"])
def test_a_slow_ramp_comes_later_by_the_stated_delay(kind, sigma):
    ramp = torch.arange(2000, dtype=torch.float64)[:, None] * 1e-3
    filtered = causal_filter(kind, sigma=sigma, fps=60, beta=0.0)(ramp)
    late = (ramp[-1] - filtered[-1]).item() / 1e-3
    assert late == pytest.approx(delay_frames(kind, sigma), rel=0.01)


def test_one_euro_opens_with_speed_so_that_a_jump_arrives_sooner():
    jump = torch.cat([torch.zeros(50, 1), torch.ones(50, 1)])
    slow = causal_filter("one-euro", sigma=9.0, fps=60, beta=0.0)(jump)
    quick = causal_filter("one-euro", sigma=9.0, fps=60, beta=2.0)(jump)
    assert quick[55] > slow[55] + 0.1


def test_a_gaussian_cannot_be_streamed_and_the_message_says_what_can():
    with pytest.raises(SpecError, match="choose ema, one-euro or none"):
        causal_filter("gaussian", sigma=1.0, fps=60)
    assert delay_frames("gaussian", 3.0) == delay_frames("none", 3.0) == 0


@pytest.mark.parametrize("sigma", [1.0, 3.0, 9.0])
def test_the_memory_of_a_moving_average_has_exactly_the_spread_of_the_gaussian(sigma):
    # what an average made of zeros remembers of a single one
    impulse = torch.zeros(2000, 1, dtype=torch.float64)
    impulse[1] = 1.0
    memory = causal_filter("ema", sigma=sigma, fps=60)(impulse)[1:, 0].numpy()
    age = np.arange(len(memory))
    mean = (memory * age).sum()
    assert memory.sum() == pytest.approx(1.0)
    assert np.sqrt((memory * (age - mean) ** 2).sum()) == pytest.approx(sigma, rel=1e-6)
