"""One module a trainable part; `build_recipe` finds it by the spec's `recipe`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import cast

import torch

from visage.data.manifest import Manifest
from visage.errors import DataError, SpecError
from visage.specs.train import TrainSpec
from visage.training.recipe import Recipe
from visage.training.start import start_from

__all__ = ["RECIPES", "build_recipe", "spec_class"]


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a recipe and its spec are defined, and what rows it learns from."""

    spec: str
    recipe: str
    kinds: tuple[str, ...]

    def spec_class(self) -> type[TrainSpec]:
        """Import the spec."""
        return cast(type[TrainSpec], _named(f"visage.specs.{self.spec}"))

    def builder(self) -> Callable[[TrainSpec, Manifest, torch.device], Recipe]:
        """Import the recipe."""
        found = _named(f"visage.training.recipes.{self.recipe}")
        return cast(Callable[[TrainSpec, Manifest, torch.device], Recipe], found)


RECIPES: Mapping[str, _Entry] = {
    "emotion": _Entry("train.EmotionTrainSpec", "emotion.EmotionRecipe", ("emotion/1",)),
    "audio-encoder": _Entry(
        "audio.AudioEncoderTrainSpec",
        "audio_encoder.AudioEncoderRecipe",
        ("speech/1", "clips/1"),
    ),
    "style-mapping": _Entry(
        "style_mapping.StyleMappingTrainSpec", "style_mapping.StyleMappingRecipe", ("clips/1",)
    ),
    "motion": _Entry("motion.MotionTrainSpec", "motion.MotionRecipe", ("clips/1",)),
    "generator": _Entry("generator.GeneratorTrainSpec", "generator.GeneratorRecipe", ("clips/1",)),
    "style-transfer": _Entry(
        "style_transfer.StyleTransferTrainSpec",
        "style_transfer.StyleTransferRecipe",
        ("clips/1",),
    ),
}
"""By name; a recipe is imported when it is asked for."""


def spec_class(recipe: str) -> type[TrainSpec]:
    """The spec class of a recipe; SpecError lists the known ones."""
    if recipe not in RECIPES:
        raise SpecError(f"unknown recipe {recipe!r}; known: {', '.join(RECIPES)}")
    return RECIPES[recipe].spec_class()


def build_recipe(spec: TrainSpec, manifest: Manifest, device: torch.device) -> Recipe:
    """The recipe that a spec describes, on the data that a manifest describes.

    Raises:
        SpecError: the spec belongs to no recipe, or begins with weights of another network.
        NotFoundError, CorruptError: nothing whole is published where it shall begin.
        DataError: the data were prepared for other recipes.
    """
    name = str(getattr(spec, "recipe", ""))
    if name not in RECIPES:
        raise SpecError(f"no recipe for {type(spec).__name__}; known: {', '.join(RECIPES)}")
    entry = RECIPES[name]
    if manifest.kind not in entry.kinds:
        raise DataError(
            f"recipe {name} learns from rows of kind {' or '.join(entry.kinds)}, these data are "
            f"{manifest.kind}; name other --data, or prepare the corpus for this recipe"
        )
    recipe = entry.builder()(spec, manifest, device)
    if spec.start_from is not None:
        start_from(recipe.model, spec.start_from)
    return recipe


def _named(path: str) -> object:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
