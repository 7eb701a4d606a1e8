"""What a trainable part of the system hands to the loop.

A recipe has one or more phases, each with a module to differentiate and an optimizer of its own (a
GAN has two). The loop knows neither images nor emotions; a recipe knows neither files nor clusters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from visage.data.feed import Batch, Decode
from visage.specs.train import ScheduleSpec, TrainSpec
from visage.store.base import Store

__all__ = ["Phase", "PhaseLoss", "Recipe", "Tensors"]

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseLoss:
    """What one forward pass of a phase returns."""

    loss: Tensor
    """Scalar mean over the samples given."""
    sums: dict[str, Tensor]
    """Quantities to log, summed over the samples given, detached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One differentiable objective with its optimizer."""

    name: str
    module: nn.Module
    """Called with tensors, returns (loss, sums).

    Its parameters are exactly those that are trained.
    """
    optimizer: torch.optim.Optimizer
    schedule: ScheduleSpec


class Recipe(Protocol):
    """A trainable part."""

    @property
    def spec(self) -> TrainSpec:
        """The resolved spec."""
        ...

    @property
    def model(self) -> nn.Module:
        """The weights that are averaged, validated, checkpointed and exported."""
        ...

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Objectives in the order in which a step visits them."""
        ...

    def decoder(self, *, training: bool) -> Decode:
        """How a stored row becomes arrays."""
        ...

    def tensors(self, batch: Batch, device: torch.device) -> dict[str, Tensor]:
        """A batch on the device, every tensor with the samples along its first axis."""
        ...

    def validate(self, model: nn.Module, tensors: Tensors) -> dict[str, Tensor]:
        """Sums over the samples; the key `score` is what `best` maximises, `loss` is logged."""
        ...

    def export(
        self, store: Store, prefix: str, model: nn.Module, *, metadata: Mapping[str, object]
    ) -> str:
        """Publish the weights as an artefact; returns its digest."""
        ...
