"""Recipes without a model of any use, for what is measured around a step; and how to train them.

`SlowRecipe` reads real batches and lets a device's time pass; `HeavyRecipe` has much state. Both go
through the real session: only what builds the recipe is put aside while they train.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn

from visage.data.emotion_rows import EmotionDecoder
from visage.data.feed import Batch
from visage.data.manifest import Manifest
from visage.specs.train import EmotionTrainSpec
from visage.store.base import Store
from visage.store.commit import commit
from visage.training.host import Host
from visage.training.optimizers import build_optimizer
from visage.training.recipe import Phase, Recipe, Sample, Tensors
from visage.training.recipes.emotion import EmotionRecipe
from visage.training.session import run_training

__all__ = ["HeavyRecipe", "SlowRecipe", "train_stub"]

BLOCK_FLOATS = 1 << 18


class SlowRecipe(EmotionRecipe):
    """The emotion recipe's data, and a step of a given length that leaves the processor alone."""

    def __init__(
        self, spec: EmotionTrainSpec, manifest: Manifest, device: torch.device, *, step_s: float
    ) -> None:
        super().__init__(spec, manifest, device)
        objective = _Sleeping(step_s).to(device)
        self.model = objective
        self.phases = (_phase(spec, objective),)


class _Sleeping(nn.Module):
    def __init__(self, step_s: float) -> None:
        super().__init__()
        self._step_s = step_s
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, tensors: Tensors) -> tuple[Tensor, dict[str, Tensor]]:
        until = time.perf_counter() + self._step_s
        loss = ((tensors["face"].mean((2, 3)) * self.weight).sum(1) - 1.0).square().mean()
        time.sleep(max(0.0, until - time.perf_counter()))
        return loss, {}


class HeavyRecipe:
    """A quarter of `state_mib` of weights; average and two momenta make up the rest."""

    score_name = "score"
    companions: Mapping[str, nn.Module] = {}

    def __init__(self, spec: EmotionTrainSpec, device: torch.device, *, state_mib: int) -> None:
        self.spec = spec
        self.model: nn.Module = _Heavy(max(1, state_mib // 4)).to(device)
        self.phases = (_phase(spec, self.model),)

    def decoder(self, *, training: bool) -> EmotionDecoder:
        """Real rows are decoded, and not used."""
        return EmotionDecoder(model=self.spec.model)

    def tensors(self, batch: Batch, device: torch.device) -> dict[str, Tensor]:
        """The labels."""
        return {"label": torch.from_numpy(batch.arrays["label"]).to(device)}

    def validate(self, model: nn.Module, tensors: Tensors) -> dict[str, Tensor]:
        """Nothing is validated."""
        raise NotImplementedError

    def samples(self, model: nn.Module, tensors: Tensors) -> list[Sample]:
        """Nothing is shown."""
        return []

    def export(
        self, store: Store, prefix: str, model: nn.Module, *, metadata: Mapping[str, object]
    ) -> str:
        """A marker alone."""
        return commit(store, prefix, {"nothing.json": b"{}"}, metadata=metadata).digest()


class _Heavy(nn.Module):
    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ParameterList(torch.full((BLOCK_FLOATS,), 0.01) for _ in range(blocks))

    def forward(self, tensors: Tensors) -> tuple[Tensor, dict[str, Tensor]]:
        loss = torch.stack([block.square().mean() for block in self.blocks]).sum()
        return loss + 0.0 * tensors["label"].float().mean(), {}


def _phase(spec: EmotionTrainSpec, module: nn.Module) -> Phase:
    return Phase(
        name="model",
        module=module,
        optimizer=build_optimizer(module, spec.optimizer),
        schedule=spec.schedule,
    )


def train_stub(
    recipe: Recipe, folder: Path, spec: EmotionTrainSpec, data_uri: str, host: Host
) -> None:
    """One session of `visage.training` with this recipe in the place of the emotion recipe."""
    with patch("visage.training.session.build_recipe", lambda *_: recipe):
        run_training(
            run_uri=str(folder), spec=spec, recipe_name="emotion", data_uri=data_uri, host=host
        )
