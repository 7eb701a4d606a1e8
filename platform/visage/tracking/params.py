"""Specs as MLflow's params: flat names, short texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["flatten_params"]

PARAM_CHARACTERS = 500


def flatten_params(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested values as `a.b` → text of at most 500 characters; lists are written as one value."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten_params(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = str(value)[:PARAM_CHARACTERS]
    return flat
