"""Optimizers from their spec; weight decay spares biases and normalisation."""

from __future__ import annotations

import torch
from torch import nn

from visage.specs.train import OptimizerSpec

__all__ = ["build_optimizer"]


def build_optimizer(module: nn.Module, spec: OptimizerSpec) -> torch.optim.Optimizer:
    """The optimizer over a module's trainable parameters, in two groups (decayed, not decayed)."""
    parameters = [one for one in module.parameters() if one.requires_grad]
    groups = [
        {
            "params": [one for one in parameters if one.ndim > 1],
            "weight_decay": spec.weight_decay,
        },
        {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
    ]
    match spec.name:
        case "sgd":
            nesterov = spec.nesterov and spec.momentum > 0
            return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, nesterov=nesterov)
        case "adam":
            return torch.optim.Adam(groups, lr=spec.lr, betas=spec.betas)
        case "adamw":
            return torch.optim.AdamW(groups, lr=spec.lr, betas=spec.betas)
