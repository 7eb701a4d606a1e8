"""Windows of clips that know whether they show the style that is being learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visage.data.clip_decoders import MotionDecoder

__all__ = ["StyleWindows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleWindows:
    """A decoder that adds to a motion window whether its clip is of the style."""

    windows: MotionDecoder
    style: str | None
    """None = every clip is."""

    columns = (*MotionDecoder.columns, "style")

    def __call__(self, row: Mapping[str, Any], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """What `MotionDecoder` gives, and `is_style`, a boolean of shape ()."""
        is_style = self.style in (None, row["style"])
        return {**self.windows(row, rng), "is_style": np.asarray(is_style)}
