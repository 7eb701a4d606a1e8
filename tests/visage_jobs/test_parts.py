"""What the command fills in from the parts that a spec names."""

from __future__ import annotations

from pathlib import Path

import pytest

from visage.errors import NotFoundError
from visage.inference.audio_encoder import AUDIO_ENCODER
from visage.inference.parts import save_part
from visage.models.audio.apc import AudioEncoder
from visage.specs.audio import AudioEncoderSpec
from visage.specs.motion import MotionTrainSpec
from visage.store.open import open_store
from visage_jobs.parts import fitted
from visage_jobs.presets import find_preset


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    spec = AudioEncoderSpec(width=24)
    save_part(open_store(str(tmp_path)), "model", AudioEncoder(spec), kind=AUDIO_ENCODER, spec=spec)
    return f"{tmp_path}/model"


def _loaded(*assignments: str) -> MotionTrainSpec:
    return MotionTrainSpec.load(find_preset("motion-small"), assignments=assignments)


def test_a_motion_generator_reads_as_many_features_as_its_encoder_gives(encoder: str) -> None:
    found = fitted(_loaded(f"audio_encoder={encoder}"))
    assert isinstance(found, MotionTrainSpec)
    assert found.model.feature_channels == 24


def test_what_is_stated_is_not_changed(encoder: str) -> None:
    stated = [f"audio_encoder={encoder}", "model.feature_channels=7"]
    found = fitted(_loaded(*stated), stated)
    assert isinstance(found, MotionTrainSpec)
    assert found.model.feature_channels == 7


def test_without_an_encoder_nothing_changes() -> None:
    spec = _loaded()
    assert fitted(spec) is spec


def test_an_encoder_that_is_not_there_is_refused_with_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="visage train audio-encoder"):
        fitted(_loaded(f"audio_encoder={tmp_path}/nothing"))
