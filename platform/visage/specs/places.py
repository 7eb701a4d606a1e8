"""Spec keys that name a place: one meaning, wherever the process that reads them stands.

A run's workers stand in other folders, and on other machines, than the person who typed a path.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from visage.specs.base import Spec

__all__ = ["PartPlace", "Place", "named_parts"]


def _absolute(place: str) -> str:
    return place if "://" in place else str(Path(place).expanduser().absolute())


class _Part:
    """Marks a place where something must have been published."""


Place = Annotated[str, AfterValidator(_absolute)]
"""A URI, or a path, which becomes absolute."""
PartPlace = Annotated[str, AfterValidator(_absolute), _Part()]
"""A place where a trained part must have been published."""


def named_parts(spec: Spec) -> Iterator[tuple[str, str]]:
    """Key and place of each trained part that a spec names."""
    for name, field in type(spec).model_fields.items():
        value = getattr(spec, name)
        if isinstance(value, str) and _is_part(field.annotation, field.metadata):
            yield name, value


def _is_part(annotation: object, metadata: list[object]) -> bool:
    """Pydantic keeps what is annotated on the field itself, or inside `| None`."""
    inside = [
        mark
        for one in getattr(annotation, "__args__", ())
        for mark in getattr(one, "__metadata__", ())
    ]
    return any(isinstance(mark, _Part) for mark in [*metadata, *inside])
