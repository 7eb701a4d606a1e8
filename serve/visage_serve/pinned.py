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
from visage.tracking.registry import Registry, committed_weights

if TYPE_CHECKING:
    from visage.inference.artifact import EmotionArtifact

__all__ = ["PinnedModel", "load_pinned", "pin_model", "pin_reference"]

HOW_TO_GET_ONE = (
    "to get a model: `visage demo` (minutes, on a small corpus), or `visage train` and then "
    "`visage promote`"
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


def pin_model(spec: ServeSpec) -> PinnedModel:
    """Resolve `spec.model` and check that exactly these weights are published.

    Raises:
        As `pin_reference`.
    """
    return pin_reference(spec.model, tracking_uri=spec.tracking_uri)


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
    database = tracking_uri.removeprefix("sqlite:///")
    if database != tracking_uri and not Path(database).exists():  # asking would create it
        raise NotFoundError(f"{database}: no model was registered there yet\n{how_to_get_one}")
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


def load_pinned(pinned: PinnedModel, *, device: str) -> EmotionArtifact:
    """The weights of a pinned model; CorruptError if other ones lie there by now."""
    from visage.inference.artifact import load_emotion_model

    artifact = load_emotion_model(pinned.uri, device=device)
    if artifact.digest != pinned.digest:
        raise CorruptError(
            f"{pinned.uri}: the weights changed since this deployment was started; start it again"
        )
    return artifact


def _published_digest(uri: str, how_to_get_one: str) -> str:
    try:
        return committed_weights(uri).digest()
    except TrackingError as err:
        raise NotFoundError(f"{err}\n{how_to_get_one}") from err
