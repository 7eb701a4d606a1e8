"""Keypoints go where the picture goes; pictures are reduced without shifting or aliasing."""

from __future__ import annotations

import pytest
import torch
from tiny_style_mapping import pictures, tiny_spec
from torch import nn

from visage.models.style_mapping.blocks import AntiAlias
from visage.models.style_mapping.keypoints import CanonicalKeypoints


def _extractor(**changes: object) -> CanonicalKeypoints:
    torch.manual_seed(0)
    return CanonicalKeypoints(tiny_spec(**changes)).eval()


def test_keypoints_lie_inside_the_volume() -> None:
    points = _extractor()(pictures(3))
    assert points.shape == (3, 5, 3)
    assert points.abs().max() <= 1


@pytest.mark.parametrize(("down", "right"), [(0, 4), (8, 0), (4, 8)])
def test_keypoints_of_a_translated_picture_are_translated(down: int, right: int) -> None:
    # On a torus nothing is lost at the edge, so the promise is exact: maps roll with the picture,
    # and the mean of a sharp peak moves by as many voxels, as long as it does not wrap around.
    net = _extractor(temperature=1e-4, canonical={"shrink": 1, "width": 4, "levels": 2})
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            layer.padding_mode = "circular"
    blob = torch.zeros(1, 3, 32, 32)
    blob[..., 8:14, 6:13] = pictures(1, size=7)[..., :6, :] + 1
    moved = blob.roll((down, right), dims=(2, 3))
    before, after = net.heatmaps(blob), net.heatmaps(moved)
    assert torch.allclose(after, before.roll((down, right), dims=(3, 4)), atol=1e-4)
    shift = torch.tensor([right * 2 / 31, down * 2 / 31, 0.0])
    apart = net(moved) - net(blob)
    stays = (apart - shift).abs().amax(dim=2) < 1e-3  # those that wrapped moved by a whole turn
    assert stays.float().mean() >= 0.6
    assert torch.allclose(apart[0][stays[0]], shift.expand(int(stays.sum()), 3), atol=1e-3)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8])
def test_a_reduced_ramp_is_the_ramp_at_the_middle_of_each_square(factor: int) -> None:
    ramp = torch.arange(48.0).expand(1, 3, 48, 48)
    small = AntiAlias(factor)(ramp)
    assert small.shape == (1, 3, 48 // factor, 48 // factor)
    wanted = torch.arange(48 // factor) * factor + (factor - 1) / 2
    inner = slice(3, -3) if factor <= 4 else slice(2, -2)
    assert torch.allclose(small[0, 0, 5 % len(wanted), inner], wanted[inner], atol=0.02 * factor)


def test_what_is_too_fine_to_be_seen_vanishes_instead_of_becoming_something_else() -> None:
    stripes = torch.tensor([1.0, -1.0]).repeat(32).expand(1, 1, 64, 64)
    assert AntiAlias(4)(stripes)[..., 2:-2].abs().max() < 0.01
    assert stripes[..., ::4].abs().min() == 1  # what plain subsampling would see
