"""Promises of L_transfer: who is trained by what, and what happens when f goes blind."""

from __future__ import annotations

import pytest
import torch
from made_clips import write_clip_corpus
from tiny_style_transfer import CPU, style_batch, style_recipe, style_spec, write_motion
from torch import nn

from visage.data.shards import ShardRows, load_manifest
from visage.errors import CollapseError
from visage.models.style_transfer import StyleFeatures
from visage.training.host import SingleHost
from visage.training.recipes.style_transfer import StyleTransferRecipe
from visage.training.stepper import Stepper


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_clip_corpus(
        tmp_path_factory.mktemp("clips"), train=8, val=4, test=2, size=32, frames=110
    )


@pytest.fixture(scope="module")
def motion(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_motion(tmp_path_factory.mktemp("motion"))


def _trained(module: nn.Module) -> set[str]:
    """Names of parameters with a gradient other than 0."""
    return {
        name for name, one in module.named_parameters()
        if one.grad is not None and float(one.grad.abs().sum()) > 0
    }  # fmt: skip


def _backward(recipe: StyleTransferRecipe, phase: int, uri: str) -> None:
    module = recipe.phases[phase].module
    module.zero_grad()
    loss, _ = module(recipe.tensors(style_batch(recipe, uri), CPU))
    loss.backward()


MOTION_PARTS = ("model.landmarks.lstm", "model.landmarks.head", "model.pose.wavenet")


@pytest.mark.parametrize("anchor", ["paired", "frozen"])
def test_the_joint_phase_trains_motion_and_f_and_nothing_else(clips, motion, anchor):
    recipe = style_recipe(clips, motion, anchor=anchor)
    (phase,) = recipe.phases
    _backward(recipe, 0, clips)
    names = _trained(phase.module)
    for part in (*MOTION_PARTS[: 3 if anchor == "paired" else 2], "features.layers"):
        assert any(name.startswith(part) for name in names), part
    assert not any("audio" in name for name in names)
    if anchor == "frozen":
        assert not any(name.startswith("model.pose") for name in names)
    held = {id(one) for group in phase.optimizer.param_groups for one in group["params"]}
    learnable = {id(one) for one in phase.module.parameters() if one.requires_grad}
    assert held == learnable
    assert not any(one.requires_grad for one in recipe.base.model.parameters())
    assert all(one.grad is None for one in recipe.base.model.parameters())


def test_the_adversarial_phases_train_one_side_each(clips, motion):
    recipe = style_recipe(clips, motion, mode="adversarial")
    generator, features = recipe.phases
    _backward(recipe, 0, clips)
    assert _trained(generator.module)
    assert not _trained(recipe.companions["features"])
    assert all(one.requires_grad for one in recipe.companions["features"].parameters())
    generator.module.zero_grad()
    _backward(recipe, 1, clips)
    assert _trained(recipe.companions["features"])
    assert not _trained(recipe.model)
    assert {id(one) for one in features.module.parameters()} == {
        id(one) for one in recipe.companions["features"].parameters()
    }


def test_in_adversarial_mode_f_looks_for_what_the_generator_hides(clips, motion):
    recipe = style_recipe(clips, motion, mode="adversarial", lambda_penalty=0.0, collapse="off")
    tensors = recipe.tensors(style_batch(recipe, clips), CPU)
    features = recipe.phases[1]
    losses = []
    for _ in range(5):
        loss, _ = features.module(tensors)
        features.optimizer.zero_grad()
        loss.backward()
        features.optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] <= 0


def test_the_frozen_anchor_starts_where_the_base_is_and_holds_on_to_it(clips, motion):
    recipe = style_recipe(clips, motion, anchor="frozen", lambda_style=0.0)
    tensors = recipe.tensors(style_batch(recipe, clips), CPU)
    made = recipe._terms.generated(recipe.model.eval(), tensors)
    assert float(made.loss.detach()) == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        recipe.model.landmarks.head.layers[-1].bias += 0.1
    assert float(recipe._terms.generated(recipe.model, tensors).loss.detach()) > 1


def test_clips_of_other_styles_are_anchored_and_only_those_of_the_style_paired(clips, motion):
    recipe = style_recipe(clips, motion)
    tensors = recipe.tensors(style_batch(recipe, clips), CPU)
    rows = ShardRows(*load_manifest(clips), "train")
    assert tensors["paired"].tolist() == [one == "wide" for one in rows.column("style")[:4]]
    assert 0 < int(tensors["paired"].sum()) < 4
    recipe.model.eval()
    with torch.no_grad():
        alone = {name: one[~tensors["paired"]] for name, one in tensors.items()}
        anchored = recipe._terms.generated(recipe.model, alone)
        assert float(anchored.loss) == pytest.approx(0, abs=1e-5)
        pairs = {name: one[tensors["paired"]] for name, one in tensors.items()}
        assert float(recipe._terms.generated(recipe.model, pairs).loss) > 0.1


def _flattened(recipe: StyleTransferRecipe) -> StyleTransferRecipe:
    """With an f that hardly tells landmarks apart."""
    features = recipe.companions["features"]
    assert isinstance(features, StyleFeatures)
    with torch.no_grad():
        features.layers[-1].weight *= 0.05
    return recipe


@pytest.mark.parametrize("mode", ["joint", "adversarial"])
def test_a_collapsed_f_ends_the_run_with_its_reason(clips, motion, mode):
    recipe = _flattened(style_recipe(clips, motion, mode=mode, collapse="stop"))
    stepper = Stepper(recipe, SingleHost(), steps=4, epochs=2.0)
    with pytest.raises(CollapseError, match="collapse=reweigh"):
        stepper.step(style_batch(recipe, clips), 0, {})


def test_a_collapsed_f_is_pulled_up_again_if_it_is_reweighed(clips, motion):
    recipe = _flattened(
        style_recipe(clips, motion, collapse="reweigh", collapse_boost=1e4, lambda_style=1e-3)
    )
    stepper = Stepper(recipe, SingleHost(), steps=60, epochs=30.0)
    results = [stepper.step(style_batch(recipe, clips, step=one), one, {}) for one in range(40)]
    first, last = results[0], results[-1]
    assert first.loss > 0.9e4 * first.means["l_r"]
    assert first.means["feature_gradient"] < 0.1
    assert last.means["feature_gradient"] > 0.3
    assert last.loss < 100


def test_while_f_is_pulled_up_the_constraint_moves_the_generator_alone(clips, motion):
    recipe = _flattened(
        style_recipe(clips, motion, collapse="reweigh", lambda_penalty=0.0, lambda_style=10.0)
    )
    _backward(recipe, 0, clips)
    names = _trained(recipe.phases[0].module)
    assert any(name.startswith("model.landmarks") for name in names)
    assert not any(name.startswith("features") for name in names)
    # every weight took part, so ranks exchange the same gradients
    assert all(one.grad is not None for one in recipe.companions["features"].parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_half_precision_gives_nearly_the_losses_of_single(clips, motion):
    device = torch.device("cuda")
    recipe = StyleTransferRecipe(style_spec(clips, motion), load_manifest(clips)[0], device)
    tensors = recipe.tensors(style_batch(recipe, clips), device)
    torch.manual_seed(0)
    full, _ = recipe.phases[0].module(tensors)
    torch.manual_seed(0)
    with torch.autocast("cuda", dtype=torch.float16):
        half, _ = recipe.phases[0].module(tensors)
    assert float(half.detach()) == pytest.approx(float(full.detach()), rel=2e-2)
