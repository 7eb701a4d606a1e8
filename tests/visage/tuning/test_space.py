"""Points of a space: within their bounds, the same for the same seed, independent of each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import yaml
from corpora import small_train_spec
from hypothesis import given
from hypothesis import strategies as st

from visage.errors import SpecError
from visage.specs.generator import GeneratorTrainSpec
from visage.specs.train import EmotionTrainSpec
from visage.specs.tune import TuneSpec
from visage.tuning.bayes import Tried, tpe_point
from visage.tuning.space import check_space, grid_point, grid_size, random_point, trial_spec
from visage_jobs.presets import find_preset

LR = {"log_uniform": [1e-4, 1e-1]}
DROPOUT = {"uniform": [0.0, 0.6]}
MASK = {"choice": ["black", "mean", "noise"]}
SPACE = {"optimizer.lr": LR, "model.dropout": DROPOUT, "model.mask": MASK}


def made(**changes: object) -> TuneSpec:
    return TuneSpec.parse({"space": SPACE, **changes})


@given(seed=st.integers(0, 2**40), number=st.integers(0, 5000))
def test_a_random_point_lies_in_its_space_and_is_a_function_of_seed_and_number(
    seed: int, number: int
) -> None:
    spec = made(seed=seed)
    point = random_point(spec, number)
    assert 1e-4 <= float(point["optimizer.lr"]) <= 1e-1
    assert 0.0 <= float(point["model.dropout"]) <= 0.6
    assert point["model.mask"] in MASK["choice"]
    assert point == random_point(spec, number) != random_point(spec, number + 1)


def test_a_key_draws_the_same_whatever_is_searched_beside_it() -> None:
    alone = TuneSpec.parse({"space": {"optimizer.lr": LR}})
    for number in range(20):
        together = random_point(made(), number)
        assert random_point(alone, number)["optimizer.lr"] == together["optimizer.lr"]


def test_every_factor_of_a_log_uniform_key_is_equally_likely() -> None:
    drawn = [math.log10(float(random_point(made(), n)["optimizer.lr"])) for n in range(600)]
    counts, _ = np.histogram(drawn, bins=3, range=(-4, -1))
    assert counts.min() > 150


def test_a_grid_visits_every_combination_once() -> None:
    spec = made(searcher="grid", grid_points=3)
    points = [tuple(grid_point(spec, n).items()) for n in range(grid_size(spec))]
    assert len(points) == len(set(points)) == 27
    rates = sorted({dict(point)["optimizer.lr"] for point in points})
    assert rates == pytest.approx([1e-4, 10**-2.5, 1e-1])
    with pytest.raises(IndexError):
        grid_point(spec, 27)


def test_tpe_is_a_function_of_what_was_seen_and_moves_towards_the_better_part() -> None:
    spec = TuneSpec.parse({"space": {"optimizer.lr": LR, "model.mask": MASK}})
    tried = []
    for number in range(24):
        values = random_point(spec, number)
        error = abs(math.log10(float(values["optimizer.lr"])) + 2)
        tried.append(Tried(values=values, state="finished", goodness=-error))
    tried.append(Tried(values=random_point(spec, 50), state="running", goodness=None))
    tried.append(Tried(values=random_point(spec, 51), state="failed", goodness=None))
    tried.append(Tried(values=random_point(spec, 52), state="stopped", goodness=-math.inf))
    asked = [tpe_point(spec, number, tried) for number in range(30, 40)]
    assert asked == [tpe_point(spec, number, tried) for number in range(30, 40)]
    errors = [abs(math.log10(float(one["optimizer.lr"])) + 2) for one in asked]
    assert np.mean(errors) < 0.5  # 0.83 by chance


def test_a_trial_is_the_base_spec_with_the_drawn_keys_and_the_budget() -> None:
    base = small_train_spec()
    drawn = {"optimizer.lr": 0.03, "model.mask": "mean"}
    spec = trial_spec(base, made(epochs=7.0), drawn)
    assert spec.differences(base) == [
        "epochs: 7.0 here, 2.0 there",
        "model.mask: mean here, black there",
        "optimizer.lr: 0.03 here, 0.05 there",
    ]


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({"optimiser.lr": LR}, "no such key"),
        ({"optimizer.lrr": LR}, "no such key"),
        ({"model.dropout": {"uniform": [0.0, 1.0]}}, "less than 1"),
        ({"model.mask": {"choice": ["black", "green"]}}, "mask"),
        ({"model.mask": {"choice": ["black", "none"]}}, "say fC"),
    ],
)
def test_a_space_that_cannot_be_trained_is_refused_before_anything_starts(
    space: dict[str, object], told: str
) -> None:
    with pytest.raises(SpecError, match=told):
        check_space(small_train_spec(), TuneSpec.parse({"space": space}))


@pytest.mark.parametrize("preset", ["emotion-modern", "emotion-small", "emotion-official"])
def test_the_shipped_search_fits_the_shipped_training_presets(preset: str) -> None:
    spec = TuneSpec.load(find_preset("tune-emotion"))
    check_space(EmotionTrainSpec.load(find_preset(preset)), spec)
    assert yaml.safe_load(find_preset("tune-emotion").read_text())["epochs"] == spec.epochs


def test_the_shipped_search_over_region_weights_fits_the_generator_and_judges_by_landmarks() -> (
    None
):
    spec = TuneSpec.load(find_preset("tune-generator"))
    base = GeneratorTrainSpec.load(find_preset("generator-small"))
    check_space(base, spec)
    made = trial_spec(base, spec, random_point(spec, 0))
    assert {"losses.style.mouth", "losses.style.eyes", "losses.style.skin"} < set(spec.space)
    assert (spec.metric, spec.mode) == ("val/lmd_px", "min")
    assert made.lmd_frames > 0
    assert (made.max_steps, made.epochs) == (None, spec.epochs)


def test_a_fixed_key_is_the_same_in_every_trial_and_must_exist() -> None:
    spec = made(fixed={"global_batch": 4, "model.dropout": 0.1}, space={"optimizer.lr": LR})
    for number in range(3):
        found = trial_spec(small_train_spec(), spec, random_point(spec, number))
        assert (found.global_batch, found.model.dropout) == (4, 0.1)
    with pytest.raises(SpecError, match="no such key"):
        check_space(small_train_spec(), made(fixed={"batch_size": 4}))
    for fixed, told in (({"epochs": 3}, "budget"), ({"model.dropout": 0.1}, "searched")):
        with pytest.raises(SpecError, match=told):
            made(fixed=fixed)


def test_a_metric_without_a_direction_is_refused_with_those_that_have_one() -> None:
    with pytest.raises(SpecError, match="choose one of val/accuracy"):
        made(metric="val/beauty")


def test_a_search_that_was_begun_before_there_were_fixed_keys_is_the_same_search() -> None:
    assert "fixed" not in made().identity()
    assert made(fixed={"global_batch": 4}).identity()["fixed"] == {"global_batch": 4}
