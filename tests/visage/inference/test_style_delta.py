"""Promises of a published style: small, exact, and refused by any other base."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from visage.errors import CorruptError, DataError, NotFoundError, SpecError, TrainingError
from visage.inference.parts import Part, load_part, save_part
from visage.inference.style_delta import apply_style, load_style, save_style, style_delta
from visage.models.motion import MotionGenerator
from visage.specs.motion import MotionSpec
from visage.specs.style_transfer import StyleDeltaSpec
from visage.store.open import open_store

TINY = MotionSpec.parse(
    {
        "feature_channels": 8,
        "landmark_look_ahead": 2,
        "pose_look_ahead": 2,
        "landmark_net": {"mlp_width": 8, "lstm_width": 8, "lstm_layers": 2, "head_width": 8},
        "pose_net": {"mlp_width": 8, "channels": 8, "skip_channels": 8, "blocks": 1, "layers": 2},
    }
)


def _part(seed: int = 0, digest: str = "d" * 64) -> Part[MotionGenerator, MotionSpec]:
    torch.manual_seed(seed)
    return Part(model=MotionGenerator(TINY).eval(), spec=TINY, digest=digest)


def _tuned(base: MotionGenerator) -> MotionGenerator:
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        for one in tuned.landmarks.lstm.parameters():
            one += 0.1 * torch.randn(one.shape, generator=torch.Generator().manual_seed(1))
    return tuned


SPEC = StyleDeltaSpec(name="opera", base="d" * 64)


def test_base_plus_style_is_the_tuned_generator_bit_for_bit(tmp_path: Path):
    base = _part()
    tuned = _tuned(base.model)
    before = copy.deepcopy(base.model.state_dict())
    delta = style_delta(base.model, tuned, spec=SPEC, metadata={"step": 7})
    store = open_store(str(tmp_path))
    digest = save_style(store, "opera", delta)
    assert save_style(store, "opera", delta) == digest
    loaded = load_style(str(tmp_path / "opera"))
    assert (loaded.name, loaded.metadata) == ("opera", {"step": 7})
    styled = apply_style(base, loaded)
    for name, value in tuned.state_dict().items():
        assert torch.equal(styled.state_dict()[name], value), name
        assert torch.equal(base.model.state_dict()[name], before[name]), name
    features = torch.randn(1, 24, 8)
    assert torch.equal(styled.displacements(features), tuned.displacements(features))


def test_a_style_holds_only_what_it_changes():
    base = _part().model
    delta = style_delta(base, _tuned(base), spec=SPEC)
    assert set(delta.tensors) == {f"landmarks.lstm.{name}" for name, _ in
                                  base.landmarks.lstm.named_parameters()}  # fmt: skip
    assert style_delta(base, copy.deepcopy(base), spec=SPEC).tensors == {}


def test_a_style_refuses_another_base():
    base = _part()
    delta = style_delta(base.model, _tuned(base.model), spec=SPEC)
    with pytest.raises(SpecError, match="opera"):
        apply_style(_part(digest="e" * 64), delta)
    wider = MotionSpec.parse({**TINY.model_dump(), "landmark_net": {"lstm_width": 9}})
    other = Part(model=MotionGenerator(wider), spec=wider, digest="d" * 64)
    with pytest.raises(CorruptError, match="of that shape"):
        apply_style(other, delta)
    with pytest.raises(SpecError, match="different specs"):
        style_delta(base.model, other.model, spec=SPEC)


def test_a_style_from_the_store_fits_the_generator_from_the_store(tmp_path: Path):
    store = open_store(str(tmp_path))
    save_part(store, "motion", _part().model, kind="motion", spec=TINY)
    base = load_part(
        str(tmp_path / "motion"), kind="motion", spec_class=MotionSpec, build=MotionGenerator
    )
    tuned = _tuned(base.model)
    spec = StyleDeltaSpec(name="rap", base=base.digest)
    save_style(store, "rap", style_delta(base.model, tuned, spec=spec))
    styled = apply_style(base, load_style(str(tmp_path / "rap")))
    features = torch.randn(1, 24, 8)
    assert torch.equal(styled.displacements(features), tuned.displacements(features))


def test_what_is_no_style_is_refused(tmp_path: Path):
    store = open_store(str(tmp_path))
    with pytest.raises(NotFoundError):
        load_style(str(tmp_path / "nowhere"))
    save_part(store, "motion", _part().model, kind="motion", spec=TINY)
    with pytest.raises(DataError, match="'motion'"):
        load_style(str(tmp_path / "motion"))
    base = _part().model
    broken = _tuned(base)
    with torch.no_grad():
        broken.landmarks.lstm.weight_hh_l0[0, 0] = float("nan")
    with pytest.raises(TrainingError, match="weight_hh_l0"):
        style_delta(base, broken, spec=SPEC)
