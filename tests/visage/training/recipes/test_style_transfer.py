"""Promises of the recipe `style-transfer`: what it learns, publishes and shows."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import av
import pyarrow as pa
import pytest
import torch
from made_clips import write_clip_corpus
from tiny_style_transfer import CPU, TINY, style_batch, style_recipe, style_spec, write_motion

from visage.data.clip_rows import CLIP_SCHEMA, unpack_clip
from visage.data.shards import MANIFEST_NAME, ROWS_PART, load_manifest, shard_bytes
from visage.errors import DataError, NotFoundError, SpecError
from visage.inference.parts import load_part, save_part
from visage.inference.style_delta import apply_style, load_style, style_delta
from visage.models.motion import MotionGenerator
from visage.models.style_transfer import StyleFeatures
from visage.specs.motion import MotionSpec
from visage.specs.style_transfer import StyleDeltaSpec, StyleTransferTrainSpec
from visage.store.commit import commit
from visage.store.open import open_store
from visage.training.host import SingleHost
from visage.training.recipes.style_objectives import train_only_motion
from visage.training.recipes.style_pool import StylePool
from visage.training.session import run_training
from visage.training.stepper import Stepper


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_clip_corpus(
        tmp_path_factory.mktemp("clips"), train=8, val=4, test=2, size=32, frames=110
    )


@pytest.fixture(scope="module")
def motion(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_motion(tmp_path_factory.mktemp("motion"))


@pytest.mark.parametrize("mode", ["joint", "adversarial"])
def test_statistics_of_normalisation_and_the_layers_that_hear_stay_as_they_are(clips, motion, mode):
    recipe = style_recipe(clips, motion, mode=mode)
    stepper = Stepper(recipe, SingleHost(), steps=4, epochs=2.0)
    for step in range(3):
        stepper.step(style_batch(recipe, clips, step=step), step, {})
    before, after = recipe.base.model.state_dict(), recipe.model.state_dict()
    for name, value in after.items():
        same = torch.equal(value, before[name])
        if "running" in name or "num_batches" in name or "audio" in name:
            assert same, name
        elif name.startswith(("landmarks.lstm", "landmarks.head")) and "weight" in name:
            assert not same, name


def test_one_small_batch_is_learnt_and_its_style_with_it(clips, motion):
    recipe = style_recipe(clips, motion, lambda_style=0.05, collapse="off")
    stepper = Stepper(recipe, SingleHost(), steps=60, epochs=30.0)
    batch = style_batch(recipe, clips)
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


def test_scores_compare_with_a_clip_that_is_not_learnt_from(motion, tmp_path):
    """Only the validation split moves differently in the second corpus, and only scores differ."""
    one, other = (
        write_clip_corpus(tmp_path / name, train=2, val=2, test=0, size=32, frames=110)
        for name in ("one", "other")
    )
    _stretch(other, "val", 2.0)
    pools = [StylePool(style_spec(uri, motion)) for uri in (one, other)]
    assert torch.equal(pools[0].phi, pools[1].phi)
    assert torch.equal(pools[0].learnt, pools[1].learnt)
    assert not torch.equal(pools[0].clip, pools[0].learnt)
    torch.testing.assert_close(pools[1].clip, 2 * pools[0].clip, atol=1e-4, rtol=0)
    assert pools[0].distances(pools[0].clip).sld == pytest.approx(0, abs=1e-6)
    assert pools[1].distances(pools[0].clip).sld > 0.1


def test_without_a_held_out_clip_of_the_style_scores_are_of_what_is_learnt(motion, tmp_path):
    clips = write_clip_corpus(tmp_path / "clips", train=2, val=0, test=0, size=32, frames=110)
    pool = StylePool(style_spec(clips, motion))
    assert torch.equal(pool.clip, pool.learnt)


def _stretch(uri: str, split: str, factor: float) -> None:
    """Let everybody in a split move further from their mean shape."""
    manifest, store = load_manifest(uri)
    shards = []
    for shard in manifest.shards:
        if shard.split != split:
            shards.append(shard)
            continue
        rows = pa.ipc.open_file(store.get(shard.path)).read_all().to_pylist()
        for row in rows:
            arrays = unpack_clip(row)
            moved = arrays.mean + factor * (arrays.landmarks - arrays.mean)
            row["landmarks"] = moved.astype("<f4").tobytes()
        body = shard_bytes(pa.Table.from_pylist(rows, schema=CLIP_SCHEMA))
        part = commit(store, f"shards/{split}-stretched", {ROWS_PART: body}).parts[ROWS_PART]
        shards.append(
            replace(
                shard, path=f"shards/{split}-stretched/{part.path}", sha256=part.sha256,
                size_bytes=part.size_bytes,
            )
        )  # fmt: skip
    store.replace(MANIFEST_NAME, replace(manifest, shards=tuple(shards)).to_json())


def test_draws_depend_on_the_sample_and_the_step_and_not_on_the_batch(clips, motion):
    recipe = style_recipe(clips, motion)
    whole = recipe.tensors(style_batch(recipe, clips, 4, step=3), CPU)
    part = recipe.tensors(style_batch(recipe, clips, 2, step=3), CPU)
    other = recipe.tensors(style_batch(recipe, clips, 2, step=4), CPU)
    for name in ("style", "gamma", "direction"):
        assert torch.equal(whole[name][:2], part[name]), name
        assert not torch.equal(part[name], other[name]), name
    fixed = style_recipe(clips, motion, gamma=0.3, penalty="paper_literal")
    tensors = fixed.tensors(style_batch(fixed, clips, 2), CPU)
    assert torch.allclose(tensors["gamma"], torch.tensor(0.3))
    assert torch.allclose(tensors["direction"], torch.tensor(1 / 32))


def test_the_run_publishes_a_small_style_that_makes_the_tuned_generator(clips, motion, tmp_path):
    outcome = run_training(
        run_uri=str(tmp_path / "run"), spec=style_spec(clips, motion), recipe_name="style-transfer",
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
    recipe = style_recipe(clips, motion)
    Stepper(recipe, SingleHost(), steps=4, epochs=2.0).step(style_batch(recipe, clips), 0, {})
    recipe.export(open_store(str(tmp_path)), "style", recipe.model, metadata={"step": 1})
    styled = apply_style(recipe.base, load_style(f"{tmp_path}/style"))
    for name, value in recipe.model.state_dict().items():
        assert torch.equal(styled.state_dict()[name], value), name


def test_the_scalar_of_the_penalty_follows_the_mode_unless_it_is_named(clips, motion):
    scalars = {
        mode: style_spec(clips, motion, mode=mode).scalar for mode in ("joint", "adversarial")
    }
    assert scalars == {"joint": "projection", "adversarial": "critic"}
    assert (
        style_spec(clips, motion, mode="adversarial", penalty="projection").scalar == "projection"
    )


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
    recipe = style_recipe(clips, motion)
    tensors = recipe.tensors(style_batch(recipe, clips, 2), CPU)
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
        style_recipe(clips, f"{tmp_path}/nothing")
    with pytest.raises(SpecError, match="no training clip of style 'rap'"):
        style_recipe(clips, motion, style="rap")
    with pytest.raises(DataError, match="there are plain, wide"):
        style_recipe(clips, motion, style="rap", anchor="frozen")
    with pytest.raises(DataError, match="fewer than compare_window"):
        style_recipe(clips, motion, compare_window=200, compare_frames=200)
    with pytest.raises(SpecError, match="motion"):
        StyleTransferTrainSpec.parse({"style_clips": clips})
    part = load_part(motion, kind="motion", spec_class=MotionSpec, build=MotionGenerator)
    deaf: Mapping[str, object] = {"audio_encoder": "runs/apc/model", "audio_encoder_digest": "x"}
    store = open_store(str(tmp_path))
    save_part(store, "model", part.model, kind="motion", spec=TINY, metadata=deaf)
    with pytest.raises(SpecError, match="runs/apc/model"):
        style_recipe(clips, f"{tmp_path}/model")


def test_f_of_the_paper_is_a_companion_with_its_published_size(clips, motion):
    recipe = style_recipe(clips, motion, features={})
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
