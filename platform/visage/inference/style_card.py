"""A style as people hand it around: five pictures, their landmarks and, if trained, a motion delta.

    <uri>/neutral.<sum>.jpg, none…, m…, r…, o…     who shows it: at rest, and the four key motions
    <uri>/style.<sum>.json                         schema, name, landmarks, coverage, metadata
    <uri>/COMMIT
    <uri>/motion/…                                 a `visage.inference.style_delta`, if there is one

The pictures tell the generator what the style looks like, the delta tells the motion generator how
it moves (models.md A.6, A.9).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visage.data.clip_rows import REFERENCES
from visage.errors import CorruptError, DataError, NotFoundError, SpecError
from visage.inference.parts import described, split_uri
from visage.inference.style_delta import StyleDelta, load_style, save_style
from visage.landmarks import POINTS
from visage.media.image import Image
from visage.media.stored import decode_stored
from visage.store.base import Store, join_uri
from visage.store.commit import commit, read_commit, read_part

__all__ = ["StyleCard", "check_style_name", "load_style_card", "save_style_card"]

SCHEMA = "visage.style-card/1"
DESCRIPTION = "style.json"
MOTION = "motion"
LEAST_COVERAGE = 0.3
"""Below which a reference does not show its key motion."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleCard:
    """A named style."""

    name: str
    pictures: tuple[bytes, ...]
    """JPEGs of one square size: neutral, None, M, R, O."""
    points: NDArray[np.float32]
    """Their landmarks in pixels, shape (5, 68, 2)."""
    coverage: tuple[float, ...]
    """Whether each of the four references shows its key motion, 0 … 1."""
    motion: StyleDelta | None = None
    """What it changes in the motion generator; None = it only looks different."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Where it came from: clip, style distances before and after."""
    digest: str = ""
    """Identity of what is published; empty before."""

    def missing(self) -> list[tuple[str, float]]:
        """Key motions that the references hardly show, each with its coverage."""
        named = zip(REFERENCES[1:], self.coverage, strict=True)
        return [(name, share) for name, share in named if share < LEAST_COVERAGE]

    def images(self) -> list[Image]:
        """The five pictures, uint8 (S, S, 3)."""
        return [decode_stored(body) for body in self.pictures]


def check_style_name(name: str) -> str:
    """The name; SpecError if it is none that can be a folder and a query parameter."""
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"style {name!r}: use letters, digits, '.', '_' and '-', at most 64, the first a "
            "letter or a digit"
        )
    return name


def save_style_card(store: Store, prefix: str, card: StyleCard) -> str:
    """Publish a style under a prefix and return its digest; the delta goes first.

    Raises:
        SpecError: a name that cannot be a folder, or metadata that JSON cannot say.
        DataError: pictures or landmarks are not five.
        AlreadyExistsError: another style stands there.
    """
    check_style_name(card.name)
    if len(card.pictures) != len(REFERENCES) or card.points.shape != (len(REFERENCES), POINTS, 2):
        raise DataError(
            f"style {card.name!r}: {len(card.pictures)} pictures, points {card.points.shape}; "
            f"needed are {len(REFERENCES)} and ({len(REFERENCES)}, {POINTS}, 2)"
        )
    motion = None
    if card.motion is not None:
        motion = save_style(store, f"{prefix}/{MOTION}", card.motion)
    body = {
        "schema": SCHEMA,
        "name": card.name,
        "points": card.points.astype(float).round(3).tolist(),
        "coverage": [round(float(one), 4) for one in card.coverage],
        "motion": motion,
        "metadata": card.metadata,
    }
    parts: dict[str, bytes] = {DESCRIPTION: described(body)}
    parts |= {
        f"{name.lower()}.jpg": picture
        for name, picture in zip(REFERENCES, card.pictures, strict=True)
    }
    return commit(store, prefix, dict(parts), metadata={"schema": SCHEMA}).digest()


def load_style_card(uri: str) -> StyleCard:
    """A published style.

    Raises:
        NotFoundError: nothing was published there.
        CorruptError: a part is missing or damaged, or its delta is another one.
        DataError: it is something else than a style.
    """
    store, prefix = split_uri(uri)
    where = join_uri(store.uri, prefix)
    published = read_commit(store, prefix)
    if published is None:
        raise NotFoundError(f"{where}: no style was published there (no COMMIT marker)")
    if DESCRIPTION not in published.parts:
        raise DataError(f"{where}: this is no style; it has no {DESCRIPTION}")
    body = _parsed(read_part(store, prefix, DESCRIPTION), where)
    pictures = tuple(read_part(store, prefix, f"{name.lower()}.jpg") for name in REFERENCES)
    motion = None
    if body["motion"] is not None:
        motion = load_style(join_uri(where, MOTION))
        standing = read_commit(store, f"{prefix}/{MOTION}")
        if standing is None or standing.digest() != body["motion"]:
            raise CorruptError(f"{where}/{MOTION}: not the motion that this style was saved with")
    return StyleCard(
        name=str(body["name"]),
        pictures=pictures,
        points=np.array(body["points"], np.float32),
        coverage=tuple(body["coverage"]),
        motion=motion,
        metadata=body["metadata"],
        digest=published.digest(),
    )


def _parsed(raw: bytes, where: str) -> Mapping[str, Any]:
    try:
        body = json.loads(raw)
        schema = body["schema"]
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{where}/{DESCRIPTION}: not a style's description") from None
    if schema != SCHEMA:
        raise DataError(f"{where}: schema {schema!r}, needed is {SCHEMA!r}; save it again")
    found: Mapping[str, Any] = body
    return found
