"""The style-aware generator: a U-Net, its judge, its losses (models.md A.8)."""

from __future__ import annotations

from visage.models.generator.discriminator import Judge, Judgement
from visage.models.generator.unet import Generator

__all__ = ["Generator", "Judge", "Judgement"]
