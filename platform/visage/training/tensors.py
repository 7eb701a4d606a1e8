"""Weights and optimizer state as safetensors bytes: no pickle, equal state gives equal bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from visage.errors import CorruptError, TrainingError

__all__ = [
    "Snapshot",
    "load_module",
    "load_optimizer",
    "snapshot_bytes",
    "snapshot_module",
    "snapshot_optimizer",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A copy of some state on the host, so that training may go on while it is written."""

    tensors: dict[str, Tensor]
    scalars: dict[str, float]


def snapshot_module(module: nn.Module) -> Snapshot:
    """All parameters and buffers of a module."""
    state = module.state_dict()
    return Snapshot(tensors={name: _copy(value) for name, value in state.items()}, scalars={})


def snapshot_optimizer(optimizer: torch.optim.Optimizer) -> Snapshot:
    """Momenta and step counters by parameter index; hyper-parameters live in the spec instead."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, float] = {}
    for index, slots in optimizer.state_dict()["state"].items():
        for slot, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{slot}"] = _copy(value)
            elif value is not None:
                scalars[f"{index}.{slot}"] = value
    return Snapshot(tensors=tensors, scalars=scalars)


def snapshot_bytes(snapshot: Snapshot) -> bytes:
    """The persisted form."""
    metadata = {"scalars": json.dumps(snapshot.scalars, sort_keys=True)}
    return save_tensors(snapshot.tensors, metadata=metadata)


def load_module(module: nn.Module, body: bytes, *, origin: str) -> None:
    """Put saved values into a module; TrainingError if names or shapes differ."""
    state = _read(body, origin)
    try:
        module.load_state_dict(state)
    except RuntimeError as err:
        first = str(err).splitlines()[-1].strip()
        raise TrainingError(f"{origin}: weights do not fit this model: {first}") from None


def load_optimizer(optimizer: torch.optim.Optimizer, body: bytes, *, origin: str) -> None:
    """Put saved momenta back; groups and rates come from the spec, not from the file."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**_read(body, origin), **_scalars(body)}.items():
        index, _, slot = name.partition(".")
        state.setdefault(int(index), {})[slot] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _copy(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True).contiguous()


def _read(body: bytes, origin: str) -> dict[str, Tensor]:
    try:
        return load_tensors(body)
    except SafetensorError as err:
        raise CorruptError(f"{origin}: not a safetensors file: {err}") from None


def _scalars(body: bytes) -> dict[str, float]:
    size = int.from_bytes(body[:8], "little")
    header = json.loads(body[8 : 8 + size])
    scalars: dict[str, float] = json.loads(header.get("__metadata__", {}).get("scalars", "{}"))
    return scalars
