"""A style as what it changes in a motion generator: small, named, and tied to its base.

    <uri>/model.<sum>.safetensors    the new values of the tensors that differ from the base's
    <uri>/model.<sum>.json           schema, kind `style`, name, digest of the base, metadata

Invariant: base plus style is the fine-tuned generator, bit for bit. A style refuses any base but
the one it was made from: its tensors would fit and mean nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from visage.errors import CorruptError, SpecError, TrainingError
from visage.inference.parts import MODEL_SCHEMA, Part, described, read_description
from visage.specs.base import Spec
from visage.specs.style_transfer import StyleDeltaSpec
from visage.store.base import Store
from visage.store.commit import commit

__all__ = [
    "STYLE",
    "StyleDelta",
    "apply_style",
    "check_base",
    "load_style",
    "save_style",
    "style_delta",
]

STYLE = "style"
"""The kind that its description states."""

S = TypeVar("S", bound=Spec)
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleDelta:
    """A named change of a motion generator."""

    spec: StyleDeltaSpec
    tensors: dict[str, Tensor]
    """New values by name, on the CPU; only those that differ."""
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the style."""
        return self.spec.name

    @property
    def size_bytes(self) -> int:
        """Of the tensors."""
        return sum(one.numel() * one.element_size() for one in self.tensors.values())


def style_delta(
    base: nn.Module, tuned: nn.Module, *, spec: StyleDeltaSpec,
    metadata: Mapping[str, Any] | None = None,
) -> StyleDelta:  # fmt: skip
    """What differs between two generators of one spec.

    Raises:
        SpecError: their tensors are not the same ones.
        TrainingError: a tuned weight is NaN or infinite.
    """
    before, after = base.state_dict(), tuned.state_dict()
    shapes = [{name: one.shape for name, one in state.items()} for state in (before, after)]
    if shapes[0] != shapes[1]:
        raise SpecError("base and fine-tuned generator are of different specs; no style is made")
    changed = {}
    for name, value in after.items():
        value, former = value.detach().cpu(), before[name].detach().cpu().to(value.dtype)
        if not torch.equal(value, former):
            if not bool(torch.isfinite(value).all()):
                raise TrainingError(f"{name} holds NaN or infinity; no style is made of it")
            changed[name] = value.contiguous().clone()
    return StyleDelta(spec=spec, tensors=changed, metadata=dict(metadata or {}))


def apply_style(base: Part[M, S], delta: StyleDelta) -> M:
    """A copy of the base that moves in this style; the base stays as it is.

    Raises:
        SpecError: the style belongs to another base.
        CorruptError: its tensors are not those of the base.
    """
    check_base(base, delta)
    styled = copy.deepcopy(base.model)
    state = styled.state_dict()
    for name, value in delta.tensors.items():
        if name not in state or state[name].shape != value.shape:
            raise CorruptError(f"style {delta.name!r}: its base has no tensor {name} of that shape")
        state[name].copy_(value)
    return styled


def check_base(base: Part[M, S], delta: StyleDelta | None) -> None:
    """Raise SpecError if a style, where there is one, belongs to another base."""
    if delta is not None and delta.spec.base != base.digest:
        raise SpecError(
            f"style {delta.name!r} changes the motion generator {delta.spec.base[:12]}…, this one "
            f"is {base.digest[:12]}…; load the generator it was made from, or train the style anew"
        )


def save_style(store: Store, prefix: str, delta: StyleDelta) -> str:
    """Publish a style under a prefix and return its digest.

    Raises:
        SpecError: the metadata are not what JSON can say.
        AlreadyExistsError: something else stands there.
    """
    body = {
        "schema": MODEL_SCHEMA,
        "kind": STYLE,
        "spec": delta.spec.model_dump(mode="json"),
        "metadata": delta.metadata,
    }
    parts = {
        "model.safetensors": safetensors.torch.save(delta.tensors),
        "model.json": described(body),
    }
    told = {**delta.metadata, "schema": MODEL_SCHEMA, "kind": STYLE}
    return commit(store, prefix, parts, metadata=told).digest()


def load_style(uri: str) -> StyleDelta:
    """A published style.

    Raises:
        NotFoundError: nothing was published there.
        CorruptError: a part is missing or damaged.
        DataError: it is something else than a style.
        SpecError: its description is not one that this version understands.
    """
    found = read_description(uri, kind=STYLE)
    spec = StyleDeltaSpec.parse(found.body["spec"], origin=found.where)
    try:
        tensors = safetensors.torch.load(found.weights)
    except SafetensorError as err:
        raise CorruptError(f"{found.where}: the tensors are damaged: {err}") from err
    return StyleDelta(spec=spec, tensors=tensors, metadata=found.body["metadata"])
