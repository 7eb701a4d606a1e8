"""A whole search without Ray: fake trials, real decisions, and a kill after every event."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visage.errors import CorruptError
from visage.specs.tune import AshaSpec, TuneSpec
from visage.store.open import open_store
from visage.tuning.asha import is_kept, rungs
from visage.tuning.journal import Journal
from visage.tuning.search import Search, Seen, Trial, best_first, replay

SPACE = {"optimizer.lr": {"log_uniform": [1e-4, 1e-1]}, "model.dropout": {"uniform": [0.0, 0.6]}}


def made(**changes: object) -> TuneSpec:
    values = {"space": SPACE, "trials": 6, "epochs": 9.0, "searcher": "random", **changes}
    return TuneSpec.parse({"asha": {"grace_epochs": 1, "reduction": 3}, **values})


def opened(folder: Path, spec: TuneSpec) -> Search:
    return Search(spec, Journal.open(open_store(str(folder))))


def seen(trial: Trial, epoch: int) -> Seen:
    """A trial learns the better, the smaller its dropout."""
    accuracy = (1 - float(trial.values["model.dropout"])) * (1 - 0.5**epoch)
    return Seen(step=10 * epoch, epoch=float(epoch), accuracy=accuracy, loss=1 - accuracy)


def run_to_end(search: Search, *, kill_after: int | None = None) -> bool:
    """One trial after the other as a driver would; False if it was killed on the way."""
    left = kill_after if kill_after is not None else 10**9
    while trial := next(iter(search.unfinished()), None) or search.propose():
        for epoch in range(1, 10):
            left -= 1
            if left < 0:
                return False
            if not search.validated(trial.number, seen(trial, epoch)):
                break
        else:
            history = [seen(trial, epoch) for epoch in range(1, 10)]
            search.finished(trial.number, history, exported_step=90)
    return True


@pytest.mark.parametrize("searcher", ["random", "grid", "optuna"])
def test_a_search_killed_after_any_validation_ends_as_the_unbroken_one(
    searcher: str, tmp_path: Path
) -> None:
    spec = made(searcher=searcher, trials=5)
    unbroken = opened(tmp_path / "unbroken", spec)
    assert run_to_end(unbroken)
    for kill_after in range(0, 40, 3 if searcher == "random" else 9):
        folder = tmp_path / f"killed-{kill_after}"
        run_to_end(opened(folder, spec), kill_after=kill_after)
        again = opened(folder, spec)
        assert run_to_end(again)
        assert again.trials == unbroken.trials
        assert opened(folder, spec).trials == unbroken.trials


def test_poor_trials_stop_and_the_best_one_runs_to_its_end(tmp_path: Path) -> None:
    search = opened(tmp_path, made(trials=12))
    run_to_end(search)
    states = [one.state for one in search.trials]
    assert states.count("stopped") >= 4
    best = search.best()
    assert best is not None
    assert best.values == min(
        (one.values for one in search.trials), key=lambda one: float(one["model.dropout"])
    )
    assert best_first(search.trials, search.spec)[0] == best
    assert all(
        "not among the best" in one.reason for one in search.trials if one.state == "stopped"
    )


def test_without_asha_every_trial_runs_to_its_end(tmp_path: Path) -> None:
    search = opened(tmp_path, made(asha=None))
    run_to_end(search)
    assert {one.state for one in search.trials} == {"finished"}


def test_a_repeated_validation_changes_nothing(tmp_path: Path) -> None:
    search = opened(tmp_path, made(asha=None))
    trial = search.propose()
    assert trial is not None
    for epoch in (1, 2, 2, 1, 3):
        assert search.validated(trial.number, seen(trial, epoch))
    assert [one.epoch for one in search.trials[0].seen] == [1, 2, 3]


def test_a_failed_trial_is_kept_with_its_reason_and_the_search_goes_on(tmp_path: Path) -> None:
    search = opened(tmp_path, made(trials=3))
    trial = search.propose()
    assert trial is not None
    search.failed(trial.number, "loss is NaN")
    assert run_to_end(search)
    assert search.trials[0].state == "failed"
    assert search.trials[0].reason == "loss is NaN"
    assert best_first(search.trials, search.spec)[-1].number == 0
    assert search.to_run == 0


def test_a_finished_search_can_be_made_longer(tmp_path: Path) -> None:
    run_to_end(opened(tmp_path, made(trials=3)))
    longer = opened(tmp_path, made(trials=5))
    before = longer.trials
    assert longer.to_run == 2
    run_to_end(longer)
    assert longer.trials[:3] == before
    assert len(longer.trials) == 5


def test_a_score_is_that_of_the_exported_weights() -> None:
    history = tuple(Seen(step=n, epoch=n, accuracy=a, loss=1 - a) for n, a in [(1, 0.9), (2, 0.4)])
    trial = Trial(number=0, values={}, seen=history)
    assert trial.score(made()) == 0.4
    done = Trial(number=0, values={}, seen=history, state="finished", exported_step=1)
    assert done.score(made()) == 0.9
    assert done.score(made(metric="val/loss")) == pytest.approx(0.1)
    assert Trial(number=0, values={}).score(made()) is None


@pytest.mark.parametrize(
    "event",
    [
        {"event": "finished", "trial": 3, "exported_step": 1},
        {"event": "begun", "trial": 0},
        {"event": "odd", "trial": 0},
        {"trial": 0},
    ],
)
def test_an_event_that_makes_no_sense_is_damage(event: dict[str, object]) -> None:
    begun = {"event": "begun", "trial": 0, "values": {}}
    with pytest.raises(CorruptError, match="makes no sense"):
        replay([begun, event])


def test_rungs_grow_by_the_reduction_and_end_before_the_budget() -> None:
    assert rungs(AshaSpec(grace_epochs=2, reduction=3), 60) == (2, 6, 18, 54)
    assert rungs(AshaSpec(grace_epochs=2, reduction=3), 2) == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.integers(2, 5), st.randoms())
def test_the_best_at_a_rung_is_kept_in_any_order_and_about_one_in_r_go_on(
    values: list[float], reduction: int, order: object
) -> None:
    order.shuffle(values)  # type: ignore[attr-defined]
    kept = [one for at, one in enumerate(values) if is_kept(one, values[:at], reduction=reduction)]
    assert max(values) in kept
    assert values[0] in kept
    last, others = values[-1], values[:-1]
    better = sum(one > last for one in others)
    assert is_kept(last, others, reduction=reduction) == (
        better == 0 or better * reduction < len(values)
    )


def test_any_reported_metric_decides_whichever_way_is_better(tmp_path: Path) -> None:
    """And what decided is in the journal, so that a search opened again decides the same."""
    spec = made(metric="val/lmd_px", asha=None, trials=3)
    search = opened(tmp_path, spec)
    for lmd_px in (4.0, 2.0, 3.0):
        trial = search.propose()
        assert trial is not None
        one = Seen(step=1, epoch=9.0, accuracy=lmd_px, loss=0.0, means={"lmd_px": lmd_px})
        search.validated(trial.number, one)
        search.finished(trial.number, [one], exported_step=1)
    again = opened(tmp_path, spec)
    assert again.trials == search.trials
    best = again.best()
    assert best is not None
    assert (best.number, best.score(spec)) == (1, 2.0)


def test_a_metric_that_was_not_reported_is_the_worst_value(tmp_path: Path) -> None:
    spec = made(metric="val/lmd_px")
    one = Seen(step=1, epoch=1.0, accuracy=0.9, loss=0.1)
    assert not one.has(spec)
    assert spec.goodness(one.value(spec)) == float("-inf")
    assert one.has(made(metric="val/score"))


def test_a_journal_of_before_tells_of_score_and_loss_alone() -> None:
    events = [
        {"event": "begun", "trial": 0, "values": {}},
        {"event": "validated", "trial": 0, "step": 1, "epoch": 1.0, "accuracy": 0.5, "loss": 2.0},
    ]
    (trial,) = replay(events).values()
    assert trial.score(made()) == 0.5
    assert trial.score(made(metric="val/loss")) == 2.0
