"""Training samples of the generator: a frame, another of the same person, and style references.

To what a frame sample holds this adds the regions of each style reference, and decides which
samples see the patterns of somebody else (models.md A.7: so that identity cannot leak from them).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visage.data.clip_decoders import FrameDecoder
from visage.faces.regions import region_map

__all__ = ["StyledFrames"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StyledFrames:
    """Stored segment to a sample of the generator."""

    size: int
    training: bool = False
    """Random frames, and foreign patterns; otherwise the middle frame with its own."""
    foreign: float = 0.0
    """Share of training samples that see another sample's patterns."""

    columns = FrameDecoder.columns

    def __call__(self, row: Mapping[str, Any], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """What FrameDecoder gives, reference_regions uint8 (4, S, S), and is_foreign uint8 ()."""
        sample = FrameDecoder(size=self.size, training=self.training)(row, rng)
        of_references = sample["reference_points"][1:]  # the first is the neutral picture
        sample["reference_regions"] = np.stack(
            [region_map(points, width=self.size, height=self.size) for points in of_references]
        )
        is_foreign = self.training and rng.random() < self.foreign
        sample["is_foreign"] = np.array(is_foreign, np.uint8)
        return sample
