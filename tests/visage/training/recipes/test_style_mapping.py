"""Recipe style-mapping: it learns, each phase moves its own weights, a stop costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from made_clips import write_clip_corpus
from tiny_style_mapping import TINY, pictures
from torch import Tensor, nn

from visage.data.feed import Batch
from visage.data.manifest import Manifest
from visage.data.shards import load_manifest
from visage.errors import TrainingError
from visage.inference.parts import load_part
from visage.media.image import decode_image
from visage.models.style_mapping import StyleMapping
from visage.seeds import rng_of
from visage.specs.style_mapping import StyleMappingSpec, StyleMappingTrainSpec
from visage.store.commit import read_commit
from visage.store.open import open_store
from visage.training.host import SingleHost
from visage.training.recipes import build_recipe
from visage.training.recipes.style_mapping import KIND, StyleMappingRecipe
from visage.training.session import run_training
from visage.training.stepper import Stepper

CPU = torch.device("cpu")
PRESETS = Path(__file__).parents[4] / "jobs" / "visage_jobs" / "configs"


@pytest.fixture(scope="module")
def data_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_clip_corpus(
        tmp_path_factory.mktemp("clips"), train=6, val=2, test=2, size=32, frames=60
    )


@pytest.fixture(scope="module")
def manifest(data_uri: str) -> Manifest:
    return load_manifest(data_uri)[0]


def _spec(**changes: object) -> StyleMappingTrainSpec:
    return StyleMappingTrainSpec.parse({
        "model": TINY,
        "discriminator": {"width": 4, "widest": 8, "blocks": 2},
        "losses": {"perceptual_width": 2, "perceptual_scales": (1.0,), "pixel": 20.0,
                   "head_pose": 0.2},
        "optimizer": {"name": "adam", "lr": 5e-3, "betas": (0.5, 0.999), "weight_decay": 0.0},
        "global_batch": 4, "micro_batch": 4, "epochs": 2.0, "feed_threads": 1,
        **changes,
    })  # fmt: skip


def _batch(step: int = 0, ids: tuple[int, ...] = (0, 1, 2, 3)) -> Batch:
    """Coloured discs on a dark ground; driving shows the same disc elsewhere."""

    def drawn(sample: int, side: int) -> np.ndarray:
        rng = rng_of(sample)
        colour = rng.integers(120, 256, 3)
        places = rng.uniform(10, 22, (2, 2))
        rows, columns = np.mgrid[:32, :32]
        inside = (rows - places[side, 0]) ** 2 + (columns - places[side, 1]) ** 2 < 49
        return np.where(inside[..., None], colour, 30).astype(np.uint8)

    arrays = {
        "source": np.stack([drawn(one, 0) for one in ids]),
        "driving": np.stack([drawn(one, 1) for one in ids]),
        "source_pose": np.zeros((len(ids), 6), np.float32),
        "driving_pose": np.tile(np.array([5, -10, 3, 0, 0, 13], np.float32), (len(ids), 1)),
    }
    return Batch(step=step, ids=np.array(ids, np.int64), arrays=arrays, wait_s=0.0)


def _grads(module: nn.Module) -> list[Tensor | None]:
    return [one.grad for one in module.parameters()]


def test_it_overfits_one_small_batch(manifest: Manifest) -> None:
    fast = {"name": "adam", "lr": 1e-2, "betas": (0.5, 0.999), "weight_decay": 0.0}
    recipe = build_recipe(_spec(optimizer=fast), manifest, CPU)
    stepper = Stepper(recipe, SingleHost(), steps=25, epochs=1.0)
    first = stepper.step(_batch(), 0, {})
    for step in range(1, 25):
        last = stepper.step(_batch(), step, {})
    assert last.loss < 0.6 * first.loss
    assert last.means["pixel"] < first.means["pixel"] / 3
    assert last.means["head_pose"] < first.means["head_pose"] / 2


def test_each_phase_trains_its_own_weights_and_reaches_no_others(manifest: Manifest) -> None:
    recipe = build_recipe(_spec(), manifest, CPU)
    generator, discriminator = recipe.phases
    judge = recipe.companions["discriminator"]
    assert [id(p) for p in generator.module.parameters()] == [
        id(p) for p in recipe.model.parameters()
    ]
    assert [id(p) for p in discriminator.module.parameters()] == [id(p) for p in judge.parameters()]
    tensors = recipe.tensors(_batch(), CPU)
    generator.module(tensors)[0].backward()
    assert all(one is not None for one in _grads(recipe.model))
    assert all(one is None for one in _grads(judge))
    assert all(one.requires_grad for one in judge.parameters())
    recipe.model.zero_grad(set_to_none=True)
    discriminator.module(tensors)[0].backward()
    assert all(one is None for one in _grads(recipe.model))
    assert all(one is not None for one in _grads(judge))


@pytest.mark.parametrize(
    "term", ["gan", "feature_matching", "perceptual", "equivariance", "pixel", "head_pose"]
)
def test_a_term_with_weight_moves_the_generator_side(manifest: Manifest, term: str) -> None:
    silent = dict.fromkeys(
        ("perceptual", "gan", "feature_matching", "equivariance", "keypoint_prior", "head_pose",
         "expression", "pixel"), 0.0,
    )  # fmt: skip
    losses = {**silent, term: 1.0, "perceptual_width": 2, "perceptual_scales": (1.0,)}
    recipe = build_recipe(_spec(losses=losses), manifest, CPU)
    loss, sums = recipe.phases[0].module(recipe.tensors(_batch(), CPU))
    loss.backward()
    assert loss.item() == pytest.approx(sums[term].item() / 4, rel=1e-5)
    assert any(one is not None and one.any() for one in _grads(recipe.model))


def test_the_discriminator_judges_the_pictures_of_this_step_however_it_is_cut(
    manifest: Manifest,
) -> None:
    recipe = build_recipe(_spec(), manifest, CPU)
    generator, discriminator = (phase.module for phase in recipe.phases)
    with pytest.raises(TrainingError, match="after the generator"):
        discriminator(recipe.tensors(_batch(), CPU))
    judged: list[Tensor] = []
    recipe.companions["discriminator"].register_forward_pre_hook(
        lambda _, args: judged.append(args[0])
    )
    tensors = recipe.tensors(_batch(), CPU)
    generator(tensors)
    made = judged[0].detach()
    judged.clear()
    for start in (0, 2):
        discriminator({name: one[start : start + 2] for name, one in tensors.items()})
    assert torch.equal(torch.cat([judged[0], judged[2]]), made)
    assert not judged[0].requires_grad


def test_a_samples_warp_depends_on_step_and_sample_and_on_nothing_beside_it(
    manifest: Manifest,
) -> None:
    recipe = build_recipe(_spec(), manifest, CPU)
    whole = recipe.tensors(_batch(ids=(3, 5, 7)), CPU)
    alone = recipe.tensors(_batch(ids=(5,)), CPU)
    later = recipe.tensors(_batch(step=1, ids=(5,)), CPU)
    for name in ("affine", "bend"):
        assert torch.equal(whole[name][1:2], alone[name])
        assert not torch.equal(later[name], alone[name])


class _Copier(nn.Module):
    """Hands the source back."""

    def transfer(self, source: Tensor, driving: Tensor) -> object:
        class Found:
            picture = source

        return Found()


def test_copying_the_source_scores_exactly_the_baseline_beside_the_score(
    manifest: Manifest,
) -> None:
    recipe = build_recipe(_spec(), manifest, CPU)
    tensors = recipe.tensors(_batch(), CPU)
    sums = recipe.validate(_Copier(), tensors)
    assert recipe.score_name == "-L1"
    assert sums["score"] == -sums["loss"] == -sums["copy_l1"]
    assert sums["psnr_db"] == sums["copy_psnr_db"]
    apart = (tensors["source"] - tensors["driving"]).double() / 2
    assert sums["copy_l1"].item() == pytest.approx(apart.abs().flatten(1).mean(1).sum().item())
    psnr = -10 * apart.square().flatten(1).mean(1).log10()
    assert sums["copy_psnr_db"].item() == pytest.approx(psnr.sum().item())


def test_samples_show_source_driving_and_generated_side_by_side(manifest: Manifest) -> None:
    recipe = build_recipe(_spec(sample_rows=2), manifest, CPU)
    batch = _batch()
    (sample,) = recipe.samples(_Copier(), recipe.tensors(batch, CPU))
    grid = decode_image(sample.body)
    assert (sample.suffix, grid.shape) == ("png", (64, 96, 3))
    for row in range(2):
        tiles = np.split(grid[32 * row : 32 * row + 32], 3, axis=1)
        for tile, wanted in zip(tiles, ("source", "driving", "source"), strict=True):
            assert np.array_equal(tile, batch.arrays[wanted][row])


def test_an_exported_model_makes_the_same_patterns(manifest: Manifest, tmp_path: Path) -> None:
    recipe = build_recipe(_spec(), manifest, CPU)
    store = open_store(str(tmp_path))
    digest = recipe.export(store, "model", recipe.model, metadata={"step": 0})
    part = load_part(
        f"{store.uri}/model", kind=KIND, spec_class=StyleMappingSpec, build=StyleMapping
    )
    assert (part.digest, part.spec) == (digest, recipe.spec.model)  # type: ignore[attr-defined]
    neutral, references = pictures(1)[0], pictures(4, seed=1)
    with torch.no_grad():
        ours = recipe.model.eval()(neutral, references)
        assert torch.equal(part.model(neutral, references), ours)


class _Death(Exception):
    """Stands for SIGKILL inside one process."""


def _run(folder: Path, data_uri: str, *, die_at: int | None = None) -> str:
    calls = 0

    class Host(SingleHost):
        def report(self, event: Mapping[str, object]) -> None:
            pass

        def add(self, values: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            if calls == die_at:
                raise _Death
            return values

    spec = _spec(checkpoint_every_steps=1)
    run_training(
        run_uri=str(folder), spec=spec, recipe_name="style-mapping", data_uri=data_uri, host=Host()
    )
    found = read_commit(open_store(str(folder)), "model")
    assert found is not None
    return found.parts["model.safetensors"].sha256


def test_a_killed_run_continues_to_the_same_weights(data_uri: str, tmp_path: Path) -> None:
    unbroken = _run(tmp_path / "unbroken", data_uri)
    with pytest.raises(_Death):
        _run(tmp_path / "run", data_uri, die_at=4)  # in the second phase of the second step
    assert _run(tmp_path / "run", data_uri) == unbroken


@pytest.mark.parametrize("name", ["style-mapping-small", "style-mapping-paper"])
def test_the_shipped_presets_are_whole(name: str) -> None:
    spec = StyleMappingTrainSpec.load(PRESETS / f"{name}.yaml")
    with torch.device("meta"):
        StyleMapping(spec.model)
    if name.endswith("paper"):
        assert spec.model == StyleMappingSpec()
        assert (spec.optimizer.lr, spec.optimizer.betas) == (1e-4, (0.5, 0.999))
        assert spec.global_batch == 64


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_in_fp16_on_a_gpu_has_nearly_the_loss_of_fp32(manifest: Manifest) -> None:
    found = {}
    for precision in ("fp32", "fp16"):
        recipe: StyleMappingRecipe = build_recipe(  # type: ignore[assignment]
            _spec(precision=precision), manifest, torch.device("cuda")
        )
        host = SingleHost(device=torch.device("cuda"))
        found[precision] = Stepper(recipe, host, steps=1, epochs=1.0).step(_batch(), 0, {})
    assert found["fp16"].loss == pytest.approx(found["fp32"].loss, rel=0.02)
