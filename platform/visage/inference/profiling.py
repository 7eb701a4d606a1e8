"""What a model costs: parameters, floating-point operations by module, and time on this CPU.

Operations are counted as 2 per multiply-add, for convolutions and matrix products; batch norm,
pooling and ReLU, some percent of the whole, are not counted, as in the published figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from visage.models import count_parameters
from visage.specs.emotion import EmotionModelSpec

__all__ = ["ModelProfile", "ModuleCost", "profile_emotion_model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleCost:
    """One direct child of the model."""

    name: str
    parameters: int
    flop_per_image: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProfile:
    """The cost of one network."""

    parameters: int
    """Trainable."""
    flop_per_image: int
    """2 x multiply-adds of one forward pass for one face."""
    modules: tuple[ModuleCost, ...]
    """In the order of the network; parts without parameters and operations are left out."""
    cpu_ms_per_image: float
    """Median over the repeats, on torch's current number of threads."""
    batch: int
    threads: int


def profile_emotion_model(
    model: nn.Module,
    spec: EmotionModelSpec,
    *,
    batch: int = 1,
    repeats: int = 10,
    clock: Callable[[], float] = time.perf_counter,
) -> ModelProfile:
    """Measure a model in evaluation mode; its mode is restored.

    Args:
        model: On the CPU.
        spec: Gives the input sizes.
        batch: Faces in one pass; time and operations are reported per face.
        repeats: Timed passes after two untimed ones.
        clock: Seconds.
    """
    draws = torch.Generator().manual_seed(0)
    sizes = (spec.input.face_size, spec.input.context_crop)
    face, context = (torch.rand(batch, 3, side, side, generator=draws) for side in sizes)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            counter = FlopCounterMode(display=False)
            with counter:
                model(face, context)
            seconds = [_seconds(model, face, context, clock) for _ in range(repeats + 2)][2:]
    finally:
        model.train(was_training)
    by_module = counter.get_flop_counts()
    root = type(model).__name__
    costs = (
        ModuleCost(
            name=name,
            parameters=count_parameters(child),
            flop_per_image=sum(by_module.get(f"{root}.{name}", {}).values()) // batch,
        )
        for name, child in model.named_children()
    )
    return ModelProfile(
        parameters=count_parameters(model),
        flop_per_image=counter.get_total_flops() // batch,
        modules=tuple(cost for cost in costs if cost.parameters or cost.flop_per_image),
        cpu_ms_per_image=1000.0 * median(seconds) / batch,
        batch=batch,
        threads=torch.get_num_threads(),
    )


def _seconds(
    model: nn.Module, face: torch.Tensor, context: torch.Tensor, clock: Callable[[], float]
) -> float:
    start = clock()
    model(face, context)
    return clock() - start
