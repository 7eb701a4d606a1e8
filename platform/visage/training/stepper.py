"""One optimizer step over the whole cluster: accumulate, agree, check, clip, update.

Gradients are averaged by DistributedDataParallel; a last small all-reduce adds up losses and the
ranks' wishes (stop, save), so that every rank takes the same decision at the same step. A loss or
gradient that is not finite stops every rank before any optimizer moves. Dropout is reseeded from
(seed, step, rank), so no generator state needs saving.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.amp.autocast_mode import autocast
from torch.amp.grad_scaler import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from visage.data.feed import Batch
from visage.errors import NonFiniteLossError, TrainingError
from visage.seeds import seed_of
from visage.training.host import Host
from visage.training.recipe import Phase, Recipe
from visage.training.schedule import lr_at

__all__ = ["StepResult", "Stepper", "is_half_precision"]

SMALLEST_SCALE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What one step gave, equal on all ranks."""

    loss: float
    """Mean over the global batch, summed over phases."""
    means: dict[str, float]
    """The recipe's logged quantities, averaged over the global batch."""
    wishes: dict[str, bool]
    """Whether any rank wished for it."""
    lr: float
    """Of the first phase."""


class Stepper:
    """Owns the distributed wrappers and gradient scalers of a recipe."""

    def __init__(self, recipe: Recipe, host: Host, *, steps: int, epochs: float) -> None:
        self._recipe, self._host = recipe, host
        self._steps, self._epochs = steps, epochs
        self._half = is_half_precision(recipe, host)
        self._micro_batch = recipe.spec.micro_batch
        self._wrapped = {phase.name: self._wrap(phase) for phase in recipe.phases}
        self._scalers = {
            phase.name: GradScaler(host.device.type, enabled=self._half) for phase in recipe.phases
        }

    def step(self, batch: Batch, step: int, wishes: Mapping[str, bool]) -> StepResult:
        """Advance every phase once on this rank's share of the global batch."""
        torch.manual_seed(seed_of(self._recipe.spec.seed, "step", step, self._host.rank))
        tensors = self._recipe.tensors(batch, self._host.device)
        agreed: dict[str, float] = {}
        lr = 0.0
        for number, phase in enumerate(self._recipe.phases):
            sums = self._with_less_memory(phase, tensors)
            extra = wishes if number == 0 else {}
            totals = self._agree(sums, extra)
            self._check_loss(totals["loss"], phase, step, batch)
            self._bound_gradient(phase, step, batch)
            phase_lr = self._update(phase, step)
            lr = lr or phase_lr
            for name, value in totals.items():
                agreed[name] = agreed.get(name, 0.0) + value
        count = agreed.pop("samples") / len(self._recipe.phases)
        wished = {name: agreed.pop(f"wish.{name}") > 0 for name in wishes}
        loss = agreed.pop("loss") / count
        means = {name: value / count for name, value in agreed.items()}
        return StepResult(loss=loss, means=means, wishes=wished, lr=lr)

    def scaler_states(self) -> dict[str, dict[str, float]]:
        """State of the gradient scalers by phase, plain numbers."""
        return {name: scaler.state_dict() for name, scaler in self._scalers.items()}

    def load_scaler_states(self, states: Mapping[str, dict[str, float]]) -> None:
        """Put saved scaler states back."""
        for name, state in states.items():
            if state:
                self._scalers[name].load_state_dict(state)

    def _wrap(self, phase: Phase) -> torch.nn.Module:
        if self._host.world == 1:
            return phase.module
        return DistributedDataParallel(phase.module, gradient_as_bucket_view=True)

    def _with_less_memory(self, phase: Phase, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Halve the micro-batch once if the device is full; the global batch stays as it is."""
        asked = self._recipe.spec.micro_batch
        while True:
            try:
                return self._backward(phase, tensors)
            except torch.OutOfMemoryError as err:
                former, self._micro_batch = self._micro_batch, max(1, self._micro_batch // 2)
                hint = (
                    f"rank {self._host.rank} on {self._host.device}: out of memory with "
                    f"micro_batch {former}; start the run with --set micro_batch="
                    f"{self._micro_batch} or smaller, the global batch need not change"
                )
                if self._host.world > 1:  # the others are in the middle of the exchange
                    raise torch.OutOfMemoryError(hint) from err
                if former < asked or former == 1:
                    raise TrainingError(hint) from err
            if self._host.device.type == "cuda":
                torch.cuda.empty_cache()
            self._host.report({"type": "smaller_batch", "micro_batch": self._micro_batch})

    def _backward(self, phase: Phase, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        module = self._wrapped[phase.name]
        size = len(next(iter(tensors.values())))
        starts = list(range(0, size, self._micro_batch))
        phase.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for start in starts:
            part = {name: one[start : start + self._micro_batch]
                    for name, one in tensors.items()}  # fmt: skip
            is_last = start == starts[-1]
            count = len(next(iter(part.values())))
            with (
                self._sync(module, is_last),
                autocast(self._host.device.type, dtype=torch.float16, enabled=self._half),
            ):
                loss, logged = module(part)
            with self._sync(module, is_last):
                self._scalers[phase.name].scale(loss * (count / size)).backward()
            logged = {"loss": loss.detach() * count, **logged}
            for name, value in logged.items():
                sums[name] = sums.get(name, value.new_zeros(())) + value.detach().double()
        sums["samples"] = torch.tensor(float(size), dtype=torch.float64)
        return sums

    @staticmethod
    def _sync(module: torch.nn.Module, is_last: bool) -> contextlib.AbstractContextManager[object]:
        """Exchange gradients only with the last micro-batch."""
        if is_last or not isinstance(module, DistributedDataParallel):
            return contextlib.nullcontext()
        return module.no_sync()

    def _agree(self, sums: dict[str, Tensor], wishes: Mapping[str, bool]) -> dict[str, float]:
        values = {
            **sums,
            **{f"wish.{name}": torch.tensor(float(on)) for name, on in wishes.items()},
        }
        device = self._host.device
        vector = torch.stack([one.to(device, torch.float64) for one in values.values()])
        return dict(zip(values, self._host.add(vector).tolist(), strict=True))

    def _check_loss(self, loss: float, phase: Phase, step: int, batch: Batch) -> None:
        scale = self._scalers[phase.name].get_scale()
        if not math.isfinite(loss) or scale < SMALLEST_SCALE:
            what = f"the loss is {loss} (gradient scale {scale:g})"
            raise self._not_finite(what, phase, step, batch)

    def _bound_gradient(self, phase: Phase, step: int, batch: Batch) -> None:
        """Clip the gradient; it is the same on all ranks, so they stop together or not at all."""
        limit = self._recipe.spec.clip_norm
        if self._half and limit is None:
            return  # the scaler looks at it, and skips the step
        self._scalers[phase.name].unscale_(phase.optimizer)
        parameters = [one for one in phase.module.parameters() if one.grad is not None]
        norm = get_total_norm([one.grad for one in parameters if one.grad is not None])
        if not self._half and not math.isfinite(norm.item()):
            what = f"the norm of the gradient is {norm.item()}"
            raise self._not_finite(what, phase, step, batch)
        if limit is not None:
            clip_grads_with_norm_(parameters, limit, norm)

    def _not_finite(self, what: str, phase: Phase, step: int, batch: Batch) -> NonFiniteLossError:
        return NonFiniteLossError(
            f"step {step}, {phase.name}: {what}; no rank took the step. Rank {self._host.rank} "
            f"read samples {batch.ids[:8].tolist()}…; lower the learning rate or look at these "
            "samples"
        )

    def _update(self, phase: Phase, step: int) -> float:
        peak = phase.optimizer.defaults["lr"]
        lr = lr_at(phase.schedule, step, peak_lr=peak, steps=self._steps, epochs=self._epochs)
        for group in phase.optimizer.param_groups:
            group["lr"] = lr
        scaler = self._scalers[phase.name]
        scaler.step(phase.optimizer)
        scaler.update()
        return lr


def is_half_precision(recipe: Recipe, host: Host) -> bool:
    """Whether this run computes in fp16 on this device."""
    match recipe.spec.precision:
        case "fp32":
            return False
        case "fp16":
            return True
        case "auto":
            return host.device.type == "cuda"
