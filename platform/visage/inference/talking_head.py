"""The talking head as one published model: its trained parts, its styles and a mean face.

    <uri>/audio-encoder/…   motion/…   style-mapping/…   generator/…     parts, copied whole
    <uri>/styles/<name>/…                                                style cards
    <uri>/talking-head.<sum>.json     schema, digest of each part and style, mean shape
    <uri>/COMMIT                      published last

Invariant: what is inside fits together. The motion generator hears through the encoder that it was
trained with, the generator sees patterns of the mapping that it was trained with; anything else is
refused when the model is put together, and again when it is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visage.errors import CorruptError, DataError, NotFoundError, SpecError
from visage.inference.audio_encoder import load_audio_encoder
from visage.inference.generator import load_generator
from visage.inference.parts import Part, described, load_part, open_device, split_uri
from visage.inference.style_card import StyleCard, load_style_card, save_style_card
from visage.inference.style_delta import apply_style, check_base
from visage.inference.style_patterns import StylePatterns
from visage.landmarks import POINTS
from visage.models.audio.apc import AudioEncoder
from visage.models.generator import Generator
from visage.models.motion import MotionGenerator
from visage.models.style_mapping import StyleMapping
from visage.specs.audio import AudioFrontSpec
from visage.specs.generator import GeneratorSpec
from visage.specs.motion import MotionSpec
from visage.specs.style_mapping import StyleMappingSpec
from visage.store.base import Store, join_uri
from visage.store.commit import commit, copy_commit, read_commit, read_part

__all__ = [
    "CLIP_MARGIN",
    "TALKING_HEAD",
    "PartUris",
    "TalkingHead",
    "load_talking_head",
    "publish_talking_head",
]

TALKING_HEAD = "talking-head"
SCHEMA = "visage.talking-head/1"
DESCRIPTION = "talking-head.json"
CLIP_MARGIN = "clip_margin"
"""Key of the metadata: room around the faces of the training clips (`ClipPrepareSpec.margin`)."""
ENCODER, MOTION, MAPPING, GENERATOR = "audio-encoder", "motion", "style-mapping", "generator"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartUris:
    """Where the trained parts of a talking head lie."""

    motion: str
    generator: str
    audio_encoder: str | None = None
    """None: the motion generator hears mel frames."""
    style_mapping: str | None = None
    """None: the generator sees the reference pictures themselves."""

    def named(self) -> dict[str, str]:
        """Those that there are, by their names in the model."""
        uris = {ENCODER: self.audio_encoder, MOTION: self.motion, MAPPING: self.style_mapping,
                GENERATOR: self.generator}  # fmt: skip
        return {name: uri for name, uri in uris.items() if uri is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkingHead:
    """Everything that turns a portrait and a sound into pictures, loaded and frozen."""

    motion: Part[MotionGenerator, MotionSpec]
    generator: Part[Generator, GeneratorSpec]
    audio_encoder: AudioEncoder | None
    front: AudioFrontSpec
    """How sound becomes mel frames."""
    patterns: StylePatterns | None
    """None: style references are shown to the generator as they are."""
    mean: NDArray[np.float32]
    """Mean face of the training clips in eye distances, (68, 3): how far a mouth is open."""
    styles: Mapping[str, StyleCard]
    """By name, in the order in which they were put in; the first is the default."""
    digest: str
    uri: str
    device: torch.device
    metadata: dict[str, Any] = field(default_factory=dict)

    def style(self, name: str | None) -> StyleCard:
        """A style by name, or the default; SpecError names those that there are."""
        if name is None:
            return next(iter(self.styles.values()))
        if name not in self.styles:
            raise SpecError(
                f"style {name!r}: this model has {', '.join(self.styles)}; make one of a clip: "
                f"visage transfer-style --clip CLIP --name {name}"
            )
        return self.styles[name]

    def motion_in(self, style: StyleCard) -> MotionGenerator:
        """The motion generator as it moves in a style.

        Raises:
            SpecError: the style's motion belongs to another motion generator.
        """
        if style.motion is None:
            return self.motion.model
        return apply_style(self.motion, style.motion)

    def patterns_of(self, neutral: Tensor, references: Tensor) -> Tensor:
        """What the generator sees of a style: (4, 3, S, S) in [-1, 1].

        Args:
            neutral: The person to animate at rest, (3, S, S) in [-1, 1].
            references: The style's four references, (4, 3, S, S).
        """
        if self.patterns is None:
            return references
        made = self.patterns(neutral, references)
        size = self.generator.spec.size
        if made.shape[-1] == size:
            return made
        return torch.nn.functional.interpolate(
            made, (size, size), mode="bicubic", antialias=True
        ).clamp(-1, 1)


def publish_talking_head(
    store: Store,
    prefix: str,
    parts: PartUris,
    *,
    styles: Sequence[StyleCard],
    mean: NDArray[np.float32],
    metadata: Mapping[str, Any] | None = None,
) -> str:
    """Put parts and styles together under one prefix and return the model's digest.

    Args:
        styles: At least one; the first is the default.
        mean: Mean face of the training clips, (68, 3).

    Raises:
        NotFoundError: a part was not published.
        SpecError: no styles, two of one name, or parts that do not belong together.
        AlreadyExistsError: another model stands there.
    """
    names = [style.name for style in styles]
    if not names or len(set(names)) != len(names):
        raise SpecError(f"styles {names}: give at least one, each name once")
    if mean.shape != (POINTS, 3) or not np.isfinite(mean).all():
        raise DataError(f"mean face {mean.shape}: need finite ({POINTS}, 3)")
    copied = {}
    for name, uri in parts.named().items():
        source, source_prefix = split_uri(uri)
        found = copy_commit(source, source_prefix, store, f"{prefix}/{name}")
        copied[name] = found.digest()
    body = {
        "schema": SCHEMA,
        "kind": TALKING_HEAD,
        "parts": copied,
        "styles": [
            [style.name, save_style_card(store, f"{prefix}/styles/{style.name}", style)]
            for style in styles
        ],
        "mean": mean.astype(float).round(6).tolist(),
        "metadata": dict(metadata or {}),
    }
    _load(join_uri(store.uri, prefix), body, torch.device("cpu"), digest="")  # refuses misfits
    told = {**(metadata or {}), "schema": SCHEMA, "kind": TALKING_HEAD}
    return commit(store, prefix, {DESCRIPTION: described(body)}, metadata=told).digest()


def load_talking_head(uri: str, *, device: str = "cpu") -> TalkingHead:
    """A published talking head, its parts frozen, on a device.

    Raises:
        NotFoundError: no model was published there.
        CorruptError: a part is missing, damaged, or another one than the model names.
        DataError: it is something else than a talking head.
        SpecError: there is no such device here.
    """
    found_device = open_device(device)
    store, prefix = split_uri(uri)
    where = join_uri(store.uri, prefix)
    published = read_commit(store, prefix)
    if published is None:
        raise NotFoundError(
            f"{where}: no talking head was published there. Put one together of trained parts: "
            "visage assemble --motion RUN --generator RUN --data CORPUS"
        )
    if DESCRIPTION not in published.parts:
        raise DataError(f"{where}: this is no talking head; it has no {DESCRIPTION}")
    try:
        body = json.loads(read_part(store, prefix, DESCRIPTION))
        schema = body["schema"]
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{where}/{DESCRIPTION}: not a talking head's description") from None
    if schema != SCHEMA:
        raise DataError(f"{where}: schema {schema!r}, needed is {SCHEMA!r}; assemble it again")
    return _load(where, body, found_device, digest=published.digest())


def _load(where: str, body: Mapping[str, Any], device: torch.device, *, digest: str) -> TalkingHead:
    stated, name = body["parts"], str(device)
    motion = load_part(
        f"{where}/{MOTION}", kind=MOTION, spec_class=MotionSpec, build=MotionGenerator, device=name
    )
    generator = load_generator(f"{where}/{GENERATOR}", device=name)
    found = {MOTION: motion.digest, GENERATOR: generator.digest}
    encoder = mapping = None
    if ENCODER in stated:
        encoder = load_audio_encoder(f"{where}/{ENCODER}", device=name)
        found[ENCODER] = encoder.digest
    if MAPPING in stated:
        mapping = load_part(
            f"{where}/{MAPPING}", kind=MAPPING, spec_class=StyleMappingSpec, build=StyleMapping,
            device=name,
        )  # fmt: skip
        found[MAPPING] = mapping.digest
    for part, expected in stated.items():
        if found.get(part) != expected:
            raise CorruptError(f"{where}/{part}: not the part that this model was made of")
    _check_fit(motion, generator, found)
    styles = {style: load_style_card(f"{where}/styles/{style}") for style, _ in body["styles"]}
    for style, expected in body["styles"]:
        if styles[style].digest != expected:
            raise CorruptError(f"{where}/styles/{style}: not the style this model was made with")
        check_base(motion, styles[style].motion)
    return TalkingHead(
        motion=motion,
        generator=generator,
        audio_encoder=None if encoder is None else encoder.model,
        front=AudioFrontSpec() if encoder is None else encoder.spec.front,
        patterns=None
        if mapping is None
        else StylePatterns(mapping.model, model_digest=mapping.digest),
        mean=np.array(body["mean"], np.float32),
        styles=styles,
        digest=digest,
        uri=where,
        device=device,
        metadata=body["metadata"],
    )


def _check_fit(
    motion: Part[MotionGenerator, MotionSpec],
    generator: Part[Generator, GeneratorSpec],
    found: Mapping[str, str],
) -> None:
    heard = motion.metadata.get("audio_encoder_digest")
    if heard != found.get(ENCODER):
        raise SpecError(
            "the motion generator was trained to hear through "
            f"{_short(heard) or 'mel frames'}, given is {_short(found.get(ENCODER)) or 'none'}; "
            f"give the audio encoder it was trained with ({motion.metadata.get('audio_encoder')})"
        )
    seen = generator.metadata.get("patterns", "references")
    given = found.get(MAPPING, "references")
    if seen != given:
        raise SpecError(
            f"the generator was trained on style patterns of {_short(seen)}, given is "
            f"{_short(given)}; give the style mapping it was trained with"
        )


def _short(digest: object) -> str:
    return str(digest)[:12] if digest else ""
