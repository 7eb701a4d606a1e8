"""A motion generator that has learnt nothing and a recipe that gives it a style, in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from visage.data.feed import Batch
from visage.data.shards import ShardRows, load_manifest
from visage.inference.parts import save_part
from visage.models.motion import MotionGenerator
from visage.seeds import rng_of
from visage.specs.motion import MotionSpec
from visage.specs.style_transfer import StyleTransferTrainSpec
from visage.store.open import open_store
from visage.training.recipes import build_recipe
from visage.training.recipes.style_transfer import StyleTransferRecipe

__all__ = ["CPU", "TINY", "style_batch", "style_recipe", "style_spec", "write_motion"]

CPU = torch.device("cpu")
TINY = MotionSpec.parse(
    {
        "feature_channels": 80,
        "landmark_look_ahead": 4,
        "pose_look_ahead": 4,
        "landmark_net": {"mlp_width": 24, "lstm_width": 24, "lstm_layers": 1, "head_width": 24},
        "pose_net": {
            "mlp_width": 8, "channels": 8, "skip_channels": 8, "blocks": 1, "layers": 3,
            "input_dropout": 0.1,
        },
    }
)  # fmt: skip


def write_motion(folder: Path) -> str:
    """Publish a generator that moves a little; returns its URI."""
    torch.manual_seed(0)
    model = MotionGenerator(TINY)
    with torch.no_grad():
        model.landmarks.head.layers[-1].weight *= 0.1
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_var.fill_(0.5)
    save_part(open_store(str(folder)), "model", model, kind="motion", spec=TINY)
    return f"{folder}/model"


def style_spec(clips: str, motion: str, **changes: object) -> StyleTransferTrainSpec:
    """Small, with all that must be named."""
    values = {
        "motion": motion,
        "style_clips": clips,
        "style": "wide",
        "features": {"widths": [64, 32]},
        "window": 60,
        "lead_in": 8,
        "optimizer": {"name": "adam", "lr": 3e-3, "weight_decay": 0.0},
        "features_optimizer": {"name": "adam", "lr": 3e-3, "weight_decay": 0.0},
        "compare_frames": 60,
        "max_steps": 6,
        "global_batch": 4,
        "micro_batch": 4,
        "feed_threads": 1,
        "samples": 1,
        "validate_every_epochs": 1.5,
    }
    return StyleTransferTrainSpec.parse({**values, **changes})


def style_recipe(clips: str, motion: str, **changes: object) -> StyleTransferRecipe:
    """The recipe of that spec on the corpus itself."""
    recipe = build_recipe(style_spec(clips, motion, **changes), load_manifest(clips)[0], CPU)
    assert isinstance(recipe, StyleTransferRecipe)
    return recipe


def style_batch(recipe: StyleTransferRecipe, uri: str, count: int = 4, step: int = 0) -> Batch:
    """The first training samples, their windows in the middle."""
    rows = ShardRows(*load_manifest(uri), "train")
    decode = recipe.decoder(training=False)
    ones = [decode(rows.row(index), rng_of(index)) for index in range(count)]
    arrays = {name: np.stack([one[name] for one in ones]) for name in ones[0]}
    return Batch(step=step, ids=np.arange(count), arrays=arrays, wait_s=0.0)
