"""`visage assemble`: trained parts and the styles of a corpus become one talking head with a name.

The model is published under `models/`, registered, and an alias is pointed to it, as promoted
emotion models are; `visage animate`, `render`, `serve` and `transfer-style` find it by that alias.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from visage.data.clip_rows import CLIP_ROWS
from visage.data.shards import ShardRows, load_manifest
from visage.errors import DataError, NotFoundError, SpecError
from visage.inference.parts import read_description, split_uri
from visage.inference.style_card import StyleCard
from visage.inference.style_delta import load_style
from visage.inference.talking_head import (
    CLIP_MARGIN,
    GENERATOR,
    MOTION,
    PartUris,
    publish_talking_head,
)
from visage.landmarks import OUTER_EYE_CORNERS, POINTS
from visage.store.base import join_uri
from visage.store.commit import read_commit
from visage.store.open import open_store
from visage.tracking.registry import ModelVersion, Registry
from visage_jobs.workspace import Workspace

__all__ = ["AssembleJob", "Assembled", "run_assemble", "styles_of_corpus"]

UNNAMED = "unknown"
DEFAULT_STYLE = "neutral"
"""What the style of clips is called for which none is stated."""
CALM = (DEFAULT_STYLE, "plain")
"""Styles that come first, and so by default, if there are such."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssembleJob:
    """What to put together."""

    workspace: Workspace
    motion: str
    """Run or model."""
    generator: str
    data: str
    """Prepared clips that show the styles; a name in the workspace, or a URI."""
    audio_encoder: str | None = None
    """None = the one that the motion generator names."""
    style_mapping: str | None = None
    """None = the one that the generator names."""
    style_runs: tuple[str, ...] = ()
    """Runs of `style-transfer`, whose motion goes to the style of their name."""
    name: str = "talking-head"
    alias: str = "champion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """A talking head with a name."""

    version: ModelVersion
    alias: str
    uri: str
    digest: str
    styles: tuple[str, ...]
    parts: dict[str, str]


def run_assemble(job: AssembleJob) -> Assembled:
    """Publish, register, and point the alias; the same parts again change nothing.

    Raises:
        NotFoundError: a part or the corpus is not there.
        SpecError: the parts do not belong together.
    """
    parts = _parts(job)
    data_uri = job.data if "/" in job.data else job.workspace.data(job.data)
    cards, mean = styles_of_corpus(data_uri)
    framing = _framing(data_uri)
    deltas = [_model_uri(job.workspace, run) for run in job.style_runs]
    cards = _with_motion(cards, deltas)
    identity = _identity(data_uri, [*parts.named().values(), *deltas])
    store = open_store(job.workspace.root)
    prefix = f"models/{job.name}-{identity[:10]}"
    digest = publish_talking_head(
        store, prefix, parts, styles=cards, mean=mean, metadata={"data": data_uri, **framing}
    )
    uri = join_uri(job.workspace.root, prefix)
    registry = Registry(job.workspace.tracking_uri())
    version = registry.register(job.name, uri=uri, digest=digest)
    registry.set_alias(
        job.name, job.alias, version.version, expected=registry.alias(job.name, job.alias)
    )
    return Assembled(
        version=version,
        alias=job.alias,
        uri=uri,
        digest=digest,
        styles=tuple(card.name for card in cards),
        parts=parts.named(),
    )


def styles_of_corpus(data_uri: str) -> tuple[list[StyleCard], NDArray[np.float32]]:
    """One card a style of the training split, of the clip that shows it best; and the mean face.

    The first style is a calm one if there is any, else the one with the most clips.

    Raises:
        DataError: no clips are prepared there.
    """
    manifest, store = load_manifest(data_uri)
    if manifest.kind != CLIP_ROWS:
        raise DataError(
            f"{data_uri}: rows of kind {manifest.kind}; styles are shown by {CLIP_ROWS}"
        )
    rows = ShardRows(manifest, store, "train")
    if not len(rows):
        raise DataError(f"{data_uri}: the training split is empty; nothing shows a style")
    stated = (str(one) or UNNAMED for one in rows.column("style"))
    names = [DEFAULT_STYLE if one == UNNAMED else one for one in stated]
    coverage = [float(np.sum(one)) for one in rows.column("coverage")]
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    cards = []
    for name in sorted(counts, key=lambda one: (one not in CALM, -counts[one])):
        best = max(
            (index for index, one in enumerate(names) if one == name), key=coverage.__getitem__
        )
        cards.append(_card(name, rows, best))
    means = np.stack([_in_eye_distances(body) for body in rows.column("mean")])
    return cards, means.mean(axis=0).astype(np.float32)


def _framing(data_uri: str) -> dict[str, float]:
    """How the corpus framed its faces, where its manifest says so; portraits are framed alike."""
    margin = load_manifest(data_uri)[0].settings.get("margin")
    return {CLIP_MARGIN: float(margin)} if isinstance(margin, int | float) else {}


def _identity(data_uri: str, models: Sequence[str]) -> str:
    """Of all that goes in, by content: what was trained or prepared anew is another model."""
    manifest, _ = load_manifest(data_uri)
    digests = [_digest(uri) for uri in models]
    return hashlib.sha256(repr((data_uri, manifest.digest(), digests)).encode()).hexdigest()


def _digest(uri: str) -> str:
    store, prefix = split_uri(uri)
    found = read_commit(store, prefix)
    if found is None:
        raise NotFoundError(f"{uri}: the model went away; train it again")
    return found.digest()


def _card(name: str, rows: ShardRows, index: int) -> StyleCard:
    row = rows.row(index, ("key", "references", "reference_points", "coverage"))
    return StyleCard(
        name=name,
        pictures=tuple(row["references"]),
        points=np.frombuffer(row["reference_points"], "<f4").reshape(-1, POINTS, 2),
        coverage=tuple(float(one) for one in row["coverage"]),
        metadata={"clip": str(row["key"])},
    )


def _in_eye_distances(body: bytes) -> NDArray[np.float64]:
    mean = np.frombuffer(body, "<f4").reshape(POINTS, 3).astype(np.float64)
    right, left = OUTER_EYE_CORNERS
    return mean / np.linalg.norm(mean[left] - mean[right])


def _with_motion(cards: Sequence[StyleCard], deltas: Sequence[str]) -> list[StyleCard]:
    by_name = {card.name: card for card in cards}
    for uri in deltas:
        delta = load_style(uri)
        if delta.name not in by_name:
            raise SpecError(
                f"{uri} moves in style {delta.name!r}, which no clip of the corpus shows; there "
                f"are {', '.join(by_name)}"
            )
        by_name[delta.name] = replace(by_name[delta.name], motion=delta)
    return list(by_name.values())


def _parts(job: AssembleJob) -> PartUris:
    motion, generator = (_model_uri(job.workspace, one) for one in (job.motion, job.generator))
    heard = read_description(motion, kind=MOTION).body["metadata"].get("audio_encoder")
    shown = read_description(generator, kind=GENERATOR).body["metadata"].get("style_mapping")
    encoder = job.audio_encoder or heard
    mapping = job.style_mapping or shown
    return PartUris(
        motion=motion,
        generator=generator,
        audio_encoder=None if encoder is None else _model_uri(job.workspace, str(encoder)),
        style_mapping=None if mapping is None else _model_uri(job.workspace, str(mapping)),
    )


def _model_uri(workspace: Workspace, name: str) -> str:
    """A run's name, its URI or the URI of its model, to the latter."""
    base = (name if "/" in name else workspace.run(name)).rstrip("/")
    parent, _, last = base.rpartition("/")
    for root, prefix in ((base, "model"), (parent, last)):
        if root and open_store(root).stat(f"{prefix}/COMMIT") is not None:
            return join_uri(root, prefix)
    raise NotFoundError(f"{name}: no finished run and no model; looked under {base}")
