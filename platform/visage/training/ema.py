"""Exponential moving average of weights and buffers, with a warm-up of the decay."""

from __future__ import annotations

import copy

import torch
from torch import nn

__all__ = ["Ema"]


class Ema:
    """A shadow of a module; integer buffers are copied, floating ones averaged.

    The decay at step s is min(decay, (1+s)/(10+s)), so that early averages are not stuck at the
    random start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the shadow towards the model after optimizer step `step`."""
        decay = min(self._decay, (1 + step) / (10 + step))
        ours, theirs = self.module.state_dict(), model.state_dict()
        for name, shadow in ours.items():
            value = theirs[name].detach()
            if shadow.is_floating_point():
                shadow.lerp_(value.to(shadow.dtype), 1 - decay)
            else:
                shadow.copy_(value)
