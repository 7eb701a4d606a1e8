"""The smallest style mapping that has every part: milliseconds a picture."""

from __future__ import annotations

import torch
from torch import Tensor

from visage.models.style_mapping import StyleMapping
from visage.specs.style_mapping import StyleMappingSpec

__all__ = ["TINY", "pictures", "tiny_mapping", "tiny_spec"]

TINY: dict[str, object] = {
    "size": 32,
    "output_size": 48,
    "keypoints": 5,
    "depth": 2,
    "decoder": "plain",
    "canonical": {"shrink": 2, "width": 4, "widest": 8, "levels": 1},
    "head": {"widths": (8, 8), "blocks": (1, 2), "stem": 4},
    "appearance": {"width": 4, "channels": 4, "blocks": 1},
    "motion": {"compress": 2, "width": 4, "widest": 8, "levels": 2, "kernel": 3},
    "picture": {"width": 8, "blocks": 1, "hidden": 4},
}


def tiny_spec(**changes: object) -> StyleMappingSpec:
    """The tiny spec with changed keys."""
    return StyleMappingSpec.parse({**TINY, **changes})


def tiny_mapping(*, seed: int = 0, **changes: object) -> StyleMapping:
    """A tiny network in evaluation mode, its normalisation statistics settled."""
    torch.manual_seed(seed)
    model = StyleMapping(tiny_spec(**changes)).train()
    with torch.no_grad():
        for step in range(3):
            model.transfer(pictures(4, seed=10 + step), pictures(4, seed=20 + step))
    return model.eval()


def pictures(count: int, *, size: int = 32, seed: int = 0) -> Tensor:
    """Smooth random pictures (count, 3, size, size) in [-1, 1]."""
    draws = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 5, generator=draws) * 2 - 1
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")
