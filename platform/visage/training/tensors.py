"""Weights and optimizer state as safetensors bytes: no pickle, equal state gives equal bytes.

Both halves of a save are kept short for the steps beside it: a snapshot goes into the memory of an
earlier one, since fresh pages cost four times the copy; and the bytes are put together in small
pieces, since whoever converts a whole tensor at once holds Python's lock, and training, all along.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
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

PIECE_BYTES = 1 << 20
"""How much is copied before other threads may go on; a tenth of a millisecond."""
ALIGNMENT = 8
_DTYPES = {
    torch.int64: "I64", torch.float64: "F64", torch.float32: "F32", torch.int32: "I32",
    torch.bfloat16: "BF16", torch.float16: "F16", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""In the order in which safetensors' own writer puts them, the widest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A copy of some state on the host, so that training may go on while it is written."""

    tensors: dict[str, Tensor]
    scalars: dict[str, float]


def snapshot_module(module: nn.Module, spare: Snapshot | None = None) -> Snapshot:
    """All parameters and buffers of a module; `spare` is one that nobody needs any more."""
    state, former = module.state_dict(), spare.tensors if spare else {}
    tensors = {name: _copy(value, former.get(name)) for name, value in state.items()}
    return Snapshot(tensors=tensors, scalars={})


def snapshot_optimizer(optimizer: torch.optim.Optimizer, spare: Snapshot | None = None) -> Snapshot:
    """Momenta and step counters by parameter index; hyper-parameters live in the spec instead.

    `spare` is a snapshot that nobody needs any more.
    """
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, float] = {}
    former = spare.tensors if spare else {}
    for index, slots in optimizer.state_dict()["state"].items():
        for slot, value in slots.items():
            name = f"{index}.{slot}"
            if isinstance(value, Tensor):
                tensors[name] = _copy(value, former.get(name))
            elif value is not None:
                scalars[name] = value
    return Snapshot(tensors=tensors, scalars=scalars)


def snapshot_bytes(snapshot: Snapshot) -> bytes:
    """The persisted form, as safetensors' own writer lays it out; other threads run beside it."""
    tensors = snapshot.tensors
    order = list(_DTYPES)
    names = sorted(tensors, key=lambda name: (order.index(tensors[name].dtype), name))
    header: dict[str, object] = {
        "__metadata__": {"scalars": json.dumps(snapshot.scalars, sort_keys=True)}
    }
    end = 0
    for name in names:
        start, end = end, end + tensors[name].nbytes
        header[name] = {
            "dtype": _DTYPES[tensors[name].dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    sink = io.BytesIO()
    sink.write(len(text).to_bytes(8, "little") + text)
    for name in names:
        for piece in _pieces(tensors[name]):
            sink.write(piece)
            time.sleep(0)  # lets go of Python's lock
    return sink.getvalue()


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


def _copy(value: Tensor, spare: Tensor | None) -> Tensor:
    if spare is not None and spare.shape == value.shape and spare.dtype == value.dtype:
        return spare.copy_(value.detach())
    return value.detach().to("cpu", copy=True).contiguous()


def _pieces(value: Tensor) -> Iterator[memoryview]:
    raw = value.contiguous().reshape(-1).view(torch.uint8).numpy().data
    for start in range(0, len(raw), PIECE_BYTES):
        yield raw[start : start + PIECE_BYTES]


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
