"""Promises of the recipe `style-transfer`: what is trained, by what, and what comes of it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from made_clips import write_clip_corpus
from torch import nn

from visage.data.feed import Batch
from visage.data.shards import ShardRows, load_manifest
from visage.errors import CollapseError, DataError, NotFoundError, SpecError
from visage.inference.parts import load_part, save_part
from visage.inference.style_delta import apply_style, load_style, style_delta
from visage.models.motion import MotionGenerator
from visage.models.style_transfer import StyleFeatures
from visage.seeds import rng_of
from visage.specs.motion import MotionSpec
from visage.specs.style_transfer import StyleDeltaSpec, StyleTransferTrainSpec
from visage.store.open import open_store
from visage.training.host import SingleHost
from visage.training.recipes import build_recipe
from visage.training.recipes.style_objectives import train_only_motion
from visage.training.recipes.style_transfer import StyleTransferRecipe
from visage.training.session import run_training
from visage.training.stepper import Stepper

CPU = torch.device("cpu")
TINY = MotionSpec.parse(
    {
        "feature_channels": 80,
        "landmark_look_ahead": 4,
        "pose_look_ahead": 4,
        "landmark_net": {"mlp_width": 24, "lstm_width": 24, "lstm_layers": 1, "head_width": 24},
        "pose_net": {
            "mlp_width": 8, "channels": 8, "skip_channels": 8, "blocks": 1, "layers": 3,
            "input_dropout": 0.1,
        },
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_clip_corpus(
        tmp_path_factory.mktemp("clips"), train=8, val=4, test=2, size=32, frames=110
    )


@pytest.fixture(scope="module")
def motion(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A generator that moves a little, though it has learnt nothing."""
    folder = tmp_path_factory.mktemp("motion")
    torch.manual_seed(0)
    model = MotionGenerator(TINY)
    with torch.no_grad():
        model.landmarks.head.layers[-1].weight *= 0.1
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_var.fill_(0.5)
    save_part(open_store(str(folder)), "model", model, kind="motion", spec=TINY)
    return f"{folder}/model"


def _spec(clips: str, motion: str, **changes: object) -> StyleTransferTrainSpec:
    values = {
        "motion": motion,
        "style_clips": clips,
        "style": "wide",
        "features": {"widths": [64, 32]},
        "window": 60,
        "lead_in": 8,
        "optimizer": {"name": "adam", "lr": 3e-3, "weight_decay": 0.0},
        "features_optimizer": {"name": "adam", "lr": 3e-3, "weight_decay": 0.0},
        "compare_frames": 60,
        "max_steps": 6,
        "global_batch": 4,
        "micro_batch": 4,
        "feed_threads": 1,
        "samples": 1,
        "validate_every_epochs": 1.5,
    }
    return StyleTransferTrainSpec.parse({**values, **changes})


def _recipe(clips: str, motion: str, **changes: object) -> StyleTransferRecipe:
    recipe = build_recipe(_spec(clips, motion, **changes), load_manifest(clips)[0], CPU)
    assert isinstance(recipe, StyleTransferRecipe)
    return recipe


def _batch(recipe: StyleTransferRecipe, uri: str, count: int = 4, step: int = 0) -> Batch:
    rows = ShardRows(*load_manifest(uri), "train")
    decode = recipe.decoder(training=False)
    ones = [decode(rows.row(index), rng_of(index)) for index in range(count)]
    arrays = {name: np.stack([one[name] for one in ones]) for name in ones[0]}
    return Batch(step=step, ids=np.arange(count), arrays=arrays, wait_s=0.0)


def _trained(module: nn.Module) -> set[str]:
    """Names of parameters with a gradient other than 0."""
    return {
        name for name, one in module.named_parameters()
        if one.grad is not None and float(one.grad.abs().sum()) > 0
    }  # fmt: skip


def _backward(recipe: StyleTransferRecipe, phase: int, uri: str) -> None:
    module = recipe.phases[phase].module
    module.zero_grad()
    loss, _ = module(recipe.tensors(_batch(recipe, uri), CPU))
    loss.backward()


