"""Memory, disk and clock that fail the run: it does with less, says so in numbers, goes on."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from corpora import small_train_spec, write_corpus
from toy_recipe import ToyRecipe, toy_batch

from visage.errors import StoreError, TrainingError
from visage.store.commit import read_commit
from visage.store.open import open_store
from visage.training.host import SingleHost
from visage.training.session import TrainOutcome, run_training
from visage.training.stepper import Stepper
from visage.training.verify import verify_run

REPOSITORY = Path(__file__).parents[3]


class _Full:
    """A device that holds at most so many samples at once, in front of a module."""

    def __init__(self, module: torch.nn.Module, most: int) -> None:
        self.most, self.sizes = most, []
        module.register_forward_pre_hook(self._look)

    def _look(self, module: torch.nn.Module, given: tuple[dict[str, torch.Tensor]]) -> None:
        size = len(next(iter(given[0].values())))
        self.sizes.append(size)
        if size > self.most:
            raise torch.OutOfMemoryError(f"{size} samples do not fit")


def _weights(recipe: ToyRecipe) -> list[torch.Tensor]:
    return [one.detach().clone() for one in recipe.model.parameters()]


def test_a_full_device_halves_the_micro_batch_once_and_gives_the_same_weights() -> None:
    told: list[Mapping[str, object]] = []
    full, roomy = ToyRecipe(micro_batch=8), ToyRecipe(micro_batch=8)
    device = _Full(full.phases[0].module, most=4)
    host = SingleHost(report=told.append)
    pair = [(full, Stepper(full, host, steps=9, epochs=1.0)),
            (roomy, Stepper(roomy, SingleHost(), steps=9, epochs=1.0))]  # fmt: skip
    for _, stepper in pair:
        for step in range(3):
            stepper.step(toy_batch(step), step, {})
    assert told == [{"type": "smaller_batch", "micro_batch": 4}]
    assert device.sizes.count(8) == 1, "the large batch is tried once, not at every step"
    for one, two in zip(_weights(full), _weights(roomy), strict=True):
        assert torch.allclose(one, two, rtol=0, atol=1e-6)


def test_a_device_that_is_full_again_ends_the_run_with_a_size_to_try() -> None:
    recipe = ToyRecipe(micro_batch=8)
    _Full(recipe.phases[0].module, most=3)
    stepper = Stepper(recipe, SingleHost(), steps=9, epochs=1.0)
    before = _weights(recipe)
    with pytest.raises(TrainingError, match=r"micro_batch 4; .* --set micro_batch=2 or smaller"):
        stepper.step(toy_batch(0), 0, {})
    assert all(torch.equal(a, b) for a, b in zip(before, _weights(recipe), strict=True))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=False
    )
    if mounted.returncode:
        pytest.skip("no right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _train(folder: Path, data_uri: str, report: Any = None) -> TrainOutcome:
    return run_training(
        run_uri=str(folder), spec=small_train_spec(epochs=3.0), recipe_name="emotion",
        data_uri=data_uri, host=SingleHost(report=report),
    )  # fmt: skip


def _digest(folder: Path) -> str:
    found = read_commit(open_store(str(folder)), "model")
    assert found is not None
    return found.parts["model.safetensors"].sha256


def _fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    free = os.statvfs(disk)
    ballast.write_bytes(b"\0" * (free.f_bavail * free.f_frsize - (24 << 10)))
    return ballast


def test_a_disk_that_fills_up_costs_no_training_state_and_is_told_with_numbers(
    small_disk: Path, tmp_path: Path
) -> None:
    data_uri = write_corpus(tmp_path / "data")
    _train(tmp_path / "unbroken", data_uri)
    told: list[Mapping[str, object]] = []
    ballast = small_disk / "ballast"

    def report(event: Mapping[str, object]) -> None:
        told.append(dict(event))
        if event["type"] == "validation" and not ballast.exists():
            _fill(small_disk)
        if event["type"] == "unsaved":
            ballast.write_bytes(b"")

    _train(small_disk / "run", data_uri, report)
    reasons = [str(one["reason"]) for one in told if one["type"] == "unsaved"]
    assert len(reasons) == 1
    assert re.search(r"No space left on device \(\d+ MiB free\)", reasons[0]), reasons
    assert verify_run(str(small_disk / "run")).is_exact
    assert _digest(small_disk / "run") == _digest(tmp_path / "unbroken")


def test_a_disk_that_stays_full_ends_the_run_and_the_same_command_continues_it(
    small_disk: Path, tmp_path: Path
) -> None:
    data_uri = write_corpus(tmp_path / "data")
    _train(tmp_path / "unbroken", data_uri)
    ballast = small_disk / "ballast"

    def report(event: Mapping[str, object]) -> None:
        if event["type"] == "validation" and not ballast.exists():
            _fill(small_disk)

    with pytest.raises(StoreError, match=r"No space left on device \(\d+ MiB free\)"):
        _train(small_disk / "run", data_uri, report)
    ballast.unlink()
    _train(small_disk / "run", data_uri)
    assert verify_run(str(small_disk / "run")).is_exact
    assert _digest(small_disk / "run") == _digest(tmp_path / "unbroken")


def test_a_clock_that_jumps_an_hour_at_every_look_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_uri = write_corpus(tmp_path / "data")
    _train(tmp_path / "still", data_uri)
    true_time, looks = time.time, [0]

    def jumping() -> float:
        looks[0] += 1
        return true_time() + (3600.0 if looks[0] % 2 else -3600.0)

    monkeypatch.setattr(time, "time", jumping)
    _train(tmp_path / "jumping", data_uri)
    assert _digest(tmp_path / "jumping") == _digest(tmp_path / "still")


def test_no_deadline_is_measured_on_the_wall_clock() -> None:
    stamps = {
        "tracking",  # MLflow wants the time of day beside its values
        "rendering/provenance.py",  # a video says when it was made
    }
    root = REPOSITORY / "platform" / "visage"
    users = {
        path.relative_to(root)
        for path in root.rglob("*.py")
        if re.search(r"\btime\.time\b|datetime\.now|utcnow", path.read_text())
    }
    assert {one for one in users if not {one.parts[0], one.as_posix()} & stamps} == set()
