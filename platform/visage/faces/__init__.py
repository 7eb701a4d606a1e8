"""Faces in pictures: boxes, 68 landmarks, pose and region maps, behind one protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from visage.errors import SpecError
from visage.faces.provider import FaceProvider

__all__ = ["ProviderName", "open_provider"]

ProviderName = Literal["auto", "dlib68", "fan"]
"""Which detector and landmark model: `auto` takes `fan` where its weights lie, else `dlib68`."""


def open_provider(name: ProviderName = "auto", *, weights_dir: Path | None = None) -> FaceProvider:
    """Load a face provider; its `name` says which one it became.

    Args:
        name: `dlib68` needs nothing; `fan` needs its weights on disk; `auto` never fails for them.
        weights_dir: Folder of the weights of `fan`; None means torch's download cache.

    Raises:
        SpecError: no such provider, or what it needs is missing.
        CorruptError: a weight file is not the published one.
    """
    from visage.faces.fan import Fan, fan_is_available

    match name:
        case "fan":
            return Fan(weights_dir=weights_dir)
        case "auto" if fan_is_available(weights_dir):
            return Fan(weights_dir=weights_dir)
        case "auto" | "dlib68":
            from visage.faces.dlib68 import Dlib68

            return Dlib68()
        case _:
            raise SpecError(f"face provider {name!r}: choose auto, dlib68 or fan")
