"""What a trainable part of the system hands to the loop.

A recipe has one or more phases, each with a module to differentiate and an optimizer of its own (a
GAN has two). The loop knows neither images nor emotions; a recipe knows neither files nor clusters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from visage.data.feed import Batch, Decode
from visage.specs.train import ScheduleSpec, TrainSpec
from visage.store.base import Store

__all__ = ["Phase", "Recipe", "Sample", "Tensors"]

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Something to look at or listen to while a run goes on."""

    name: str
    """A file name without suffix, for example `mouths`."""
    suffix: Literal["png", "mp4"]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One differentiable objective with its optimizer."""

    name: str
    module: nn.Module
    """Called with tensors, returns the loss, a mean over the samples given, and what to log,
    summed over them and detached.

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
    def companions(self) -> Mapping[str, nn.Module]:
        """Weights that are trained and checkpointed beside the model and are no part of it, by
        name: a GAN's discriminator."""
        ...

    @property
    def score_name(self) -> str:
        """What the score of a validation is, for people: `accuracy`, `-L1`; higher is better."""
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
        """Sums over the samples; the key `score` is what `best` maximises, the others are logged
        as `val/<name>`."""
        ...

    def samples(self, model: nn.Module, tensors: Tensors) -> list[Sample]:
        """What a person would look at, made of the first validation samples; empty if nothing."""
        ...

    def export(
        self, store: Store, prefix: str, model: nn.Module, *, metadata: Mapping[str, object]
    ) -> str:
        """Publish the weights as an artefact; returns its digest."""
        ...