MOTION_PARTS = ("model.landmarks.lstm", "model.landmarks.head", "model.pose.wavenet")


@pytest.mark.parametrize("anchor", ["paired", "frozen"])
def test_the_joint_phase_trains_motion_and_f_and_nothing_else(clips, motion, anchor):
    recipe = _recipe(clips, motion, anchor=anchor)
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
    recipe = _recipe(clips, motion, mode="adversarial")
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
    recipe = _recipe(clips, motion, mode="adversarial", lambda_penalty=0.0, collapse="off")
    tensors = recipe.tensors(_batch(recipe, clips), CPU)
    features = recipe.phases[1]
    losses = []
    for _ in range(5):
        loss, _ = features.module(tensors)
        features.optimizer.zero_grad()
        loss.backward()
        features.optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] <= 0


@pytest.mark.parametrize("mode", ["joint", "adversarial"])
def test_statistics_of_normalisation_and_the_layers_that_hear_stay_as_they_are(clips, motion, mode):
    recipe = _recipe(clips, motion, mode=mode)
    stepper = Stepper(recipe, SingleHost(), steps=4, epochs=2.0)
    for step in range(3):
        stepper.step(_batch(recipe, clips, step=step), step, {})
    before, after = recipe.base.model.state_dict(), recipe.model.state_dict()
    for name, value in after.items():
        same = torch.equal(value, before[name])
        if "running" in name or "num_batches" in name or "audio" in name:
            assert same, name
        elif name.startswith(("landmarks.lstm", "landmarks.head")) and "weight" in name:
            assert not same, name


def test_one_small_batch_is_learnt_and_its_style_with_it(clips, motion):
    recipe = _recipe(clips, motion, lambda_style=0.05, collapse="off")
    stepper = Stepper(recipe, SingleHost(), steps=60, epochs=30.0)
    batch = _batch(recipe, clips)
    tensors = recipe.tensors(batch, CPU)
    recipe.model.eval()
    with torch.no_grad():
        before = recipe.validate(recipe.model, tensors)
    losses = [stepper.step(batch, step, {}).loss for step in range(60)]
    recipe.model.eval()
    with torch.no_grad():
        after = recipe.validate(recipe.model, tensors)
    assert losses[-1] < losses[0] / 2
    assert after["l_mg"] < before["l_mg"] / 2
    assert after["sld"] < 0.7 * before["sld"]
    assert (
        after["sld_before"] == before["sld_before"] == pytest.approx(float(before["sld"]), rel=1e-5)
    )
    assert after["score"] == -after["sld"]


def test_the_frozen_anchor_starts_where_the_base_is_and_holds_on_to_it(clips, motion):
    recipe = _recipe(clips, motion, anchor="frozen", lambda_style=0.0)
    tensors = recipe.tensors(_batch(recipe, clips), CPU)
    made = recipe._terms.generated(recipe.model.eval(), tensors)
    assert float(made.loss.detach()) == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        recipe.model.landmarks.head.layers[-1].bias += 0.1
    assert float(recipe._terms.generated(recipe.model, tensors).loss.detach()) > 1


def test_clips_of_other_styles_are_anchored_and_only_those_of_the_style_paired(clips, motion):
    recipe = _recipe(clips, motion)
    tensors = recipe.tensors(_batch(recipe, clips), CPU)
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


def test_draws_depend_on_the_sample_and_the_step_and_not_on_the_batch(clips, motion):
    recipe = _recipe(clips, motion)
    whole = recipe.tensors(_batch(recipe, clips, 4, step=3), CPU)
    part = recipe.tensors(_batch(recipe, clips, 2, step=3), CPU)
    other = recipe.tensors(_batch(recipe, clips, 2, step=4), CPU)
    for name in ("style", "gamma", "direction"):
        assert torch.equal(whole[name][:2], part[name]), name
        assert not torch.equal(part[name], other[name]), name
    fixed = _recipe(clips, motion, gamma=0.3, penalty="paper_literal")
    tensors = fixed.tensors(_batch(fixed, clips, 2), CPU)
    assert torch.allclose(tensors["gamma"], torch.tensor(0.3))
    assert torch.allclose(tensors["direction"], torch.tensor(1 / 32))


