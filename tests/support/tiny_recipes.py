"""Every recipe at a size that takes a second: its small preset with even smaller numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from visage.specs.train import TrainSpec
from visage.training.host import SingleHost
from visage.training.recipes import spec_class
from visage.training.session import TrainOutcome, run_training
from visage_jobs.presets import find_preset

__all__ = ["CLIP_RECIPES", "STEPS", "tiny_assignments", "tiny_spec", "train_tiny"]

STEPS = 6
CLIP_RECIPES = ("audio-encoder", "motion", "style-mapping", "generator", "style-transfer")
"""Those that learn from segments of clips."""

_SHARED = (
    f"max_steps={STEPS}", "global_batch=4", "micro_batch=2", "feed_threads=1",
    "checkpoint_every_steps=2", "validate_every_epochs=1.0", "samples=2", "precision=fp32",
)  # fmt: skip
_OWN: Mapping[str, tuple[str, ...]] = {
    "audio-encoder": ("model.width=16", "window=60"),
    "motion": ("window=24",),
    "style-mapping": ("model.size=32", "model.output_size=32"),
    "generator": ("model.size=32",),
    "style-transfer": ("window=24",),
}


def tiny_assignments(recipe: str, *, motion: str = "", data_uri: str = "") -> list[str]:
    """What `--set` takes; style-transfer starts from `motion` and learns a style of the data."""
    own = [*_SHARED, *_OWN[recipe]]
    if recipe == "style-transfer":
        own += [f"motion={motion}", f"style_clips={data_uri}", "style=wide"]
    return own


def tiny_spec(recipe: str, *, motion: str = "", data_uri: str = "") -> TrainSpec:
    """A spec that trains in about a second."""
    chosen = find_preset(f"{recipe}-small")
    assignments = tiny_assignments(recipe, motion=motion, data_uri=data_uri)
    return spec_class(recipe).load(chosen, assignments=assignments)


def train_tiny(
    recipe: str, folder: Path, data_uri: str, *, motion: str = "", host: SingleHost | None = None
) -> TrainOutcome:
    """Train in this process, or continue."""
    return run_training(
        run_uri=str(folder),
        spec=tiny_spec(recipe, motion=motion, data_uri=data_uri),
        recipe_name=recipe,
        data_uri=data_uri,
        host=host or SingleHost(),
    )
