"""A trained style-aware generator as a published part."""

from __future__ import annotations

from visage.errors import NotFoundError
from visage.inference.parts import Part, load_part
from visage.models.generator import Generator
from visage.specs.generator import GeneratorSpec

__all__ = ["GENERATOR", "load_generator"]

GENERATOR = "generator"
"""The kind that its description states."""


def load_generator(uri: str, *, device: str = "cpu") -> Part[Generator, GeneratorSpec]:
    """The generator under a URI, frozen and in evaluation mode.

    Its spec says how to draw the facial map and which inputs to stack; `patterns` in its metadata
    says where its style patterns came from: `references`, or the digest of a style mapping.

    Raises as `visage.inference.parts.load_part`.
    """
    try:
        return load_part(
            uri, kind=GENERATOR, spec_class=GeneratorSpec, build=Generator, device=device
        )
    except NotFoundError as err:
        raise NotFoundError(
            f"{err}. Train one: visage train generator --data CORPUS --preset generator-small; its "
            "run holds it under model"
        ) from None
