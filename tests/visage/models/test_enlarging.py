"""Promises of enlarging: one result, whoever computes it."""

from __future__ import annotations

import pytest
import torch

from visage.models.enlarging import enlarged_to


@pytest.mark.parametrize("how", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("own", "side"), [(64, 256), (96, 256), (64, 96), (33, 100), (32, 32)])
def test_with_and_without_a_gradient_planes_become_the_same(how, own: int, side: int):
    planes = torch.randn(2, 3, own, own, generator=torch.Generator().manual_seed(own))
    made = enlarged_to(planes, side, how)
    learnt = enlarged_to(planes.requires_grad_(), side, how)
    torch.testing.assert_close(made, learnt.detach(), atol=2e-4, rtol=0)
    (slope,) = torch.autograd.grad(learnt.sum(), planes)
    assert slope.isfinite().all()


def test_planes_that_lie_apart_in_memory_are_taken_as_they_are():
    planes = torch.randn(2, 3, 24, 24)
    apart = planes.contiguous(memory_format=torch.channels_last)
    assert torch.equal(enlarged_to(apart, 50, "bilinear"), enlarged_to(planes, 50, "bilinear"))


def test_what_becomes_smaller_is_a_mean_of_what_it_was():
    chequers = torch.ones(1, 1, 64, 64)
    chequers[..., ::2, ::2] = chequers[..., 1::2, 1::2] = -1
    assert enlarged_to(chequers, 16, "bilinear")[..., 2:-2, 2:-2].abs().max() < 1e-4
