"""Style mapping as a whole: published size, patterns, gradients, and what a spec refuses."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import pytest
import torch
from tiny_style_mapping import TINY, pictures, tiny_mapping, tiny_spec
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from visage.errors import SpecError
from visage.models import count_parameters
from visage.models.style_mapping import StyleMapping
from visage.models.style_mapping.random_warps import draw_warps, warp_pictures, warp_points
from visage.models.style_mapping.transforms import HeadMotion, place
from visage.specs.style_mapping import StyleMappingSpec

MILLION, GIGA = 1e6, 1e9
PARTS = ("rotation", "translation", "expression")


@functools.cache
def _published(decoder: str) -> StyleMapping:
    with torch.device("meta"):
        return StyleMapping(StyleMappingSpec.parse({"decoder": decoder})).eval()


def _flops(call: Callable[[], object]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def test_the_networks_have_the_published_number_of_parameters() -> None:
    model = _published("spade")
    found = {
        "canonical": count_parameters(model.canonical),
        "head": count_parameters(model.head),
        "generator": count_parameters(model.generator),
        "motion": count_parameters(model.generator.dense_motion),
        "plain": count_parameters(_published("plain").generator),
    }
    table = {"canonical": 41.9, "head": 30.3, "generator": 101.0, "motion": 43.5, "plain": 53.1}
    assert {name: count / MILLION for name, count in found.items()} == pytest.approx(
        table, rel=2e-3
    )


def test_a_picture_costs_the_published_number_of_operations() -> None:
    picture = torch.empty(1, 3, 256, 256, device="meta")
    points = torch.empty(1, 15, 3, device="meta")
    spade, plain = _published("spade"), _published("plain")
    found = {
        "canonical": _flops(lambda: spade.canonical(picture)),
        "head": _flops(lambda: spade.head(picture)),
        "spade": _flops(lambda: spade.generator(picture, points, points)),
        "plain": _flops(lambda: plain.generator(picture, points, points)),
    }
    table = {"canonical": 38.8, "head": 15.6, "spade": 1203.0, "plain": 392.0}
    assert {name: count / GIGA for name, count in found.items()} == pytest.approx(table, rel=5e-3)


def test_four_patterns_share_what_the_neutral_picture_alone_decides() -> None:
    with torch.device("meta"):
        model = StyleMapping(tiny_spec())
    neutral = torch.empty(3, 32, 32, device="meta")
    one, four = (
        _flops(lambda count=count: model(neutral, torch.empty(count, 3, 32, 32, device="meta")))
        for count in (1, 4)
    )
    alone = neutral[None]
    shared = _flops(
        lambda: (model.canonical(alone), model.head(alone), model.generator.appearance(alone))
    )
    assert four - shared == pytest.approx(4 * (one - shared), rel=1e-3)


LATTICE = [
    {"decoder": decoder, "occlusion": occlusion, "align_corners": align,
     "motion": {**TINY["motion"], "local_motion": local}}  # type: ignore[dict-item]
    for decoder, occlusion, align, local in itertools.product(
        ("spade", "plain"), (True, False), (True, False), ("shift", "rotation")
    )
]  # fmt: skip


@pytest.mark.parametrize("changes", LATTICE, ids=lambda c: "-".join(str(v) for v in c.values()))
def test_every_variant_makes_a_pattern_a_reference_and_builds_on_the_meta_device(
    changes: dict[str, object],
) -> None:
    model = tiny_mapping(**changes)
    with torch.no_grad():
        patterns = model(pictures(1)[0], pictures(3, seed=1))
    assert patterns.shape == (3, 3, 48, 48)
    assert patterns.abs().max() <= 1
    with torch.device("meta"):
        same = StyleMapping(tiny_spec(**changes))
    assert {n: p.shape for n, p in same.named_parameters()} == {
        n: p.shape for n, p in model.named_parameters()
    }


def test_a_pattern_does_not_depend_on_the_references_beside_it() -> None:
    model, neutral, references = tiny_mapping(), pictures(1)[0], pictures(4, seed=3)
    with torch.no_grad():
        together = model(neutral, references)
        apart = torch.cat([model(neutral, one[None]) for one in references])
    assert torch.allclose(together, apart, atol=1e-5)


def test_pictures_of_any_size_are_accepted() -> None:
    model = tiny_mapping(output_size=None)
    with torch.no_grad():
        patterns = model(pictures(1, size=70)[0], pictures(2, size=20))
    assert patterns.shape == (2, 3, 32, 32)


def test_the_neutral_picture_as_its_own_reference_moves_nothing() -> None:
    model, neutral = tiny_mapping(), pictures(1)
    with torch.no_grad():
        found = model.transfer(neutral, neutral)
    assert torch.equal(found.source_points, found.driving_points)
    identity = torch.linspace(-1, 1, 8)
    assert torch.allclose(found.motion.flow[0, 0, 0, :, 0], identity, atol=1e-5)


def test_a_reference_keeps_the_neutral_pictures_canonical_points() -> None:
    # absolute mode imposes what `transfer` imposes, so both make the same picture
    model = tiny_mapping(output_size=None)
    neutral, references = pictures(1), pictures(2, seed=5)
    with torch.no_grad():
        patterns = model(neutral[0], references)
        pairs = model.transfer(neutral.expand(2, -1, -1, -1), references)
    assert torch.allclose(patterns, pairs.picture, atol=1e-5)
    assert torch.allclose(pairs.canonical[0], pairs.canonical[1], atol=1e-6)


def _points_of(model: StyleMapping, neutral: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """Source and driving keypoints that the dense motion is given."""
    seen: list[tuple[Tensor, ...]] = []
    handle = model.generator.dense_motion.register_forward_pre_hook(
        lambda _, args: seen.append(args)
    )
    with torch.no_grad():
        model(neutral, references)
    handle.remove()
    return seen[0][1], seen[0][2]


@pytest.mark.parametrize("parts", [("rotation",), ("translation",), ("expression",), PARTS])
def test_a_reference_imposes_its_parts_on_the_neutral_pictures_points(
    parts: tuple[str, ...],
) -> None:
    model = tiny_mapping(style_parts=parts)
    neutral, references = pictures(1)[0], pictures(2, seed=5)
    source, driving = _points_of(model, neutral, references)
    with torch.no_grad():
        canonical, ours, theirs = (
            model.canonical(neutral[None]), model.head(neutral[None]), model.head(references)
        )  # fmt: skip
    wanted = place(
        canonical.expand(2, -1, -1),
        HeadMotion(*(
            reference if part in parts else own.expand_as(reference)
            for part, own, reference in zip(PARTS, ours, theirs, strict=True)
        )),
    )  # fmt: skip
    assert torch.allclose(source, place(canonical, ours).expand_as(source), atol=1e-6)
    assert torch.allclose(driving, wanted, atol=1e-6)
    assert not torch.equal(source, driving)


def test_relative_mode_wants_the_person_at_rest_and_then_shows_only_the_change() -> None:
    model = tiny_mapping(mode="relative", output_size=None)
    neutral, rest = pictures(1)[0], pictures(1, seed=8)[0]
    with pytest.raises(SpecError, match="at rest"):
        model(neutral, rest[None])
    with torch.no_grad():
        still = model(neutral, rest[None], rest)
        itself = model(neutral, neutral[None], neutral)
    assert torch.allclose(still, itself, atol=1e-5)


def test_gradients_reach_every_parameter_from_picture_and_points() -> None:
    model = tiny_mapping(decoder="spade").train()
    source, driving = pictures(4), pictures(4, seed=1)
    warp = draw_warps(
        4, affine_sigma=0.1, bend_sigma=0.01, bend_points=3, generator=torch.Generator()
    )
    found = model.transfer(source, driving)
    again = model.points(found.canonical, warp_pictures(warp, driving))
    (
        (found.picture - driving).abs().mean()
        + (found.driving_points[..., :2] - warp_points(warp, again[..., :2])).abs().mean()
    ).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    dead = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.ndim > 1 and not parameter.grad.any()
    ]
    assert dead == []


def test_saved_weights_in_a_new_network_make_the_same_patterns() -> None:
    model = tiny_mapping(seed=0)
    other = StyleMapping(model.spec)
    other.load_state_dict(model.state_dict())
    neutral, references = pictures(1)[0], pictures(2, seed=1)
    with torch.no_grad():
        assert torch.equal(other.eval()(neutral, references), model(neutral, references))


def test_half_precision_makes_nearly_the_same_picture() -> None:
    model, neutral, references = tiny_mapping(), pictures(1)[0], pictures(2, seed=1)

    def made() -> Tensor:
        with torch.no_grad():
            return model(neutral, references)

    whole = made()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = made()
    assert half.dtype == torch.float32
    assert (half - whole).abs().mean() < 0.02


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_fp16_on_a_gpu_makes_nearly_the_same_picture() -> None:
    model = tiny_mapping(decoder="spade").cuda()
    neutral, references = pictures(1)[0].cuda(), pictures(2, seed=1).cuda()
    with torch.no_grad():
        whole = model(neutral, references)
        with torch.autocast("cuda", dtype=torch.float16):
            half = model(neutral, references)
    assert (half - whole).abs().max() < 0.05


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 36}, "multiple of 16"),
        ({"size": 256, "canonical": {"shrink": 4, "levels": 7}}, "multiple of 512"),
        ({"style_parts": ()}, "at least one part"),
        ({"style_parts": ("rotation", "rotation")}, "each once"),
        ({"head": {"widths": (8, 8), "blocks": (1,)}}, "one number"),
        ({"head": {"widths": (6,), "blocks": (1,)}}, "multiples of 4"),
        ({"keypoint": 5}, "no such key"),
    ],
)
def test_a_spec_that_cannot_be_built_is_refused_with_a_sentence(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        tiny_spec(**changes)
