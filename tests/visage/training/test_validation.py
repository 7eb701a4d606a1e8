"""Validation: every sample of the split once, whatever the batch and the cluster."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_recipe import ToyRecipe

from visage.seeds import rng_of
from visage.training.host import SingleHost
from visage.training.state import Validation
from visage.training.validation import validate

SAMPLES = 17


class _Rows:
    """Rows of the toy regression."""

    def __len__(self) -> int:
        return SAMPLES

    def row(self, sample: int, columns: object = None) -> dict[str, Any]:
        rng = rng_of("validation", sample)
        return {
            "x": rng.standard_normal(5).astype(np.float32),
            "y": np.float32(rng.standard_normal()),
        }


class _Shared(SingleHost):
    """One rank of a group whose members run one after the other and pool their sums."""

    def __init__(self, rank: int, world: int, pool: list[Tensor]) -> None:
        super().__init__()
        self.rank, self.world, self.pool = rank, world, pool

    def add(self, values: Tensor) -> Tensor:
        self.pool.append(values)
        return torch.stack(self.pool).sum(0)


def _validate(recipe: ToyRecipe, host: SingleHost | None = None) -> Validation:
    rows: Any = _Rows()
    return validate(recipe, recipe.model, rows, host or SingleHost(), step=3, half=False)[0]


def _expected(recipe: ToyRecipe) -> float:
    rows = [_Rows().row(sample) for sample in range(SAMPLES)]
    with torch.no_grad():
        predicted = recipe.model(torch.from_numpy(np.stack([row["x"] for row in rows])))[:, 0]
    return float(np.mean((predicted.numpy() - np.stack([row["y"] for row in rows])) ** 2))


@pytest.mark.parametrize("micro_batch", [1, 4, 17, 64])
def test_score_and_loss_are_means_over_the_split_for_any_batch(micro_batch: int) -> None:
    recipe = ToyRecipe(micro_batch=micro_batch)
    seen = _validate(recipe)
    assert seen.step == 3
    assert seen.loss == pytest.approx(_expected(recipe), rel=1e-5)
    assert seen.score == -seen.loss


@pytest.mark.parametrize("world", [2, 3, 16, 20])
def test_a_group_sees_what_one_process_sees_even_if_some_ranks_have_nothing(world: int) -> None:
    recipe = ToyRecipe(micro_batch=4)
    pool: list[Tensor] = []
    for rank in range(world - 1):
        _validate(recipe, _Shared(rank, world, pool))
    last = _validate(recipe, _Shared(world - 1, world, pool))
    assert last.loss == pytest.approx(_expected(recipe), rel=1e-5)
    assert math.isfinite(last.score)


def test_the_model_is_left_in_its_mode_and_without_gradients() -> None:
    recipe = ToyRecipe()
    for training in (True, False):
        recipe.model.train(training)
        _validate(recipe)
        assert recipe.model.training is training
    assert all(one.grad is None for one in recipe.model.parameters())


def test_validation_changes_no_random_stream_of_training() -> None:
    recipe = ToyRecipe()
    torch.manual_seed(5)
    expected = float(torch.rand(()))
    torch.manual_seed(5)
    _validate(recipe)
    assert float(torch.rand(())) == expected
