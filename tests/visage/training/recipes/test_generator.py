"""Promises of recipe `generator`: it learns, phases move their own weights, patterns are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from made_clips import made_clip, write_clip_corpus
from tiny_style_mapping import tiny_mapping
from torch import Tensor, nn

from visage.data.feed import Batch
from visage.data.manifest import Manifest
from visage.data.shards import load_manifest
from visage.faces.regions import MOUTH
from visage.inference.generator import load_generator
from visage.inference.parts import save_part
from visage.models.generator.losses import weighted_l1
from visage.seeds import rng_of
from visage.specs.generator import GeneratorTrainSpec
from visage.store.open import open_store
from visage.training.host import SingleHost
from visage.training.recipes.generator import GeneratorRecipe
from visage.training.recipes.generator_phases import surroundings_of_mouth
from visage.training.stepper import Stepper

SIZE, BATCH = 32, 4
CPU = torch.device("cpu")
TINY = {
    "model": {"size": SIZE, "widths": (8, 12, 16), "norm": "instance",
              "map": {"antialias": True, "thickness_px": 1.0}},
    "judge": {"width": 4, "layers": 2, "norm": "instance"},
    "losses": {"perceptual_width": 2, "gram_scale": 10.0,
               "style": {"warmup_steps": 0, "match_size": 16}},
    "global_batch": BATCH,
    "micro_batch": BATCH,
    "optimizer": {"name": "adam", "lr": 4e-3, "betas": (0.5, 0.999), "weight_decay": 0.0},
    "precision": "fp32",
}  # fmt: skip


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    uri = write_clip_corpus(
        tmp_path_factory.mktemp("clips"), train=2, val=1, test=1, size=SIZE, frames=30
    )
    return load_manifest(uri)[0]


def _recipe(manifest: Manifest, **changes: object) -> GeneratorRecipe:
    values = {**TINY, **changes}
    for key in ("losses", "model"):
        values[key] = {**TINY[key], **changes.get(key, {})}  # type: ignore[dict-item, arg-type]
    return GeneratorRecipe(GeneratorTrainSpec.parse(values), manifest, CPU)


def _batch(recipe: GeneratorRecipe, *, step: int = 0, training: bool = True) -> Batch:
    decode = recipe.decoder(training=training)
    ones = []
    for index in range(BATCH):
        row = {"key": f"clip {index}", **made_clip(f"clip {index}", frames=60, size=SIZE)}
        ones.append(decode(row, rng_of("frame", index)))
    arrays = {name: np.stack([one[name] for one in ones]) for name in ones[0]}
    return Batch(step=step, ids=np.arange(BATCH), arrays=arrays, wait_s=0.0)


def _gradients(module: nn.Module) -> list[bool]:
    return [bool(one.grad is not None and one.grad.abs().sum() > 0) for one in module.parameters()]


def test_it_overfits_one_batch(manifest: Manifest) -> None:
    recipe = _recipe(manifest)
    stepper = Stepper(recipe, SingleHost(), steps=18, epochs=1)
    batch = _batch(recipe)
    results = [stepper.step(batch, step, {}) for step in range(18)]
    assert results[-1].means["l1"] < 0.3 * results[0].means["l1"]
    assert results[-1].loss < 0.5 * results[0].loss
    assert {"l1", "perceptual", "gram", "gan", "feature_matching", "style", "judge"} == set(
        results[0].means
    )


def test_the_generators_phase_moves_the_generator_alone(manifest: Manifest) -> None:
    recipe = _recipe(manifest)
    generator, judge = recipe.phases
    tensors = recipe.tensors(_batch(recipe), CPU)
    generator.module(tensors)[0].backward()
    assert all(_gradients(recipe.model))
    assert not any(_gradients(recipe.companions["judge"]))
    assert all(one.requires_grad for one in recipe.companions["judge"].parameters())
    recipe.model.zero_grad(set_to_none=True)
    judge.module(tensors)[0].backward()
    assert not any(_gradients(recipe.model))
    assert all(_gradients(recipe.companions["judge"]))


def test_each_phase_trains_exactly_its_own_parameters(manifest: Manifest) -> None:
    recipe = _recipe(manifest)
    for phase, network in zip(
        recipe.phases, (recipe.model, recipe.companions["judge"]), strict=True
    ):
        ours = {id(one) for one in phase.module.parameters()}
        assert ours == {id(one) for one in network.parameters()}
        assert ours == {id(p) for group in phase.optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize(
    ("losses", "absent"),
    [
        ({"perceptual": 0.0, "gram": 0.0}, {"perceptual", "gram"}),
        ({"gan": 0.0, "feature_matching": 0.0}, {"gan", "feature_matching"}),
        ({"style": {"weight": 0.0}}, {"style"}),
        ({}, {"mouth_l1"}),
    ],
)
def test_a_loss_without_weight_is_not_computed(
    manifest: Manifest, losses: dict[str, object], absent: set[str]
) -> None:
    recipe = _recipe(manifest, losses=losses)
    _, sums = recipe.phases[0].module(recipe.tensors(_batch(recipe), CPU))
    assert not absent & set(sums)


def test_the_mouths_own_l1_hears_of_the_mouth_alone_and_is_the_same_for_small_ones(
    manifest: Manifest,
) -> None:
    recipe = _recipe(manifest, losses={"mouth_l1": 100.0})
    tensors = recipe.tensors(_batch(recipe), CPU)
    assert recipe.phases[0].module(tensors)[1]["mouth_l1"] > 0
    target, around = tensors["target"], surroundings_of_mouth(tensors["regions"])
    assert ((tensors["regions"] == MOUTH)[:, None] <= around.bool()).all()
    assert 0 < around.mean() < 0.25
    assert weighted_l1(target + 0.4 * (1 - around), target, around).max() == 0
    small = around.clone()
    small[1:] = torch.nn.functional.max_pool2d(small[1:], 5, stride=1, padding=2)
    for weights in (around, small):
        assert weighted_l1(target + 0.4 * weights, target, weights).tolist() == pytest.approx(
            [0.4] * BATCH, rel=1e-5
        )


def test_a_batch_cut_in_two_has_the_loss_of_the_whole(manifest: Manifest) -> None:
    recipe = _recipe(manifest)
    tensors = recipe.tensors(_batch(recipe), CPU)
    whole = recipe.phases[0].module(tensors)[0]
    halves = [
        recipe.phases[0].module({name: one[part] for name, one in tensors.items()})[0]
        for part in (slice(0, 2), slice(2, 4))
    ]
    assert (sum(halves) / 2).item() == pytest.approx(whole.item(), rel=1e-5)


def test_the_style_loss_warms_up_with_the_step(manifest: Manifest) -> None:
    style = {**TINY["losses"]["style"], "warmup_steps": 10}  # type: ignore[index]
    silent = {"l1": 0.0, "perceptual": 0.0, "gram": 0.0, "gan": 0.0, "feature_matching": 0.0}
    recipe = _recipe(manifest, losses={**silent, "style": style})

    def loss(step: int) -> float:
        tensors = recipe.tensors(_batch(recipe, step=step), CPU)
        return recipe.phases[0].module(tensors)[0].item()

    full = loss(9)
    assert full > 0
    assert loss(0) == pytest.approx(full / 10)
    assert loss(4) == pytest.approx(full / 2)
    assert loss(500) == pytest.approx(full)


def test_foreign_samples_see_the_next_samples_patterns_and_no_style_loss(
    manifest: Manifest,
) -> None:
    own, foreign = _recipe(manifest), _recipe(manifest, foreign_patterns=1.0)
    batch = _batch(foreign)
    batch_of_own = _batch(own)
    theirs, ours = foreign.tensors(batch, CPU), own.tensors(batch_of_own, CPU)
    assert torch.equal(theirs["patterns"], ours["patterns"].roll(-1, 0))
    assert torch.equal(theirs["conditions"][:, 4:], theirs["patterns"].flatten(1, 2))
    assert foreign.phases[0].module(theirs)[1]["style"] == 0
    assert own.phases[0].module(ours)[1]["style"] > 0
    shown = foreign.tensors(_batch(foreign, training=False), CPU)
    assert not shown["is_foreign"].any()


def test_the_source_is_another_frame_of_the_same_face(manifest: Manifest) -> None:
    recipe = _recipe(manifest)
    tensors = recipe.tensors(_batch(recipe), CPU)
    for source, target in zip(tensors["source"], tensors["target"], strict=True):
        assert not torch.equal(source, target)
        assert (source - target).abs().mean() < 0.2


class _Copies(nn.Module):
    """Gives the source back."""

    def forward(self, conditions: Tensor) -> Tensor:
        return conditions[:, 1:4]


def test_copying_the_source_scores_as_the_baseline_says(manifest: Manifest) -> None:
    recipe = _recipe(manifest)
    tensors = recipe.tensors(_batch(recipe, training=False), CPU)
    seen = recipe.validate(_Copies(), tensors)
    assert seen["loss"].item() == pytest.approx(seen["copy_l1"].item())
    assert -seen["score"].item() == pytest.approx(seen["copy_mouth_l1"].item())
    expected = 0.0
    for n in range(BATCH):
        mouth = tensors["regions"][n] == MOUTH
        apart = (tensors["source"][n] - tensors["target"][n]).abs() / 2
        expected += apart[:, mouth].mean().item()
    assert seen["copy_mouth_l1"].item() == pytest.approx(expected, rel=1e-5)


def test_sharpness_is_reported_where_it_is_defined(manifest: Manifest) -> None:
    small = _recipe(manifest)
    model = {"size": 64}
    large = _recipe(manifest, model=model)
    for recipe, is_there in ((small, False), (large, True)):
        tensors = recipe.tensors(_batch(recipe, training=False), CPU)
        assert ("cpbd" in recipe.validate(_Copies(), tensors)) == is_there


def test_patterns_come_from_a_style_mapping_once(manifest: Manifest, tmp_path: Path) -> None:
    mapping = tiny_mapping()
    uri = f"{tmp_path}/mapping"
    digest = save_part(
        open_store(str(tmp_path)), "mapping", mapping, kind="style-mapping", spec=mapping.spec
    )
    recipe = _recipe(manifest, style_mapping=uri)
    batch = _batch(recipe)
    tensors = recipe.tensors(batch, CPU)
    assert tensors["patterns"].shape == (BATCH, 4, 3, SIZE, SIZE)
    assert not torch.equal(tensors["patterns"], _recipe(manifest).tensors(batch, CPU)["patterns"])
    made = recipe.patterns_computed
    assert made == 4 * BATCH
    assert torch.equal(recipe.tensors(batch, CPU)["conditions"], tensors["conditions"])
    assert recipe.patterns_computed == made
    recipe.export(open_store(str(tmp_path)), "generator", recipe.model, metadata={"step": 1})
    found = load_generator(f"{tmp_path}/generator")
    assert found.metadata == {"step": 1, "patterns": digest, "style_mapping": uri}


def test_what_was_exported_gives_the_same_frames(manifest: Manifest, tmp_path: Path) -> None:
    recipe = _recipe(manifest)
    stepper = Stepper(recipe, SingleHost(), steps=2, epochs=1)
    for step in range(2):
        stepper.step(_batch(recipe, step=step), step, {})
    recipe.export(open_store(str(tmp_path)), "generator", recipe.model, metadata={})
    part = load_generator(f"{tmp_path}/generator")
    assert part.metadata == {"patterns": "references", "style_mapping": None}
    assert part.spec == recipe.spec.model
    conditions = recipe.tensors(_batch(recipe), CPU)["conditions"]
    with torch.no_grad():
        assert torch.equal(part.model(conditions), recipe.model.eval()(conditions))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="half precision needs a GPU")
def test_half_precision_agrees_with_single_precision(manifest: Manifest) -> None:
    losses = {}
    for precision in ("fp32", "fp16"):
        values = {**TINY, "precision": precision}
        device = torch.device("cuda")
        recipe = GeneratorRecipe(GeneratorTrainSpec.parse(values), manifest, device)
        stepper = Stepper(recipe, SingleHost(device=device), steps=20, epochs=1)
        batch = _batch(recipe)
        losses[precision] = [stepper.step(batch, step, {}).loss for step in range(20)]
    assert losses["fp16"][0] == pytest.approx(losses["fp32"][0], rel=2e-2)
    assert losses["fp16"][-1] < 0.7 * losses["fp16"][0]
