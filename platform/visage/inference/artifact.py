"""A trained emotion model as a published artefact: a part with the names of its outputs.

See `visage.inference.parts` for the form and its promises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from visage.errors import DataError, SpecError
from visage.inference.parts import (
    DESCRIPTION,
    MODEL_SCHEMA,
    load_weights,
    open_device,
    read_description,
    read_weights,
    save_part,
)
from visage.models import build_emotion_model
from visage.specs.emotion import EmotionModelSpec
from visage.store.base import Store

__all__ = [
    "MODEL_SCHEMA",
    "EmotionArtifact",
    "load_emotion_model",
    "new_emotion_model",
    "read_weights",
    "save_emotion_model",
]

KIND = "emotion"


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
    extra = {"classes": list(classes)}
    return save_part(store, prefix, model, kind=KIND, spec=spec, metadata=metadata, extra=extra)


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
    found = read_description(uri, kind=KIND)
    where = f"{found.where}/{DESCRIPTION}"
    classes = found.body.get("classes")
    if not isinstance(classes, list):
        raise DataError(f"{where}: `classes` is missing or malformed")
    spec = EmotionModelSpec.parse(found.body["spec"], origin=where)
    _check_classes(classes, spec)
    # the trunks' first weights were only a start; the artefact holds what became of them
    model = build_emotion_model(spec.model_copy(update={"pretrained": None}))
    load_weights(model, found)
    return EmotionArtifact(
        model=model.eval().to(open_device(device)).to(memory_format=torch.channels_last),  # type: ignore[call-overload]  # torch's stubs lack it
        spec=spec,
        classes=tuple(classes),
        digest=found.digest,
        metadata=found.body["metadata"],
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


def _check_classes(classes: Sequence[object], spec: EmotionModelSpec) -> None:
    names = [name for name in classes if isinstance(name, str) and name]
    if len(names) != spec.class_count or len(set(names)) != len(classes):
        raise SpecError(
            f"classes {list(classes)}: the model has {spec.class_count} outputs; "
            "give each one its own name, or set model.class_count"
        )
