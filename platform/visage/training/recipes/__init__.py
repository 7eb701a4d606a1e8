"""One module a trainable part; `build_recipe` finds it by the spec's `recipe`."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from visage.data.manifest import Manifest
from visage.errors import SpecError
from visage.specs.train import EmotionTrainSpec, TrainSpec
from visage.training.recipe import Recipe
from visage.training.recipes.emotion import EmotionRecipe

__all__ = ["RECIPES", "build_recipe", "spec_class"]

RECIPES: Mapping[str, type[TrainSpec]] = {"emotion": EmotionTrainSpec}


def spec_class(recipe: str) -> type[TrainSpec]:
    """The spec class of a recipe; SpecError lists the known ones."""
    if recipe not in RECIPES:
        raise SpecError(f"unknown recipe {recipe!r}; known: {', '.join(RECIPES)}")
    return RECIPES[recipe]


def build_recipe(spec: TrainSpec, manifest: Manifest, device: torch.device) -> Recipe:
    """The recipe that a spec describes, on the data that a manifest describes."""
    if isinstance(spec, EmotionTrainSpec):
        return EmotionRecipe(
            spec, classes=manifest.classes, counts=manifest.counts.get("train", {}), device=device
        )
    raise SpecError(f"no recipe for {type(spec).__name__}")
