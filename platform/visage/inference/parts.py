"""Trained weights of any part as a published artefact: safetensors beside a versioned description.

    <uri>/model.<sum>.safetensors    parameters and buffers, fp32
    <uri>/model.<sum>.json           schema, kind, spec, metadata and what the kind adds
    <uri>/COMMIT                     the marker, published last

Invariant: what loads is what was saved. Bytes are checked against the marker, the spec against this
version's fields, the tensors against the spec; nothing is guessed and nothing is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from visage.errors import CorruptError, DataError, NotFoundError, SpecError, TrainingError
from visage.specs.base import Spec
from visage.store.base import Store, join_uri
from visage.store.commit import commit, read_commit, read_part
from visage.store.open import open_store

__all__ = [
    "MODEL_SCHEMA",
    "Part",
    "described",
    "load_part",
    "open_device",
    "read_description",
    "read_published_weights",
    "read_weights",
    "save_part",
    "split_uri",
]

MODEL_SCHEMA = "visage.model/1"
WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DDP and torch.compile put before parameter names."""

S = TypeVar("S", bound=Spec)
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Generic[M, S]):
    """A trained part, ready to use."""

    model: M
    """In evaluation mode, frozen, on the device it was loaded for."""
    spec: S
    digest: str
    """Identity of weights and description, as published."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What the saver wrote: run, data digest, step, scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A published artefact before its weights are read."""

    where: str
    body: dict[str, Any]
    digest: str
    weights: bytes


