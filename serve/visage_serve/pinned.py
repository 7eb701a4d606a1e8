"""Which weights a deployment runs: looked up once, then pinned by digest for all its replicas.

A replica that restarts therefore needs neither the registry nor luck: an alias that moved in the
meantime does not give two replicas of one deployment two models.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from visage.errors import CorruptError, NotFoundError, SpecError, TrackingError
from visage.specs.serve import ServeSpec, names_registry
from visage.tracking.registry import (
    DEFAULT_ALIAS,
    Registry,
    committed_weights,
    parse_reference,
)

if TYPE_CHECKING:
    from visage.inference.artifact import EmotionArtifact
    from visage.inference.talking_head import TalkingHead

__all__ = [
    "HOW_TO_GET_A_HEAD",
    "PinnedModel",
    "PinnedModels",
    "load_pinned",
    "load_pinned_head",
    "pin_models",
    "pin_reference",
]

EMOTION, HEAD = "emotion@champion", "talking-head@champion"
"""What is looked for where no model is named."""
HOW_TO_GET_ONE = (
    "to get a model: `visage demo` (minutes, on a small corpus), or `visage train` and then "
    "`visage promote`"
)
HOW_TO_GET_A_HEAD = (
    "to get a talking head: `visage demo` (minutes, on drawn people), or train its parts "
    "(`visage train audio-encoder`, motion, generator) and put them together (`visage assemble`)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedModel:
    """One artefact by name, place and identity."""

    name: str
    version: str | None
    """Version in the registry; None for an artefact that was named by its URI."""
    uri: str
    digest: str

    @property
    def title(self) -> str:
        """For people: name, version and the start of the digest."""
        version = "" if self.version is None else f"/{self.version}"
        return f"{self.name}{version} ({self.digest[:12]})"


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedModels:
    """What one application serves; at least one of the two."""

    emotion: PinnedModel | None = None
    talking_head: PinnedModel | None = None

    def present(self) -> tuple[PinnedModel, ...]:
        """Those that there are."""
        return tuple(one for one in (self.emotion, self.talking_head) if one is not None)


def pin_models(spec: ServeSpec) -> PinnedModels:
    """Resolve what the spec names, or the champions that are registered if it names nothing.

    Raises:
        As `pin_reference`; NotFoundError also if nothing is named and nothing is registered.
    """
    emotion, head = spec.model, spec.talking_head
    if emotion is None and head is None:
        emotion, head = (_if_registered(name, spec.tracking_uri) for name in (EMOTION, HEAD))
        if head is None:
            emotion = EMOTION  # to be told what is missing, and how to get it
    return PinnedModels(
        emotion=None if emotion is None else pin_reference(emotion, tracking_uri=spec.tracking_uri),
        talking_head=None
        if head is None
        else pin_reference(head, tracking_uri=spec.tracking_uri, how_to_get_one=HOW_TO_GET_A_HEAD),
    )


def _if_registered(reference: str, tracking_uri: str | None) -> str | None:
    """The reference, or None if its alias points to nothing."""
    if tracking_uri is None or not _exists(tracking_uri):
        return None
    name, alias, _ = parse_reference(reference)
    found = Registry(tracking_uri).alias(name, alias or DEFAULT_ALIAS)
    return None if found is None else reference


def pin_reference(
    model: str, *, tracking_uri: str | None, how_to_get_one: str = HOW_TO_GET_ONE
) -> PinnedModel:
    """Resolve a registry reference or a URI and check that exactly these weights are published.

    Args:
        model: `name@alias`, `name/3`, or the URI of an artefact.
        tracking_uri: Where the registry lives; only for references.
        how_to_get_one: What a person without a model is told.

    Raises:
        SpecError: a registry reference without `tracking_uri`.
        NotFoundError: no such model; the message says how to get one.
        CorruptError: the artefact is not the one that was registered.
    """
    if not names_registry(model):
        uri = model.rstrip("/") if "://" in model else str(Path(model).resolve())
        digest = _published_digest(uri, how_to_get_one)
        return PinnedModel(name=uri.rpartition("/")[2], version=None, uri=uri, digest=digest)
    if tracking_uri is None:
        raise SpecError(
            f"model {model!r} is a registry reference: set tracking_uri to where the registry "
            "lives, or give the URI of an artefact"
        )
    if not _exists(tracking_uri):
        raise NotFoundError(f"{tracking_uri}: no model was registered there yet\n{how_to_get_one}")
    try:
        found = Registry(tracking_uri).resolve(model)
    except TrackingError as err:
        raise NotFoundError(f"{err}\n{how_to_get_one}") from err
    if _published_digest(found.uri, how_to_get_one) != found.digest:
        raise CorruptError(
            f"{found.uri}: these are not the weights that {found.reference} was registered with; "
            "restore them, or promote another version"
        )
    return PinnedModel(name=found.name, version=found.version, uri=found.uri, digest=found.digest)


def _exists(tracking_uri: str) -> bool:
    """Whether there may be a registry; asking a database that is not there would create it."""
    database = tracking_uri.removeprefix("sqlite:///")
    return database == tracking_uri or Path(database).exists()


def load_pinned(pinned: PinnedModel, *, device: str) -> EmotionArtifact:
    """The weights of a pinned model; CorruptError if other ones lie there by now."""
    from visage.inference.artifact import load_emotion_model

    artifact = load_emotion_model(pinned.uri, device=device)
    _check_same(pinned, artifact.digest)
    return artifact


def load_pinned_head(pinned: PinnedModel, *, device: str) -> TalkingHead:
    """The talking head that was pinned; CorruptError if another one lies there by now."""
    from visage.inference.talking_head import load_talking_head

    head = load_talking_head(pinned.uri, device=device)
    _check_same(pinned, head.digest)
    return head


def _check_same(pinned: PinnedModel, digest: str) -> None:
    if digest != pinned.digest:
        raise CorruptError(
            f"{pinned.uri}: the weights changed since this deployment was started; start it again"
        )


def _published_digest(uri: str, how_to_get_one: str) -> str:
    try:
        return committed_weights(uri).digest()
    except TrackingError as err:
        raise NotFoundError(f"{err}\n{how_to_get_one}") from err
