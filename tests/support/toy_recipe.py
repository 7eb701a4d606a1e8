"""The smallest recipe there is: a two-layer regression without batch normalisation or dropout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from visage.data.feed import Batch
from visage.seeds import rng_of, seed_of
from visage.specs.train import OptimizerSpec, ScheduleSpec, TrainSpec
from visage.store.base import Store
from visage.training.optimizers import build_optimizer
from visage.training.recipe import Phase, Sample, Tensors

__all__ = ["ToyRecipe", "toy_batch"]

WIDTH = 5


class _Objective(nn.Module):
    """Mean squared error of a small network; logs the sum of absolute errors."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed_of(seed, "toy"))
        self.net = nn.Sequential(nn.Linear(WIDTH, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, tensors: Tensors) -> tuple[Tensor, dict[str, Tensor]]:
        error = self.net(tensors["x"])[:, 0] - tensors["y"]
        return (error**2).mean(), {"absolute": error.detach().abs().sum()}


class _Decode:
    columns = None

    def __call__(self, row: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return {"x": np.asarray(row["x"]), "y": np.asarray(row["y"])}


class ToyRecipe:
    """One phase over arrays `x` (N, 5) and `y` (N,)."""

    score_name = "-squared error"
    companions: Mapping[str, nn.Module] = {}

    def __init__(
        self, *, optimizer: OptimizerSpec | None = None, schedule: ScheduleSpec | None = None,
        **changes: object,
    ) -> None:  # fmt: skip
        self.spec = TrainSpec.parse({"precision": "fp32", **changes})
        self._objective = _Objective(self.spec.seed)
        chosen = optimizer or OptimizerSpec(name="sgd", lr=0.1)
        self.optimizer = build_optimizer(self._objective, chosen)
        self.phases = (
            Phase(
                name="main", module=self._objective, optimizer=self.optimizer,
                schedule=schedule or ScheduleSpec(name="constant"),
            ),
        )  # fmt: skip

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self._objective.net

    def decoder(self, *, training: bool) -> Any:
        """Rows hold their arrays already."""
        return _Decode()

    def tensors(self, batch: Batch, device: torch.device) -> dict[str, Tensor]:
        """The arrays as they are."""
        return {name: torch.from_numpy(one).to(device) for name, one in batch.arrays.items()}

    def validate(self, model: nn.Module, tensors: Tensors) -> dict[str, Tensor]:
        """Sum of negative squared errors as score, of squared errors as loss."""
        squares = ((model(tensors["x"])[:, 0] - tensors["y"]) ** 2).sum()
        return {"score": -squares, "loss": squares}

    def samples(self, model: nn.Module, tensors: Tensors) -> list[Sample]:
        """Nothing to look at."""
        return []

    def export(
        self, store: Store, prefix: str, model: nn.Module, *, metadata: Mapping[str, object]
    ) -> str:
        """Nothing to publish."""
        raise NotImplementedError


def toy_batch(step: int, size: int = 8) -> Batch:
    """A batch that is a function of its step."""
    rng = rng_of("toy", step)
    arrays: dict[str, NDArray[Any]] = {
        "x": rng.standard_normal((size, WIDTH)).astype(np.float32),
        "y": rng.standard_normal(size).astype(np.float32),
    }
    return Batch(step=step, ids=np.arange(size), arrays=arrays, wait_s=0.0)