def save_part(
    store: Store,
    prefix: str,
    model: nn.Module,
    *,
    kind: str,
    spec: Spec,
    metadata: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> str:
    """Publish a part under a prefix and return its digest; saving the same again changes nothing.

    Args:
        kind: What it is, for example `audio-encoder`; loading asks for the same kind.
        extra: Further keys of the description.

    Raises:
        TrainingError: a weight is NaN or infinite.
        SpecError: the metadata are not what JSON can say.
        AlreadyExistsError: another model stands there.
    """
    tensors = {_plain(name): _portable(value) for name, value in model.state_dict().items()}
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise TrainingError(f"{name} holds NaN or infinity; a broken model is not published")
    body = {
        "schema": MODEL_SCHEMA,
        "kind": kind,
        "spec": spec.model_dump(mode="json"),
        "metadata": dict(metadata or {}),
        **(extra or {}),
    }
    parts: dict[str, bytes | Path] = {
        WEIGHTS: safetensors.torch.save(tensors),
        DESCRIPTION: described(body),
    }
    told = {**(metadata or {}), "schema": MODEL_SCHEMA, "kind": kind}
    return commit(store, prefix, parts, metadata=told).digest()


def load_part(
    uri: str, *, kind: str, spec_class: type[S], build: Callable[[S], M], device: str = "cpu"
) -> Part[M, S]:
    """Load a published part for use, frozen and in evaluation mode.

    Args:
        uri: The folder or `s3://` prefix that holds the marker.
        build: Makes an untrained network of a spec.
        device: A torch device, for example `cpu` or `cuda:0`.

    Raises:
        NotFoundError: no model was published there.
        CorruptError: a part is missing or damaged, or the tensors do not fit the spec.
        DataError: the description is of another kind or of an unknown schema.
        SpecError: the description's spec is not one that this version understands.
    """
    found = read_description(uri, kind=kind)
    spec = spec_class.parse(found.body["spec"], origin=f"{found.where}/{DESCRIPTION}")
    model = build(spec)
    load_weights(model, found)
    return Part(
        model=model.eval().requires_grad_(False).to(open_device(device)),
        spec=spec,
        digest=found.digest,
        metadata=found.body["metadata"],
    )


def read_description(uri: str, *, kind: str) -> Description:
    """What is published under a URI, its parts checked against the marker; see `load_part`."""
    store, prefix, where, digest = _published(uri)
    body = _parse(read_part(store, prefix, DESCRIPTION), where, kind)
    weights = read_part(store, prefix, WEIGHTS)
    return Description(where=where, body=body, digest=digest, weights=weights)


def read_published_weights(uri: str) -> dict[str, Tensor]:
    """Named tensors of a published part of any kind.

    Raises:
        NotFoundError: no model was published there.
        CorruptError: it is damaged or not whole.
    """
    store, prefix, where, _ = _published(uri)
    try:
        return safetensors.torch.load(read_part(store, prefix, WEIGHTS))
    except SafetensorError as err:
        raise CorruptError(f"{where}: {WEIGHTS} is not readable: {err}") from err


def load_weights(model: nn.Module, found: Description) -> None:
    """Put published weights into an untrained network; CorruptError if they do not fit."""
    try:
        model.load_state_dict(safetensors.torch.load(found.weights))
    except (SafetensorError, RuntimeError) as err:
        raise CorruptError(f"{found.where}: the tensors are not those of the spec: {err}") from err


def read_weights(path: Path) -> dict[str, Tensor]:
    """Named tensors of a `.safetensors` file, or of a `.pth`/`.pt` state dict read without pickles.

    Raises:
        SpecError: there is no such file, or it ends otherwise.
        CorruptError: it cannot be read as what its name says.
    """
    if not path.is_file():
        raise SpecError(f"pretrained: {path}: no such file; weights are never downloaded")
    if path.suffix not in (".safetensors", ".pth", ".pt"):
        raise SpecError(f"pretrained: {path}: need .safetensors, .pth or .pt")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:  # torch names its refusals differently in every version
        raise CorruptError(
            f"pretrained: {path}: not readable as a plain state dict of tensors: {err}"
        ) from err
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise CorruptError(f"pretrained: {path}: not a plain state dict of named tensors")
    return found


def open_device(name: str) -> torch.device:
    """A torch device by name; SpecError if there is no such device here."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SpecError(f"device {name!r}: use cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SpecError(f"device {name!r}: this machine has no CUDA device; use cpu")
    return device


def described(body: Mapping[str, Any]) -> bytes:
    """A description as bytes; SpecError for what JSON cannot say."""
    try:
        return json.dumps(body, sort_keys=True, indent=1, allow_nan=False).encode()
    except (TypeError, ValueError) as err:
        raise SpecError(f"metadata: only what JSON can say, without NaN: {err}") from None


def split_uri(uri: str) -> tuple[Store, str]:
    """The store and the prefix of a published folder; SpecError for a URI that names none."""
    parent, _, prefix = uri.rstrip("/").rpartition("/")
    if prefix in ("", ".", "..") or prefix.endswith(":") or parent.endswith((":", ":/")):
        raise SpecError(f"model {uri!r}: name the model's own folder, for example models/emotion-1")
    if not parent:
        parent = "/" if uri.startswith("/") else "."
    return open_store(parent), prefix


def _published(uri: str) -> tuple[Store, str, str, str]:
    """Store, prefix, place and digest of a whole published part."""
    store, prefix = split_uri(uri)
    where = join_uri(store.uri, prefix)
    published = read_commit(store, prefix)
    if published is None:
        raise NotFoundError(f"{where}: no model was published there (no COMMIT marker)")
    for name in (WEIGHTS, DESCRIPTION):
        if name not in published.parts:
            raise CorruptError(f"{where}: the commit has no {name}; it is not a whole model")
    return store, prefix, where, published.digest()


def _parse(body: bytes, where: str, kind: str) -> dict[str, Any]:
    try:
        values = json.loads(body)
        schema, found = values["schema"], values["kind"]
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{where}/{DESCRIPTION}: not a model's description") from None
    if schema != MODEL_SCHEMA or found != kind:
        raise DataError(
            f"{where}: this is {found!r} of schema {schema!r}; needed is {kind!r} of "
            f"{MODEL_SCHEMA!r}. Name another model, export it again, or use the version that "
            "wrote it"
        )
    for name in ("spec", "metadata"):
        if not isinstance(values.get(name), dict):
            raise DataError(f"{where}/{DESCRIPTION}: `{name}` is missing or malformed")
    whole: dict[str, Any] = values
    return whole


def _plain(name: str) -> str:
    while name.startswith(WRAPPERS):
        name = name.partition(".")[2]
    return name


def _portable(value: Tensor) -> Tensor:
    """On the CPU, contiguous, sharing no memory, fp32 if floating."""
    value = value.detach().cpu()
    return (value.float() if value.is_floating_point() else value).contiguous().clone()
