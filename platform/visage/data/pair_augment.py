"""Pairs of pictures for motion transfer, mirrored and recoloured alike on both sides.

Both pictures of a pair take the same change: a colour that differs between source and driving
picture would teach the network to repaint instead of to move. Swapping the two needs no step of its
own, since a pair is drawn in either order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visage.data.clip_decoders import PairDecoder

__all__ = ["AugmentedPairs", "mirrored_pose", "recoloured"]

Arrays = dict[str, NDArray[Any]]
SIDES = ("source", "driving")
MIRRORED = np.array([1, -1, -1, -1, 1, 1], dtype=np.float32)
"""Signs of pitch, yaw, roll, x, y, z in a mirror."""
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentedPairs:
    """Stored segment to source and driving picture with their poses."""

    size: int
    training: bool = False
    """Random pair and changes; otherwise the middle pair as it is."""
    flip: bool = True
    jitter: float = 0.1
    """Most by which brightness, contrast and saturation change, as a share."""

    columns = PairDecoder.columns

    def __call__(self, row: Mapping[str, Any], rng: np.random.Generator) -> Arrays:
        """source and driving uint8 (S, S, 3), source_pose and driving_pose (6,)."""
        pair = PairDecoder(size=self.size, training=self.training)(row, rng)
        arrays = {name: pair[name] for name in (*SIDES, *(f"{side}_pose" for side in SIDES))}
        if not self.training:
            return arrays
        mirrors = self.flip and rng.random() < 0.5
        factors = rng.uniform(1 - self.jitter, 1 + self.jitter, 3).astype(np.float32)
        for side in SIDES:
            if mirrors:
                arrays[side] = np.ascontiguousarray(arrays[side][:, ::-1])
                arrays[f"{side}_pose"] = mirrored_pose(arrays[f"{side}_pose"])
            if self.jitter > 0:
                arrays[side] = recoloured(arrays[side], factors)
        return arrays


def mirrored_pose(pose: NDArray[np.float32]) -> NDArray[np.float32]:
    """The pose (…, 6) of the picture seen in a mirror: yaw, roll and x change their sign."""
    return (pose * MIRRORED).astype(np.float32)


def recoloured(picture: NDArray[np.uint8], factors: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A picture (S, S, 3) with brightness, contrast and saturation multiplied, in this order.

    Contrast turns about mid grey, not about the picture's own mean, so that two pictures with equal
    factors go through the same map.
    """
    brightness, contrast, saturation = factors
    values = (picture.astype(np.float32) * brightness - 127.5) * contrast + 127.5
    grey = values @ LUMA
    values = grey[..., None] + (values - grey[..., None]) * saturation
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
