"""Style mapping: the motion of a style reference on a neutral picture (models.md A.7)."""

from __future__ import annotations

from visage.models.style_mapping.mapping import StyleMapping, Transfer

__all__ = ["StyleMapping", "Transfer"]
