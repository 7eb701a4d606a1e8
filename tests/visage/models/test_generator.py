"""Promises of generator and judge: the published sizes, any smaller size, gradients everywhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from visage.errors import SpecError
from visage.models.generator import Generator, Judge
from visage.models.generator.face_warp import FacePlaces, face_warp, warped_by
from visage.specs.generator import GeneratorInput, GeneratorSpec, JudgeSpec

PUBLISHED = {"small": (54.4e6, 50.1e9), "normal": (76.2e6, 166.3e9), "large": (121.8e6, 250.0e9)}


def _small(**changes: object) -> GeneratorSpec:
    return GeneratorSpec.parse({"size": 32, "widths": (4, 6, 8), **changes})


def _has_gradient(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)


def _cost(network: nn.Module, *inputs: torch.Tensor) -> tuple[int, int]:
    with FlopCounterMode(display=False) as counter:
        network(*inputs)
    return sum(one.numel() for one in network.parameters()), counter.get_total_flops()


@pytest.mark.parametrize("variant", PUBLISHED)
def test_published_generators_have_their_size_and_cost(variant: str) -> None:
    with torch.device("meta"):
        network = Generator(GeneratorSpec.parse({"variant": variant}))
        parameters, flops = _cost(network, torch.empty(1, 16, 512, 512))
    assert (round(parameters, -5), round(flops, -8)) == PUBLISHED[variant]


def test_the_published_judge_has_its_size_and_cost() -> None:
    with torch.device("meta"):
        network = Judge(JudgeSpec(), condition_channels=16)
        parameters, flops = _cost(
            network, torch.empty(1, 16, 512, 512), torch.empty(1, 3, 512, 512)
        )
    assert parameters == pytest.approx(5.57e6, rel=2e-3)
    assert flops == pytest.approx(37.5e9, rel=2e-3)


def test_without_the_source_a_generator_takes_thirteen_channels() -> None:
    spec = GeneratorSpec(inputs=("map", "isp"))
    assert (spec.input_channels, GeneratorSpec().input_channels) == (13, 16)


def _parts(count: int = 2) -> dict[str, Any]:
    points = torch.rand(count, 68, 2) * 31
    return {
        "facial_map": torch.rand(count, 1, 32, 32),
        "source": torch.rand(count, 3, 32, 32) * 2 - 1,
        "patterns": torch.rand(count, 4, 3, 32, 32),
        "warp": face_warp(FacePlaces(source=points, frame=points + torch.tensor([2.0, 3.0])), 32),
    }


@pytest.mark.parametrize(
    "inputs",
    [("map", "source", "isp"), ("isp", "map", "source", "warped"), ("warped", "map", "isp")],
)
def test_a_masked_generator_shows_what_it_was_given_where_it_does_not_paint(
    inputs: tuple[GeneratorInput, ...],
) -> None:
    network = Generator(_small(composition="masked", inputs=inputs))
    given = _parts()
    stacked = network.stacked(**given)
    network(stacked).sum().backward()
    assert all(_has_gradient(one) for one in network.parameters())
    last = [one for one in network.up[0].modules() if isinstance(one, nn.Conv2d)][-1]
    assert last.bias is not None
    shown = {"source": given["source"], "warped": warped_by(given["source"], given["warp"])}
    with torch.no_grad():
        last.weight[3:] = 0
        for at, name in enumerate(network.spec.shown):
            last.bias[3:] = -50.0
            last.bias[3 + at] = 50.0
            torch.testing.assert_close(network(stacked), shown[name])
        last.bias[3:] = -50.0
        painted = network(stacked)
    assert all(not torch.allclose(painted, one) for one in shown.values())


def test_a_generator_that_shows_a_warped_source_says_that_it_needs_the_warp() -> None:
    given = _parts() | {"warp": None}
    with pytest.raises(SpecError, match="warped needs the warp"):
        Generator(_small(inputs=("map", "warped"))).stacked(**given)


def test_a_mask_needs_something_to_lie_on() -> None:
    with pytest.raises(SpecError, match="inputs names neither"):
        _small(composition="masked", inputs=("map", "isp"))


@pytest.mark.parametrize("variant", ["small", "normal", "large"])
@pytest.mark.parametrize("upsampling", [None, "nearest", "bilinear", "transposed"])
@pytest.mark.parametrize(("size", "levels"), [(32, 4), (64, 3), (96, 5), (128, 6)])
def test_every_size_that_halves_evenly_works(
    variant: str, upsampling: str | None, size: int, levels: int
) -> None:
    spec = _small(variant=variant, upsampling=upsampling, size=size, widths=(4,) * levels)
    made = Generator(spec)(torch.rand(1, 16, size, size))
    assert made.shape == (1, 3, size, size)
    assert made.abs().max() <= 1


@pytest.mark.parametrize("variant", ["small", "normal", "large"])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_gradients_reach_every_parameter_and_every_input(variant: str, norm: str) -> None:
    network = Generator(_small(variant=variant, norm=norm))
    inputs = torch.rand(2, 16, 32, 32, requires_grad=True)
    network(inputs).square().sum().backward()
    assert inputs.grad is not None
    assert (inputs.grad.abs().sum((0, 2, 3)) > 0).all()
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in network.parameters())


def test_inputs_are_stacked_in_the_order_of_the_spec() -> None:
    parts = _parts()
    stacked = Generator(_small(inputs=("isp", "map"))).stacked(**parts)
    assert torch.equal(
        stacked, torch.cat((parts["patterns"].flatten(1, 2), parts["facial_map"]), 1)
    )
    with pytest.raises(SpecError, match="source"):
        Generator(_small()).stacked(**{**parts, "source": torch.rand(2, 3, 16, 16)})


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"size": 48, "widths": (4,) * 5}, "multiple of 32"),
        ({"size": 32, "widths": (4,) * 5}, "at least 64"),
        ({"inputs": ("source",)}, "map"),
        ({"inputs": ("map", "map")}, "once"),
        ({"map": {"thickness_px": 1.0}}, "antialias"),
    ],
)
def test_specs_that_cannot_work_say_why(values: dict[str, object], reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        _small(**values)


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_each_scale_judges_a_picture_half_as_large(scales: int) -> None:
    judge = Judge(JudgeSpec(scales=scales, width=4, layers=2), condition_channels=5)
    conditions, picture = torch.rand(2, 5, 64, 64), torch.rand(2, 3, 64, 64)
    found = judge(conditions, picture)
    assert [len(one.features) for one in found] == [3] * scales
    sides = [one.logits.shape[-1] for one in found]
    assert sides == [(64 >> index) // 4 + 3 for index in range(scales)]


def test_the_judge_sees_conditions_as_well_as_the_picture() -> None:
    judge = Judge(JudgeSpec(width=4), condition_channels=5).eval()
    conditions, picture = torch.rand(1, 5, 64, 64), torch.rand(1, 3, 64, 64)
    base = judge(conditions, picture)[1].logits
    assert not torch.equal(base, judge(conditions.flip(3), picture)[1].logits)
    assert not torch.equal(base, judge(conditions, picture.flip(3))[1].logits)
