"""Promises of what two phases share: pictures by place, weights that a gradient passes by."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from visage.errors import TrainingError
from visage.training.adversarial import MadePictures, frozen


def test_pictures_come_back_by_their_place_however_the_batch_is_cut() -> None:
    pictures = torch.rand(5, 3, 2, 2, requires_grad=True)
    made = MadePictures()
    made.keep(torch.arange(0, 2), pictures[:2])
    made.keep(torch.arange(2, 5), pictures[2:])
    first, second = made.take(torch.arange(0, 4)), made.take(torch.tensor([4]))
    assert torch.equal(torch.cat((first, second)), pictures)
    assert not first.requires_grad


def test_a_picture_is_handed_over_once() -> None:
    made = MadePictures()
    made.keep(torch.arange(2), torch.rand(2, 1))
    made.take(torch.tensor([0]))
    with pytest.raises(TrainingError, match="places"):
        made.take(torch.arange(2))


def test_gradients_pass_through_a_frozen_network_to_its_input() -> None:
    network, x = nn.Linear(2, 1), torch.rand(3, 2, requires_grad=True)
    with frozen(network):
        out = network(x)
    out.sum().backward()
    assert x.grad is not None
    assert all(one.grad is None and one.requires_grad for one in network.parameters())
