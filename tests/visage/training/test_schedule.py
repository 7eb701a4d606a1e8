"""Learning rates as functions of the step: their values at the borders."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from visage.data.sampler import Sampler
from visage.specs.train import ScheduleSpec
from visage.training.schedule import lr_at

PEAK = 0.4


def _curve(spec: ScheduleSpec, *, steps: int = 100, epochs: float = 10.0) -> list[float]:
    return [lr_at(spec, step, peak_lr=PEAK, steps=steps, epochs=epochs) for step in range(steps)]


def test_constant_is_constant() -> None:
    assert set(_curve(ScheduleSpec(name="constant"))) == {PEAK}


def test_cosine_begins_at_the_peak_is_half_in_the_middle_and_ends_near_zero() -> None:
    curve = _curve(ScheduleSpec(name="cosine"))
    assert curve[0] == PEAK
    assert curve[50] == pytest.approx(PEAK / 2)
    assert 0 < curve[99] < PEAK / 1000
    assert curve == sorted(curve, reverse=True)


def test_a_warm_up_rises_evenly_to_the_peak_and_the_schedule_begins_there() -> None:
    curve = _curve(ScheduleSpec(name="cosine", warmup_steps=20))
    assert curve[:20] == pytest.approx([PEAK * (step + 1) / 20 for step in range(20)])
    assert curve[19] == curve[20] == PEAK
    assert curve[60] == pytest.approx(PEAK / 2)


def test_a_warm_up_longer_than_the_run_never_reaches_the_peak() -> None:
    curve = _curve(ScheduleSpec(name="cosine", warmup_steps=300))
    assert max(curve) == pytest.approx(PEAK / 3)


def test_the_floor_holds_after_the_warm_up() -> None:
    curve = _curve(ScheduleSpec(name="cosine", warmup_steps=10, floor_lr=0.1))
    assert min(curve[10:]) == curve[99] == 0.1
    assert curve[0] == PEAK / 10


def test_milestones_take_effect_in_the_step_that_begins_their_epoch() -> None:
    spec = ScheduleSpec(name="milestones", milestones_epochs=(2.5, 4), gamma=0.1, floor_lr=0.01)
    curve = _curve(spec)
    assert curve[:25] == [PEAK] * 25
    assert curve[25:40] == pytest.approx([PEAK * 0.1] * 15)
    assert curve[40:] == [0.01] * 60


@example(samples=87, batch=11, milestone=33)  # 33.0 comes out as 32.99…96
@given(samples=st.integers(1, 100_000), batch=st.integers(1, 256), milestone=st.integers(1, 59))
def test_a_milestone_falls_on_the_first_step_that_reads_nothing_of_the_epochs_before(
    samples: int, batch: int, milestone: int
) -> None:
    sampler = Sampler(samples=samples, global_batch=batch, seed=0)
    steps = sampler.steps_for(60)
    first = math.ceil(milestone * samples / batch)
    spec = ScheduleSpec(name="milestones", milestones_epochs=(float(milestone),), gamma=0.5)

    def lr(step: int) -> float:
        return lr_at(spec, step, peak_lr=1.0, steps=steps, epochs=sampler.epoch_of(steps))

    assert lr(first) == 0.5
    if first:
        assert lr(first - 1) == 1.0


def test_a_run_of_one_step_has_a_rate() -> None:
    for name in ("constant", "cosine", "milestones"):
        spec = ScheduleSpec.parse({"name": name})
        assert lr_at(spec, 0, peak_lr=PEAK, steps=1, epochs=0.1) == PEAK
