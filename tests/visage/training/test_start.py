"""Promises of fine-tuning: a run begins with what was published, or says why it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from made_clips import write_clip_corpus

from visage.data.manifest import Manifest
from visage.data.shards import load_manifest
from visage.errors import CorruptError, NotFoundError, SpecError
from visage.specs.generator import GeneratorTrainSpec
from visage.store.open import open_store
from visage.training.recipe import Recipe
from visage.training.recipes import build_recipe

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    uri = write_clip_corpus(
        tmp_path_factory.mktemp("clips"), train=1, val=0, test=0, size=32, frames=30
    )
    return load_manifest(uri)[0]


def _recipe(
    manifest: Manifest, *, seed: int = 0, widths: tuple[int, ...] = (4, 6), **more: object
) -> Recipe:
    spec = GeneratorTrainSpec.parse(
        {"model": {"size": 32, "widths": widths, "norm": "instance"}, "judge": {"width": 2},
         "losses": {"perceptual_width": 2}, "seed": seed, **more}
    )  # fmt: skip
    return build_recipe(spec, manifest, CPU)


@pytest.fixture
def published(manifest: Manifest, tmp_path: Path) -> str:
    _recipe(manifest, seed=7).export(
        open_store(str(tmp_path)), "model", _recipe(manifest, seed=7).model, metadata={}
    )
    return str(tmp_path / "model")


def test_the_first_weights_are_the_published_ones_whatever_the_seed(
    manifest: Manifest, published: str
) -> None:
    origin = _recipe(manifest, seed=7).model.state_dict()
    apart = _recipe(manifest, seed=3).model.state_dict()
    begun = _recipe(manifest, seed=3, start_from=published).model.state_dict()
    assert any(not torch.equal(origin[name], apart[name]) for name in origin)
    assert all(torch.equal(origin[name], begun[name]) for name in origin)


def test_a_network_of_other_sizes_is_refused_by_name(manifest: Manifest, published: str) -> None:
    with pytest.raises(SpecError, match=r"there, .* here.*same sizes"):
        _recipe(manifest, widths=(4, 8), start_from=published)
    with pytest.raises(SpecError, match="missing there"):
        _recipe(manifest, widths=(4, 6, 8), start_from=published)


def test_nothing_published_and_damage_are_told_apart(
    manifest: Manifest, published: str, tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError, match="no model was published"):
        _recipe(manifest, start_from=str(tmp_path / "absent"))
    weights = next(Path(published).glob("*.safetensors"))
    body = bytearray(weights.read_bytes())
    body[-1] ^= 1
    weights.write_bytes(body)
    with pytest.raises(CorruptError):
        _recipe(manifest, start_from=published)