def _flattened(recipe: StyleTransferRecipe) -> StyleTransferRecipe:
    """With an f that hardly tells landmarks apart."""
    features = recipe.companions["features"]
    assert isinstance(features, StyleFeatures)
    with torch.no_grad():
        features.layers[-1].weight *= 0.05
    return recipe


@pytest.mark.parametrize("mode", ["joint", "adversarial"])
def test_a_collapsed_f_ends_the_run_with_its_reason(clips, motion, mode):
    recipe = _flattened(_recipe(clips, motion, mode=mode, collapse="stop"))
    stepper = Stepper(recipe, SingleHost(), steps=4, epochs=2.0)
    with pytest.raises(CollapseError, match="collapse=reweigh"):
        stepper.step(_batch(recipe, clips), 0, {})


def test_a_collapsed_f_is_pulled_up_again_if_it_is_reweighed(clips, motion):
    recipe = _flattened(
        _recipe(clips, motion, collapse="reweigh", collapse_boost=1e4, lambda_style=1e-3)
    )
    stepper = Stepper(recipe, SingleHost(), steps=60, epochs=30.0)
    results = [stepper.step(_batch(recipe, clips, step=one), one, {}) for one in range(40)]
    first, last = results[0], results[-1]
    assert first.loss > 0.9e4 * first.means["l_r"]
    assert first.means["feature_gradient"] < 0.1
    assert last.means["feature_gradient"] > 0.3
    assert last.loss < 100


def test_while_f_is_pulled_up_the_constraint_moves_the_generator_alone(clips, motion):
    recipe = _flattened(
        _recipe(clips, motion, collapse="reweigh", lambda_penalty=0.0, lambda_style=10.0)
    )
    _backward(recipe, 0, clips)
    names = _trained(recipe.phases[0].module)
    assert any(name.startswith("model.landmarks") for name in names)
    assert not any(name.startswith("features") for name in names)
    # every weight took part, so ranks exchange the same gradients
    assert all(one.grad is not None for one in recipe.companions["features"].parameters())


def test_the_run_publishes_a_small_style_that_makes_the_tuned_generator(clips, motion, tmp_path):
    outcome = run_training(
        run_uri=str(tmp_path / "run"), spec=_spec(clips, motion), recipe_name="style-transfer",
        data_uri=clips, host=SingleHost(),
    )  # fmt: skip
    assert outcome.score is not None
    assert outcome.score < 0
    delta = load_style(outcome.model_uri)
    assert delta.name == "wide"
    assert delta.metadata["motion"] == motion
    assert {name.split(".")[1] for name in delta.tensors} <= {"lstm", "head", "wavenet"}
    base = load_part(motion, kind="motion", spec_class=MotionSpec, build=MotionGenerator)
    styled = apply_style(base, delta)
    features = torch.rand(1, 40, 80)
    apart = styled.displacements(features) - base.model.displacements(features)
    assert float(apart.detach().abs().max()) > 0


def test_the_exported_style_is_the_validated_model(clips, motion, tmp_path):
    recipe = _recipe(clips, motion)
    Stepper(recipe, SingleHost(), steps=4, epochs=2.0).step(_batch(recipe, clips), 0, {})
    recipe.export(open_store(str(tmp_path)), "style", recipe.model, metadata={"step": 1})
    styled = apply_style(recipe.base, load_style(f"{tmp_path}/style"))
    for name, value in recipe.model.state_dict().items():
        assert torch.equal(styled.state_dict()[name], value), name


def test_the_scalar_of_the_penalty_follows_the_mode_unless_it_is_named(clips, motion):
    scalars = {mode: _spec(clips, motion, mode=mode).scalar for mode in ("joint", "adversarial")}
    assert scalars == {"joint": "projection", "adversarial": "critic"}
    assert _spec(clips, motion, mode="adversarial", penalty="projection").scalar == "projection"


