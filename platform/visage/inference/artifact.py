"""Trained weights as a published artefact: safetensors beside a versioned description.

    <uri>/model.<sum>.safetensors    parameters and batch-norm statistics, fp32
    <uri>/model.<sum>.json           schema, spec, classes, metadata
    <uri>/COMMIT                     the marker, published last

Invariant: what loads is what was saved. Bytes are checked against the marker, the spec against this
version's fields, the tensors against the spec; nothing is guessed and nothing is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from visage.errors import CorruptError, DataError, NotFoundError, SpecError, TrainingError
from visage.models import build_emotion_model
from visage.specs.emotion import EmotionModelSpec
from visage.store.base import Store, join_uri
from visage.store.commit import commit, read_commit, read_part
from visage.store.open import open_store

__all__ = [
    "MODEL_SCHEMA",
    "EmotionArtifact",
    "load_emotion_model",
    "new_emotion_model",
    "read_weights",
    "save_emotion_model",
]

MODEL_SCHEMA = "visage.model/1"
KIND = "emotion"
WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DDP and torch.compile put before parameter names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionArtifact:
    """A trained emotion model, ready to predict."""

    model: nn.Module
    """In evaluation mode, on the device it was loaded for."""
    spec: EmotionModelSpec
    classes: tuple[str, ...]
    """Names of the outputs, in order."""
    digest: str
    """Identity of weights and description, as published."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What the saver wrote: run, data digest, step, scores."""


def save_emotion_model(
    store: Store,
    prefix: str,
    model: nn.Module,
    spec: EmotionModelSpec,
    *,
    classes: Sequence[str],
    metadata: Mapping[str, Any] | None = None,
) -> str:
    """Publish a model under a prefix and return its digest; saving the same again changes nothing.

    Raises:
        SpecError: the classes do not fit the spec's outputs.
        TrainingError: a weight is NaN or infinite.
        AlreadyExistsError: another model stands there.
    """
    _check_classes(classes, spec)
    tensors = {_plain(name): _portable(value) for name, value in model.state_dict().items()}
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise TrainingError(f"{name} holds NaN or infinity; a broken model is not published")
    parts: dict[str, bytes | Path] = {
        WEIGHTS: safetensors.torch.save(tensors),
        DESCRIPTION: _description(spec, classes, metadata or {}),
    }
    told = {**(metadata or {}), "schema": MODEL_SCHEMA, "kind": KIND}
    return commit(store, prefix, parts, metadata=told).digest()


def load_emotion_model(uri: str, *, device: str = "cpu") -> EmotionArtifact:
    """Load a published model for prediction.

    Args:
        uri: The folder or `s3://` prefix that holds the marker.
        device: A torch device, for example `cpu` or `cuda:0`.

    Raises:
        NotFoundError: no model was published there.
        CorruptError: a part is missing or damaged, or the tensors do not fit the spec.
        DataError: the description is of another kind or of an unknown schema.
        SpecError: the description's spec is not one that this version understands.
    """
    store, prefix = _split(uri)
    where = join_uri(store.uri, prefix)
    published = read_commit(store, prefix)
    if published is None:
        raise NotFoundError(f"{where}: no model was published there (no COMMIT marker)")
    for name in (WEIGHTS, DESCRIPTION):
        if name not in published.parts:
            raise CorruptError(f"{where}: the commit has no {name}; it is not a whole model")
    body = _parse(read_part(store, prefix, DESCRIPTION), where)
    spec = EmotionModelSpec.parse(body["spec"], origin=f"{where}/{DESCRIPTION}")
    _check_classes(body["classes"], spec)
    model = _rebuilt(spec, read_part(store, prefix, WEIGHTS), where)
    return EmotionArtifact(
        model=model.eval().to(_device(device)).to(memory_format=torch.channels_last),  # type: ignore[call-overload]  # torch's stubs lack it
        spec=spec,
        classes=tuple(body["classes"]),
        digest=published.digest(),
        metadata=body["metadata"],
    )


def new_emotion_model(spec: EmotionModelSpec, *, classes: Sequence[str] | None = None) -> nn.Module:
    """An untrained model; the trunks start from `spec.pretrained` where the spec names a file.

    Raises:
        SpecError: the file is missing or holds another network, or `classes` (those of the data)
            do not fit the spec's outputs: better now than when the trained model is saved.
        CorruptError: the file cannot be read.
    """
    if classes is not None:
        _check_classes(classes, spec)
    weights = None if spec.pretrained is None else read_weights(Path(spec.pretrained))
    return build_emotion_model(spec, trunk_weights=weights)


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


def _description(
    spec: EmotionModelSpec, classes: Sequence[str], metadata: Mapping[str, Any]
) -> bytes:
    body = {
        "schema": MODEL_SCHEMA,
        "kind": KIND,
        "spec": spec.model_dump(mode="json"),
        "classes": list(classes),
        "metadata": dict(metadata),
    }
    try:
        return json.dumps(body, sort_keys=True, indent=1, allow_nan=False).encode()
    except (TypeError, ValueError) as err:
        raise SpecError(f"metadata: only what JSON can say, without NaN: {err}") from None


def _split(uri: str) -> tuple[Store, str]:
    parent, _, prefix = uri.rstrip("/").rpartition("/")
    if prefix in ("", ".", "..") or prefix.endswith(":") or parent.endswith((":", ":/")):
        raise SpecError(f"model {uri!r}: name the model's own folder, for example models/emotion-1")
    if not parent:
        parent = "/" if uri.startswith("/") else "."
    return open_store(parent), prefix


def _parse(body: bytes, where: str) -> dict[str, Any]:
    try:
        values = json.loads(body)
        schema, kind = values["schema"], values["kind"]
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{where}/{DESCRIPTION}: not a model's description") from None
    if schema != MODEL_SCHEMA or kind != KIND:
        raise DataError(
            f"{where}: this is {kind!r} of schema {schema!r}; this version reads {KIND!r} of "
            f"{MODEL_SCHEMA!r}. Export the model again, or use the version that wrote it"
        )
    wanted = (("spec", dict), ("classes", list), ("metadata", dict))
    for name, kind_of in wanted:
        if not isinstance(values.get(name), kind_of):
            raise DataError(f"{where}/{DESCRIPTION}: `{name}` is missing or malformed")
    described: dict[str, Any] = values
    return described


def _rebuilt(spec: EmotionModelSpec, body: bytes, where: str) -> nn.Module:
    # the trunks' first weights were only a start; the artefact holds what became of them
    model = build_emotion_model(spec.model_copy(update={"pretrained": None}))
    try:
        model.load_state_dict(safetensors.torch.load(body))
    except (SafetensorError, RuntimeError) as err:
        raise CorruptError(f"{where}: the tensors are not those of the spec: {err}") from err
    return model


def _check_classes(classes: Sequence[object], spec: EmotionModelSpec) -> None:
    names = [name for name in classes if isinstance(name, str) and name]
    if len(names) != spec.class_count or len(set(names)) != len(classes):
        raise SpecError(
            f"classes {list(classes)}: the model has {spec.class_count} outputs; "
            "give each one its own name, or set model.class_count"
        )


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SpecError(f"device {name!r}: use cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SpecError(f"device {name!r}: this machine has no CUDA device; use cpu")
    return device


def _plain(name: str) -> str:
    while name.startswith(WRAPPERS):
        name = name.partition(".")[2]
    return name


def _portable(value: Tensor) -> Tensor:
    """On the CPU, contiguous, sharing no memory, fp32 if floating."""
    value = value.detach().cpu()
    return (value.float() if value.is_floating_point() else value).contiguous().clone()
