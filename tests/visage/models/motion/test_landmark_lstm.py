"""Promises of the landmark LSTM: published size, look-ahead, chunks equal to the whole."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from visage.models import count_parameters
from visage.models.motion.landmark_lstm import LandmarkLstm
from visage.specs.motion import MotionSpec


def test_with_the_published_outputs_it_has_the_published_size_and_cost():
    with torch.device("meta"):
        net = LandmarkLstm(MotionSpec(), outputs=75).eval()
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 2 * 10, 512))
    assert count_parameters(net) == 3_064_395
    assert counter.get_total_flops() / 10 == pytest.approx(6.1e6, rel=0.002)


def test_the_head_of_68_points_adds_only_its_outputs():
    with torch.device("meta"):
        assert count_parameters(LandmarkLstm(MotionSpec())) == 3_064_395 + (204 - 75) * (512 + 1)


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("cuts", [(1,), (7, 8), (3, 3, 20), (29,)])
def test_a_sequence_cut_anywhere_gives_what_the_whole_gives(tiny_model, norm, cuts):
    net = tiny_model(norm=norm).landmarks
    features = torch.randn(3, 2 * 30, 6, generator=torch.Generator().manual_seed(1))
    state, parts = None, []
    bounds = (0, *cuts, 30)
    with torch.no_grad():
        whole, end = net(features)
        for start, stop in pairwise(bounds):
            if start < stop:
                rows, state = net(features[:, 2 * start : 2 * stop], state)
                parts.append(rows)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-6, rtol=1e-5)
    for carried, last in zip(state, end, strict=True):
        torch.testing.assert_close(carried, last, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("look_ahead", [0, 1, 5])
def test_a_frame_hears_exactly_its_look_ahead_and_no_more(tiny_model, look_ahead):
    model = tiny_model(landmark_look_ahead=look_ahead)
    features = torch.randn(1, 2 * 20, 6, requires_grad=True)
    frame = 8
    model.displacements(features)[0, frame].sum().backward()
    heard = features.grad[0].abs().sum(dim=1) > 0  # (40,)
    assert heard[: 2 * (frame + look_ahead + 1)].all()
    assert not heard[2 * (frame + look_ahead + 1) :].any()


def test_with_layer_norm_training_and_use_are_the_same_function(tiny_model):
    net = tiny_model(norm="layer").landmarks
    features = torch.randn(2, 16, 6)
    with torch.no_grad():
        assert torch.equal(net.train()(features)[0], net.eval()(features)[0])