def test_a_style_of_the_full_size_is_at_most_25_megabytes():
    base = MotionGenerator(MotionSpec())
    tuned = MotionGenerator(MotionSpec())
    tuned.load_state_dict(base.state_dict())
    train_only_motion(tuned, pose=True)
    with torch.no_grad():
        for one in tuned.parameters():
            if one.requires_grad:
                one += 1
    delta = style_delta(base, tuned, spec=StyleDeltaSpec(name="full", base="d"))
    assert 20e6 < delta.size_bytes <= 25e6


def test_samples_are_clips_with_sound_of_before_after_and_the_style(clips, motion):
    recipe = _recipe(clips, motion)
    tensors = recipe.tensors(_batch(recipe, clips, 2), CPU)
    with torch.no_grad():
        (sample,) = recipe.samples(recipe.model.eval(), tensors)
    assert (sample.name, sample.suffix) == ("style-0", "mp4")
    with av.open(io.BytesIO(sample.body)) as container:
        frames = list(container.decode(video=0))
        assert (frames[0].width, frames[0].height) == (3 * 192, 192)
        assert len(frames) == 60
        assert container.streams.audio


def test_what_does_not_belong_together_is_refused_before_training(clips, motion, tmp_path):
    with pytest.raises(NotFoundError, match="visage train motion"):
        _recipe(clips, f"{tmp_path}/nothing")
    with pytest.raises(SpecError, match="no training clip of style 'rap'"):
        _recipe(clips, motion, style="rap")
    with pytest.raises(DataError, match="there are plain, wide"):
        _recipe(clips, motion, style="rap", anchor="frozen")
    with pytest.raises(DataError, match="fewer than compare_window"):
        _recipe(clips, motion, compare_window=200, compare_frames=200)
    with pytest.raises(SpecError, match="motion"):
        StyleTransferTrainSpec.parse({"style_clips": clips})
    part = load_part(motion, kind="motion", spec_class=MotionSpec, build=MotionGenerator)
    deaf: Mapping[str, object] = {"audio_encoder": "runs/apc/model", "audio_encoder_digest": "x"}
    store = open_store(str(tmp_path))
    save_part(store, "model", part.model, kind="motion", spec=TINY, metadata=deaf)
    with pytest.raises(SpecError, match="runs/apc/model"):
        _recipe(clips, f"{tmp_path}/model")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_half_precision_gives_nearly_the_losses_of_single(clips, motion):
    device = torch.device("cuda")
    recipe = StyleTransferRecipe(_spec(clips, motion), load_manifest(clips)[0], device)
    tensors = recipe.tensors(_batch(recipe, clips), device)
    torch.manual_seed(0)
    full, _ = recipe.phases[0].module(tensors)
    torch.manual_seed(0)
    with torch.autocast("cuda", dtype=torch.float16):
        half, _ = recipe.phases[0].module(tensors)
    assert float(half.detach()) == pytest.approx(float(full.detach()), rel=2e-2)


def test_f_of_the_paper_is_a_companion_with_its_published_size(clips, motion):
    recipe = _recipe(clips, motion, features={})
    features = recipe.companions["features"]
    assert isinstance(features, StyleFeatures)
    assert sum(one.numel() for one in features.parameters()) == 866_048


@pytest.mark.parametrize("name", ["style-transfer-small", "style-transfer-paper"])
def test_the_shipped_presets_are_whole(name):
    presets = Path(__file__).parents[4] / "jobs" / "visage_jobs" / "configs"
    spec = StyleTransferTrainSpec.load(
        presets / f"{name}.yaml", assignments=["motion=a/model", "style_clips=b"]
    )
    assert spec.recipe == "style-transfer"
    if name.endswith("paper"):
        assert spec.features.widths == (1024, 512, 256)
        assert (spec.optimizer.lr, spec.global_batch, spec.max_steps) == (1e-4, 64, 1000)
