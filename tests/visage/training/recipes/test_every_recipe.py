"""What holds for every recipe of the talking head: exact resume, known metrics, samples to see."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import av
import pytest
import torch
from made_clips import write_clip_corpus
from PIL import Image
from tiny_recipes import CLIP_RECIPES, STEPS, tiny_spec, train_tiny
from torch import Tensor

from visage.data.ledger import LedgerRow
from visage.data.manifest import Manifest
from visage.data.shards import load_manifest
from visage.errors import DataError
from visage.store.commit import read_commit
from visage.store.open import open_store
from visage.tracking.names import METRICS
from visage.training.checkpoint import restore
from visage.training.host import SingleHost
from visage.training.recipes import RECIPES, build_recipe
from visage.training.run_dir import ledger_chain
from visage.training.samples import read_samples
from visage.training.verify import verify_run

every_recipe = pytest.mark.parametrize("recipe", CLIP_RECIPES)


ALWAYS = {name for name in METRICS if name.startswith("system/")}
"""What every run logs beside what its recipe measures."""


class _Death(Exception):
    """Stands for SIGKILL inside one process: nothing after it runs."""


class _Watched(SingleHost):
    """Keeps what is reported, and dies when ranks would agree for the `die_at`-th time."""

    def __init__(self, die_at: int | None = None) -> None:
        self.events: list[Mapping[str, object]] = []
        self.agreed, self.die_at = 0, die_at
        super().__init__(report=self.events.append)

    def add(self, values: Tensor) -> Tensor:
        self.agreed += 1
        if self.agreed == self.die_at:
            raise _Death
        return values


@pytest.fixture(scope="module")
def data_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("clips")
    return write_clip_corpus(folder, train=8, val=4, test=2, size=32, frames=150)


@pytest.fixture(scope="module")
def motion(data_uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A trained motion part, which style-transfer starts from."""
    return train_tiny("motion", tmp_path_factory.mktemp("motion") / "run", data_uri).model_uri


@pytest.fixture(scope="module")
def unbroken(
    data_uri: str, motion: str, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, tuple[Path, _Watched]]:
    """Each recipe trained to its end without a disturbance."""
    root = tmp_path_factory.mktemp("unbroken")
    made = {}
    for recipe in CLIP_RECIPES:
        host = _Watched()
        train_tiny(recipe, root / recipe, data_uri, motion=motion, host=host)
        made[recipe] = (root / recipe, host)
    return made


def test_every_recipe_that_learns_from_clips_is_tested_here() -> None:
    known = {name for name, entry in RECIPES.items() if "clips/1" in entry.kinds}
    assert known == set(CLIP_RECIPES)


@every_recipe
@pytest.mark.parametrize("share", [0.45, 0.85])
def test_a_killed_run_continues_to_the_same_losses_samples_and_weights(
    share: float,
    recipe: str,
    data_uri: str,
    motion: str,
    unbroken: Mapping[str, tuple[Path, _Watched]],
    tmp_path: Path,
) -> None:
    whole, host = unbroken[recipe]
    die_at = max(1, round(host.agreed * share))
    with pytest.raises(_Death):
        train_tiny(recipe, tmp_path / "run", data_uri, motion=motion, host=_Watched(die_at))
    train_tiny(recipe, tmp_path / "run", data_uri, motion=motion)
    assert _history(tmp_path / "run") == _history(whole)
    assert _state(tmp_path / "run") == _state(whole)
    assert _weights(tmp_path / "run") == _weights(whole)
    assert verify_run(str(tmp_path / "run")).is_exact


@every_recipe
def test_what_a_recipe_measures_is_in_the_closed_list_of_metrics(
    recipe: str, unbroken: Mapping[str, tuple[Path, _Watched]]
) -> None:
    _, host = unbroken[recipe]
    ours = {"type", "step", "steps"}
    trained = [event for event in host.events if event["type"] == "train"]
    validated = [event for event in host.events if event["type"] == "validation"]
    assert trained
    assert validated
    names = {f"train/{name}" for event in trained for name in event if name not in ours}
    for event in validated:
        means = event["means"]
        assert isinstance(means, Mapping)
        names |= {f"val/{name}" for name in means}
    assert sorted(names - METRICS.keys()) == []
    assert len(names | ALWAYS) <= 40, "a tracking server is slow with more keys in one run"


@every_recipe
def test_samples_can_be_looked_at(
    recipe: str, unbroken: Mapping[str, tuple[Path, _Watched]]
) -> None:
    folder, host = unbroken[recipe]
    shown = [event for event in host.events if event["type"] == "samples"]
    assert shown, "nothing was shown"
    samples = read_samples(open_store(str(folder)), int(str(shown[-1]["step"])))
    assert sorted(samples) == shown[-1]["names"]
    for name, body in samples.items():
        if name.endswith(".png"):
            with Image.open(io.BytesIO(body)) as picture:
                assert min(picture.size) >= 32
                low, high = picture.convert("L").getextrema()
                assert high > low
        else:
            with av.open(io.BytesIO(body)) as clip:
                assert clip.streams.video
                assert clip.streams.audio, "a sample clip without its sound"
                assert next(clip.decode(video=0)).width >= 32


@every_recipe
def test_the_ledger_covers_every_step_and_the_losses_are_finite(
    recipe: str, unbroken: Mapping[str, tuple[Path, _Watched]]
) -> None:
    rows = _history(unbroken[recipe][0])
    assert [row.step for row in rows] == list(range(STEPS))
    assert all(torch.isfinite(torch.tensor(row.loss)) for row in rows)


@every_recipe
def test_data_of_another_kind_are_refused_with_what_is_needed(
    recipe: str, data_uri: str, motion: str
) -> None:
    manifest, _ = load_manifest(data_uri)
    other = Manifest.from_json(manifest.to_json(), origin="made")
    object.__setattr__(other, "kind", "emotion/1")
    with pytest.raises(DataError, match="learns from rows of kind"):
        build_recipe(
            tiny_spec(recipe, motion=motion, data_uri=data_uri), other, torch.device("cpu")
        )


def _history(folder: Path) -> list[LedgerRow]:
    store = open_store(str(folder))
    last = restore(store)
    assert last is not None
    return ledger_chain(store, last.state.ledger)


def _state(folder: Path) -> dict[str, bytes]:
    """Everything that the last checkpoint holds beside its history."""
    last = restore(open_store(str(folder)))
    assert last is not None
    return last.parts


def _weights(folder: Path) -> str:
    found = read_commit(open_store(str(folder)), "model")
    assert found is not None
    return found.parts["model.safetensors"].sha256
