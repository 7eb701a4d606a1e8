"""Specs: closed to unknown keys, one digest for one meaning, sentences for people."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from visage.errors import SpecError
from visage.specs.base import Spec, parse_assignment
from visage.specs.prepare import EmotionPrepareSpec
from visage.specs.train import EmotionTrainSpec, OptimizerSpec, TrainSpec
from visage_jobs.presets import FOLDER, find_preset, preset_names


def _load(*assignments: str, preset: Path | None = None, **overrides: object) -> EmotionTrainSpec:
    return EmotionTrainSpec.load(preset, assignments=assignments, **overrides)


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("assignment", "named"),
    [("optimiser.lr=1", "optimiser"), ("optimizer.rate=1", "optimizer.rate"),
     ("model.input.size=3", "model.input.size"), ("optimizer..lr=1", "optimizer.")],
)  # fmt: skip
def test_an_unknown_key_is_refused_by_its_full_name(assignment: str, named: str) -> None:
    with pytest.raises(SpecError, match=f"{named}.*no such key; check the spelling"):
        _load(assignment)


def test_every_problem_is_told_each_in_a_line_with_its_origin(tmp_path: Path) -> None:
    preset = _write(tmp_path / "mine.yaml", "epochs: -1\nbogus: 1\noptimizer: {momentum: 2}\n")
    with pytest.raises(SpecError) as caught:
        _load(preset=preset)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{preset}: ") for line in lines)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("5E-4", 5e-4), ("-2.5e+3", -2500.0), ("3", 3), ("0.1", 0.1), ("true", True),
     ("null", None), ("", ""), ("[1, 2]", [1, 2]), ("[1e-3, 2]", [1e-3, 2]),
     ("{a: 1e-3}", {"a": 1e-3}), ("F+mC", "F+mC"), ("1e", "1e"), ("infinity", "infinity"),
     ("a=b", "a=b"), ("'1e-3'", 1e-3)],
)  # fmt: skip
def test_a_set_value_is_read_as_people_mean_it(text: str, value: object) -> None:
    path, found = parse_assignment(f"a.b={text}")
    assert path == ("a", "b")
    assert found == value
    assert type(found) is type(value)


@given(st.floats(min_value=1e-12, max_value=1e12))
def test_every_number_written_by_python_is_read_back(number: float) -> None:
    assert parse_assignment(f"x={number!r}") == (("x",), number)
    assert parse_assignment(f"x={number:e}")[1] == float(f"{number:e}")


@pytest.mark.parametrize("text", ["", "a", "=1", " =1", "a=[1", "a={", "a=:\n:"])
def test_what_is_no_assignment_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(SpecError, match="--set"):
        parse_assignment(text)


def test_a_value_has_no_keys_under_it() -> None:
    with pytest.raises(SpecError, match="'epochs' is a value"):
        _load("epochs=3", "epochs.lr=1")


@pytest.mark.parametrize("assignment", ["epochs=nan", "epochs=inf", "optimizer.lr=-inf"])
def test_numbers_that_are_none_are_refused(assignment: str) -> None:
    with pytest.raises(SpecError, match=assignment.partition("=")[0]):
        _load(assignment)


@pytest.mark.parametrize("name", ["epochs", "optimizer"])
def test_a_section_given_as_a_value_of_another_kind_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match=name):
        _load(f"{name}=many")


SAME: list[tuple[str, ...]] = [
    ("optimizer.lr=0.001", "epochs=3"),
    ("epochs=3.0", "optimizer.lr=1e-3"),
    ("optimizer={lr: 0.001}", "epochs=3"),
    ("optimizer.lr=7", "optimizer.lr=.001", "epochs=3"),
    ("epochs='3'", "optimizer.lr=0.10e-2"),
    ("epochs=3", "optimizer.lr=0.001", "optimizer.momentum=0.9", "seed=0"),
]


def test_the_digest_depends_on_the_values_and_not_on_how_they_were_given(tmp_path: Path) -> None:
    digests = {_load(*assignments).digest() for assignments in SAME}
    one = _write(tmp_path / "one.yaml", "epochs: 3\noptimizer: {lr: 1.0e-3, momentum: 0.9}\n")
    two = _write(tmp_path / "two.yaml", "optimizer: {momentum: 0.9, lr: 0.001}\nepochs: 3\n")
    digests |= {_load(preset=path).digest() for path in (one, two)}
    digests |= {_load(optimizer={"lr": 0.001}, epochs=3, seed=None).digest()}
    digests |= {EmotionTrainSpec(optimizer=OptimizerSpec(lr=1e-3), epochs=3).digest()}
    assert len(digests) == 1


def test_every_changed_value_changes_the_digest() -> None:
    changes = ["seed=1", "epochs=51", "optimizer.lr=0.02", "model.dropout=0.4", "clip_norm=1",
               "schedule.milestones_epochs=[3]", "augment=none", "export=best"]  # fmt: skip
    digests = {_load(change).digest() for change in changes} | {_load().digest()}
    assert len(digests) == len(changes) + 1


def test_assignments_win_over_overrides_and_those_over_the_preset(tmp_path: Path) -> None:
    preset = _write(tmp_path / "p.yaml", "seed: 1\nepochs: 1\nglobal_batch: 1\n")
    found = _load("seed=3", preset=preset, seed=2, epochs=2, global_batch=None)
    assert (found.seed, found.epochs, found.global_batch) == (3, 2.0, 1)


def test_a_later_key_keeps_its_neighbours(tmp_path: Path) -> None:
    preset = _write(tmp_path / "p.yaml", "optimizer: {name: adam, lr: 0.5}\n")
    found = _load("optimizer.lr=0.1", preset=preset)
    assert (found.optimizer.name, found.optimizer.lr) == ("adam", 0.1)


def test_loading_does_not_change_what_was_given() -> None:
    given_values: dict[str, Any] = {"lr": 0.1}
    _load("optimizer.lr=0.2", optimizer=given_values)
    assert given_values == {"lr": 0.1}


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(Exception, match="frozen"):
        _load().seed = 3  # type: ignore[misc]


def test_the_written_spec_is_read_back_as_the_same_spec(tmp_path: Path) -> None:
    spec = _load("optimizer.lr=1e-5", "schedule.milestones_epochs=[1, 2.5]", "clip_norm=3")
    again = _load(preset=_write(tmp_path / "spec.yaml", spec.to_yaml()))
    assert again == spec
    assert again.digest() == spec.digest()


def test_differences_are_sentences_for_exactly_the_fields_that_differ() -> None:
    assert _load().differences(_load()) == []
    assert _load().differences(_load("optimizer.lr=0.5", "clip_norm=3")) == [
        "clip_norm: None here, 3.0 there",
        "optimizer.lr: 0.01 here, 0.5 there",
    ]
    assert "recipe: absent here, emotion there" in TrainSpec().differences(_load())


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text\n", "a: [1\n", "\tx: 1\n"])
def test_a_preset_that_is_no_mapping_is_refused_by_its_path(text: str, tmp_path: Path) -> None:
    preset = _write(tmp_path / "bad.yaml", text)
    with pytest.raises(SpecError, match=r"bad\.yaml"):
        _load(preset=preset)


def test_a_missing_unreadable_or_empty_preset_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such preset"):
        _load(preset=tmp_path / "absent.yaml")
    with pytest.raises(SpecError, match="not readable"):
        _load(preset=tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not readable"):
        _load(preset=tmp_path / "bytes.yaml")
    assert _load(preset=_write(tmp_path / "empty.yaml", "")) == _load()


def test_yaml_cannot_run_code(tmp_path: Path) -> None:
    preset = _write(tmp_path / "evil.yaml", "seed: !!python/object/apply:os.getpid []\n")
    with pytest.raises(SpecError, match="not readable"):
        _load(preset=preset)


def test_a_save_limit_shorter_than_the_save_interval_is_refused() -> None:
    with pytest.raises(SpecError, match="checkpoint_age_limit_s must be longer"):
        _load("checkpoint_every_s=100", "checkpoint_age_limit_s=50")


def test_a_learning_rate_below_its_floor_is_refused() -> None:
    with pytest.raises(SpecError, match="floor_lr"):
        _load("optimizer.lr=1e-4", "schedule.floor_lr=1e-3")


@pytest.mark.parametrize("spec", [EmotionTrainSpec, TrainSpec, EmotionPrepareSpec, OptimizerSpec])
def test_every_field_of_a_spec_is_of_a_plain_kind(spec: type[Spec]) -> None:
    body = yaml.safe_load(spec().to_yaml())
    assert spec.parse(body) == spec()
    assert all(not isinstance(one, float) or math.isfinite(one) for one in body.values())


@pytest.mark.parametrize("name", preset_names("emotion"))
def test_every_shipped_preset_of_training_loads(name: str) -> None:
    assert EmotionTrainSpec.load(find_preset(name))


def test_there_are_presets_and_an_unknown_one_is_refused_with_their_names() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(preset_names()) >= {
        "emotion-official", "emotion-modern",
    }  # fmt: skip
    with pytest.raises(SpecError, match="emotion-official"):
        find_preset("emotion-offical")


def test_the_official_preset_is_what_was_published() -> None:
    spec = EmotionTrainSpec.load(find_preset("emotion-official"))
    assert (spec.epochs, spec.global_batch, spec.micro_batch) == (60.0, 4, 4)
    optimizer, schedule, model = spec.optimizer, spec.schedule, spec.model
    assert (optimizer.name, optimizer.lr, optimizer.momentum) == ("sgd", 5e-4, 0.9)
    assert (optimizer.nesterov, optimizer.weight_decay) == (False, 0.0)
    assert (schedule.name, schedule.milestones_epochs) == ("milestones", (25.0, 40.0))
    assert (schedule.gamma, schedule.floor_lr, schedule.warmup_steps) == (0.1, 1e-5, 0)
    assert (spec.augment, spec.export, spec.label_smoothing) == ("official", "best", 0.0)
    assert (spec.balance, spec.ema_decay, spec.clip_norm) == ("none", None, None)
    assert (model.attention, model.inputs, model.fusion) == ("GLA", "F+mC", "adaptive")
    assert (model.dropout, model.normalize, model.backbone) == (0.5, "none", "cnn5")
    assert (model.mask, model.widths) == ("black", (32, 64, 128, 256, 256))
    assert (model.bn_eps, model.bn_momentum) == (1e-3, 0.01)
    assert (model.input.face_size, model.input.context_crop) == (96, 112)
    assert (model.input.context_height, model.input.context_width) == (128, 171)
