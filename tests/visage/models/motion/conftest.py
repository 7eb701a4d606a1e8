"""A motion generator so small that a second of motion takes milliseconds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from visage.models.motion import MotionGenerator
from visage.specs.motion import MotionSpec

TINY = {
    "feature_channels": 6,
    "landmark_look_ahead": 5,
    "pose_look_ahead": 3,
    "landmark_net": {"mlp_width": 12, "lstm_width": 8, "lstm_layers": 2, "head_width": 12},
    "pose_net": {"mlp_width": 12, "channels": 8, "skip_channels": 10, "blocks": 2, "layers": 3},
}


@pytest.fixture
def tiny_spec() -> Callable[..., MotionSpec]:
    """The tiny spec with changes."""
    return lambda **changes: MotionSpec.parse({**TINY, **changes})


@pytest.fixture
def tiny_model(tiny_spec) -> Callable[..., MotionGenerator]:
    """A tiny generator in evaluation mode whose batch-norm statistics are those of some data."""

    def build(seed: int = 0, **changes: object) -> MotionGenerator:
        spec = tiny_spec(**changes)
        torch.manual_seed(seed)
        model = MotionGenerator(spec)
        model(torch.randn(4, 2 * 30, spec.feature_channels), torch.randn(4, 30, 6))
        return model.eval()

    return build
