"""Promises of a talking head: whole, made of parts that fit, and refused if anything changed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_talking_head import (
    GENERATOR_SPEC,
    mean_face,
    publish_parts,
    publish_tiny_head,
    tiny_card,
    tiny_head,
)

from visage.errors import AlreadyExistsError, CorruptError, DataError, NotFoundError, SpecError
from visage.inference.generator import GENERATOR
from visage.inference.parts import save_part
from visage.inference.talking_head import PartUris, load_talking_head, publish_talking_head
from visage.models.generator import Generator
from visage.store.open import open_store


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("heads")
    publish_tiny_head(root)
    return root


@pytest.fixture
def copied(published: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(published / "head", tmp_path / "head"))


def _publish(root: Path, parts: PartUris, **changes: object) -> str:
    options = {"styles": [tiny_card()], "mean": mean_face(), **changes}
    return publish_talking_head(open_store(str(root)), "head", parts, **options)


def test_what_is_loaded_is_what_was_put_together(published: Path) -> None:
    head = load_talking_head(str(published / "head"))
    assert list(head.styles) == ["plain", "loud"]
    assert head.style(None).name == "plain"
    assert head.style("loud").pictures == tiny_card("loud", seed=1).pictures
    np.testing.assert_allclose(head.mean, mean_face(), atol=1e-6)
    assert head.audio_encoder is not None
    assert head.motion.metadata["audio_encoder_digest"]
    assert len(head.digest) == 64


def test_the_same_parts_give_the_same_model_and_others_are_refused_under_its_name(
    tmp_path: Path,
) -> None:
    parts = publish_parts(tmp_path / "parts")
    first = _publish(tmp_path, parts)
    assert _publish(tmp_path, parts) == first
    with pytest.raises(AlreadyExistsError):
        _publish(tmp_path, parts, mean=mean_face() * 1.01)


def test_the_model_stands_alone_when_its_parts_are_gone(tmp_path: Path) -> None:
    uri = publish_tiny_head(tmp_path)
    shutil.rmtree(tmp_path / "parts")
    assert load_talking_head(uri).generator.spec == GENERATOR_SPEC


def test_an_encoder_that_the_motion_never_heard_through_is_refused(tmp_path: Path) -> None:
    parts = publish_parts(tmp_path / "one")
    with pytest.raises(SpecError, match="trained to hear through"):
        _publish(tmp_path / "a", replace(parts, audio_encoder=None))
    deaf = publish_parts(tmp_path / "two", with_encoder=False)
    with pytest.raises(SpecError, match="mel frames"):
        _publish(tmp_path / "b", replace(deaf, audio_encoder=parts.audio_encoder))
    assert not (tmp_path / "a" / "head" / "COMMIT").exists()


def test_a_generator_that_saw_other_patterns_is_refused(tmp_path: Path) -> None:
    parts = publish_parts(tmp_path / "parts")
    torch.manual_seed(0)
    save_part(
        open_store(str(tmp_path)), "other", Generator(GENERATOR_SPEC), kind=GENERATOR,
        spec=GENERATOR_SPEC, metadata={"patterns": "d" * 64},
    )  # fmt: skip
    with pytest.raises(SpecError, match="style patterns of dddddddddddd, given is references"):
        _publish(tmp_path, replace(parts, generator=str(tmp_path / "other")))


@pytest.mark.parametrize("styles", [[], [tiny_card(), tiny_card()]])
def test_no_style_and_two_of_one_name_are_refused(styles: list, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="each name once"):
        _publish(tmp_path, publish_parts(tmp_path / "parts"), styles=styles)


@pytest.mark.parametrize("part", ["motion", "generator", "audio-encoder", "styles/plain"])
def test_a_damaged_part_is_named(part: str, copied: Path) -> None:
    victim = max((copied / part).glob("*.*"), key=lambda path: path.stat().st_size)
    body = bytearray(victim.read_bytes())
    body[len(body) // 2] ^= 1
    victim.write_bytes(bytes(body))
    with pytest.raises(CorruptError, match=part):
        load_talking_head(str(copied))


def test_a_part_that_was_exchanged_for_another_whole_one_is_refused(
    copied: Path, tmp_path: Path
) -> None:
    torch.manual_seed(7)
    shutil.rmtree(copied / "generator")
    save_part(
        open_store(str(copied)), "generator", Generator(GENERATOR_SPEC), kind=GENERATOR,
        spec=GENERATOR_SPEC, metadata={"patterns": "references"},
    )  # fmt: skip
    with pytest.raises(CorruptError, match="not the part that this model was made of"):
        load_talking_head(str(copied))


def test_nothing_and_something_else_are_told_apart(published: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="visage assemble"):
        load_talking_head(str(tmp_path / "nothing"))
    with pytest.raises(DataError, match="no talking head"):
        load_talking_head(str(published / "head" / "motion"))


def test_a_style_with_a_motion_of_another_model_is_refused(tmp_path: Path) -> None:
    from visage.inference.style_delta import StyleDelta
    from visage.specs.style_transfer import StyleDeltaSpec

    head = tiny_head(tmp_path)
    delta = StyleDelta(spec=StyleDeltaSpec(name="opera", base="e" * 64), tensors={})
    with pytest.raises(SpecError, match="load the generator it was made from"):
        head.motion_in(replace(tiny_card("opera"), motion=delta))
    with pytest.raises(SpecError, match="load the generator it was made from"):
        _publish(
            tmp_path / "b",
            publish_parts(tmp_path / "parts"),
            styles=[replace(tiny_card("opera"), motion=delta)],
        )
    assert not (tmp_path / "b" / "head" / "COMMIT").exists()
    assert head.motion_in(tiny_card()) is head.motion.model
