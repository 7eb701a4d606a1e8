"""A tiny published emotion model, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from visage.inference.artifact import EmotionArtifact, load_emotion_model, save_emotion_model
from visage.models import build_emotion_model
from visage.specs.emotion import EMOTIONS, EmotionModelSpec
from visage.store.open import open_store

TINY = {
    "widths": (4, 4, 6, 6, 8),
    "input": {"face_size": 32, "context_height": 64, "context_width": 86, "context_crop": 48},
}


@pytest.fixture(scope="session")
def tiny_spec() -> EmotionModelSpec:
    """A small GLAMOR-Net."""
    return EmotionModelSpec.parse(TINY)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory, tiny_spec: EmotionModelSpec) -> Path:
    """The folder of a committed tiny model; tests must not change it."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    model = build_emotion_model(tiny_spec)
    save_emotion_model(
        open_store(str(folder)),
        "tiny",
        model,
        tiny_spec,
        classes=EMOTIONS,
        metadata={"run": "r1", "step": 7},
    )
    return folder / "tiny"


@pytest.fixture
def artifact(published: Path) -> EmotionArtifact:
    """The tiny model, loaded."""
    return load_emotion_model(str(published))
