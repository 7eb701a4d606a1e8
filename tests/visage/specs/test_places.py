"""A key that names a place means the same to every process, wherever it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from visage.specs.generator import GeneratorTrainSpec
from visage.specs.motion import MotionTrainSpec
from visage.specs.places import named_parts
from visage.specs.style_transfer import StyleTransferTrainSpec


def test_a_relative_path_becomes_absolute_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = MotionTrainSpec(audio_encoder="workspace/runs/ae/model")
    assert said.audio_encoder == f"{tmp_path}/workspace/runs/ae/model"
    monkeypatch.chdir("/")
    again = MotionTrainSpec.parse(said.model_dump(mode="json"))
    assert again == said
    assert again.digest() == said.digest()


@pytest.mark.parametrize("uri", ["s3://bucket/runs/ae/model", "file:///models/ae"])
def test_a_uri_stays_as_it_is(uri: str) -> None:
    assert MotionTrainSpec(audio_encoder=uri).audio_encoder == uri


def test_parts_are_found_by_their_key_and_other_places_are_not() -> None:
    spec = StyleTransferTrainSpec(motion="/m", style_clips="/clips")
    assert list(named_parts(spec)) == [("motion", "/m")]
    mapped = GeneratorTrainSpec(style_mapping="/s")
    assert list(named_parts(mapped)) == [("style_mapping", "/s")]
    assert list(named_parts(GeneratorTrainSpec())) == []
