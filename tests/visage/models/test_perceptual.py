"""Promises of the perceptual distance: VGG's own features, or fixed random ones, always frozen."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from visage.errors import SpecError
from visage.inference.artifact import read_weights
from visage.media.image import decode_image
from visage.models.encoders import IMAGENET_MEAN, IMAGENET_STD
from visage.models.perceptual import LAYERS, PerceptualNet, PerceptualNetwork, feature_distance

# the indices of torchvision's `features` whose outputs are relu1_1 … relu5_1
RELU_AT = {"vgg16": (1, 6, 11, 18, 25), "vgg19": (1, 6, 11, 20, 29)}


def _pictures(count: int = 2, size: int = 32, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def _random_weights(network: PerceptualNetwork) -> dict[str, Tensor]:
    source = PerceptualNet(network, seed=3).state_dict()
    return {name: value + 0.01 for name, value in source.items()}


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
def test_layers_lie_where_torchvision_has_them(network: PerceptualNetwork) -> None:
    weights = _random_weights(network)
    net = PerceptualNet(network, weights=weights)
    x = (_pictures() + 1) / 2
    x = (x - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)
    convolutions = {int(name.split(".")[1]) for name in weights}
    expected = []
    for index in range(RELU_AT[network][-1] + 1):
        if index in convolutions:
            prefix = f"features.{index}"
            x = F.conv2d(x, weights[f"{prefix}.weight"], weights[f"{prefix}.bias"], padding=1)
        elif index - 1 in convolutions:
            x = F.relu(x)
        else:
            x = F.max_pool2d(x, 2)
        if index in RELU_AT[network]:
            expected.append(x)
    found = net(_pictures())
    assert [one.shape for one in found] == [one.shape for one in expected]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_vgg19_costs_what_the_budget_says() -> None:
    with torch.device("meta"):
        net = PerceptualNet("vgg19")
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 3, 512, 512))
    assert sum(one.numel() for one in net.parameters()) == pytest.approx(12.9e6, rel=0.01)
    assert counter.get_total_flops() == pytest.approx(189.3e9, rel=0.01)


@pytest.mark.parametrize("layers", [("relu1_2",), ("relu3_3", "relu1_1"), LAYERS])
def test_features_come_in_the_order_asked_for(layers: tuple[str, ...]) -> None:
    net = PerceptualNet("vgg16", layers=layers, width=4)
    for name, features in zip(layers, net(_pictures()), strict=True):
        block = int(name[4])
        assert features.shape == (2, 4 * min(8, 1 << (block - 1)), *[32 >> (block - 1)] * 2)
        assert (features >= 0).all()


def test_gradients_reach_the_pictures_and_no_weight() -> None:
    net = PerceptualNet(width=4)
    pictures = _pictures().requires_grad_()
    feature_distance(net(pictures), net(_pictures(seed=1))).backward()
    assert pictures.grad is not None
    assert pictures.grad.abs().sum() > 0
    assert all(one.grad is None and not one.requires_grad for one in net.parameters())


def test_random_features_are_a_function_of_their_seed_alone() -> None:
    torch.manual_seed(1)
    first = PerceptualNet(width=4, seed=5)(_pictures())
    torch.manual_seed(2)
    net = PerceptualNet(width=4, seed=5)
    assert feature_distance(first, net(_pictures())) == 0
    assert feature_distance(first, PerceptualNet(width=4, seed=6)(_pictures())) > 0


def test_random_features_neither_vanish_nor_explode_with_depth() -> None:
    for features in PerceptualNet("vgg19", width=16)(_pictures(size=64)):
        assert 0.1 < features.pow(2).mean() < 10


def test_structure_out_of_place_counts_more_than_brightness() -> None:
    """At the same L1, blur and displaced edges are further away than a brighter picture."""
    board = (torch.arange(64) // 8 % 2).float()
    picture = ((board[:, None] + board[None]) % 2 * 1.2 - 0.6).expand(1, 3, 64, 64)
    shifted = picture.roll(2, dims=-1)
    blurred = F.avg_pool2d(picture, 5, stride=1, padding=2, count_include_pad=False)
    net = PerceptualNet(width=8)
    for other in (shifted, blurred):
        brighter = picture + (other - picture).abs().mean()
        far = feature_distance(net(picture), net(other))
        near = feature_distance(net(picture), net(brighter))
        assert far > 2 * near


def test_the_further_the_picture_the_larger_the_distance() -> None:
    net = PerceptualNet(width=8)
    picture, noise = _pictures(1, 64), _pictures(1, 64, seed=9)
    distances = [
        feature_distance(net(picture), net(picture + amount * noise)).item()
        for amount in (0.0, 0.05, 0.1, 0.2, 0.4)
    ]
    assert distances[0] == 0
    assert all(near < far for near, far in pairwise(distances))


def test_distance_is_the_weighted_sum_of_layer_means() -> None:
    ours, theirs = [_pictures(seed=1), _pictures(seed=2)], [_pictures(seed=3), _pictures(seed=4)]
    expected = sum(
        factor * (a - b).abs().mean().item()
        for factor, a, b in zip((0.5, 2.0), ours, theirs, strict=True)
    )
    found = feature_distance(ours, theirs, weights=(0.5, 2.0)).item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_half_precision_features_are_compared_in_single_precision() -> None:
    far = [torch.full((1, 512, 64, 64), 300.0, dtype=torch.float16)]
    assert feature_distance(far, [torch.zeros_like(far[0])]).item() == 300.0


def test_superfluous_weights_are_ignored_and_foreign_ones_refused() -> None:
    weights = _random_weights("vgg16")
    PerceptualNet("vgg16", weights={**weights, "classifier.0.weight": torch.zeros(3)})
    for broken in (
        {name: value for name, value in weights.items() if name != "features.5.bias"},
        {**weights, "features.5.bias": torch.zeros(3)},
        {},
    ):
        with pytest.raises(SpecError, match="perceptual weights"):
            PerceptualNet("vgg16", weights=broken)
    with pytest.raises(SpecError, match="width"):
        PerceptualNet("vgg16", weights=weights, width=8)


def test_unknown_layers_are_named() -> None:
    with pytest.raises(SpecError, match="relu6_1"):
        PerceptualNet(layers=("relu6_1",))


@pytest.mark.media
def test_trained_features_prefer_the_same_face(media_dir: Path) -> None:
    weights = media_dir / "weights" / "vgg16_features_torchvision_names.pth"
    net = PerceptualNet("vgg16", weights=read_weights(weights))
    face, other = (
        F.interpolate(
            torch.from_numpy(np.array(decode_image((media_dir / "portraits" / name).read_bytes())))
            .permute(2, 0, 1)[None].float() / 127.5 - 1,
            (96, 96), mode="bilinear", antialias=True,
        )
        for name in ("celeba_1112.jpg", "SadTalker_people_0.png")
    )  # fmt: skip
    blurred = F.avg_pool2d(face, 3, stride=1, padding=1, count_include_pad=False)
    assert feature_distance(net(face), net(blurred)) < feature_distance(net(face), net(other))
