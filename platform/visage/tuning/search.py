"""A search: its trials, what comes next, and which go on; a function of its journal.

The search asks nothing of the process that runs the trials: it says what to try, is told what was
seen, and answers whether to go on. Opening it again after a kill gives the same state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from visage.errors import CorruptError
from visage.specs.tune import TuneSpec, Value
from visage.tuning.asha import is_kept, rungs
from visage.tuning.bayes import Tried, tpe_point
from visage.tuning.journal import Journal
from visage.tuning.space import grid_point, grid_size, random_point

__all__ = ["Search", "Seen", "Trial", "TrialState", "best_first", "replay"]

TrialState = Literal["running", "finished", "stopped", "failed"]
ORDER: tuple[TrialState, ...] = ("finished", "running", "stopped", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One validation of a trial."""

    step: int
    epoch: float
    accuracy: float
    """The recipe's score, which is the accuracy for `emotion`."""
    loss: float
    means: Mapping[str, float] = field(default_factory=dict)
    """What else the recipe reported, by names without `val/`."""

    def has(self, spec: TuneSpec) -> bool:
        """Whether the metric of the search was reported."""
        own = ("val/loss", "val/accuracy", "val/score")
        return spec.metric in own or spec.metric.removeprefix("val/") in self.means

    def value(self, spec: TuneSpec) -> float:
        """The metric of the search; NaN, which is the worst, if it was not reported."""
        match spec.metric:
            case "val/loss":
                return self.loss
            case "val/accuracy" | "val/score":
                return self.accuracy
            case name:
                return float(self.means.get(name.removeprefix("val/"), math.nan))

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Seen:
        """From what a journal or a trial tells; older ones told of score and loss alone."""
        return cls(
            step=event["step"],
            epoch=event["epoch"],
            accuracy=event["accuracy"],
            loss=event["loss"],
            means=dict(event.get("means", {})),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One point of the space and what came of it."""

    number: int
    values: Mapping[str, Value]
    seen: tuple[Seen, ...] = ()
    state: TrialState = "running"
    exported_step: int | None = None
    """Whose weights became the model, if it finished."""
    reason: str = ""
    """Why it failed or stopped."""

    @property
    def name(self) -> str:
        """Its run folder below the search's."""
        return f"trial-{self.number:04d}"

    def score(self, spec: TuneSpec) -> float | None:
        """The metric of the exported weights if it finished, else the last one seen."""
        exported = [one for one in self.seen if one.step == self.exported_step]
        known = exported or self.seen
        return known[-1].value(spec) if known else None

    def goodness(self, spec: TuneSpec) -> float | None:
        """The score as a number that is larger for better trials."""
        score = self.score(spec)
        return None if score is None else spec.goodness(score)


class Search:
    """The state of one search and the only writer of its journal."""

    def __init__(self, spec: TuneSpec, journal: Journal) -> None:
        """Replay what happened so far."""
        self.spec = spec
        self._journal = journal
        self._trials = replay(journal.events)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials so far, by number."""
        return tuple(self._trials[number] for number in sorted(self._trials))

    @property
    def size(self) -> int:
        """How many trials there will be."""
        if self.spec.searcher == "grid":
            return min(self.spec.trials, grid_size(self.spec))
        return self.spec.trials

    @property
    def to_run(self) -> int:
        """How many trials have not ended, begun or not."""
        return len(self.unfinished()) + max(0, self.size - len(self._trials))

    def unfinished(self) -> tuple[Trial, ...]:
        """Trials that were begun and have not ended."""
        return tuple(one for one in self.trials if one.state == "running")

    def propose(self) -> Trial | None:
        """Begin the next new trial, or None if there are enough."""
        number = len(self._trials)
        if number >= self.size:
            return None
        self._record({"event": "begun", "trial": number, "values": self._point(number)})
        return self._trials[number]

    def validated(self, number: int, seen: Seen) -> bool:
        """Take one validation; False if the trial is to stop. Repeated ones change nothing."""
        trial = self._trials[number]
        if trial.state != "running":
            return False
        if trial.seen and seen.step <= trial.seen[-1].step:
            return True
        rung = self._lost_rung(trial, seen)
        event = {"event": "validated", "trial": number, **_plain(seen)}
        if rung is not None:
            event["stopped_at_epoch"] = rung
        self._record(event)
        return rung is None

    def finished(self, number: int, seen: Sequence[Seen], *, exported_step: int) -> None:
        """The trial ran to its end; `seen` is its whole history, of which some may be new."""
        if self._trials[number].state != "running":
            return
        for one in seen:
            known = self._trials[number].seen
            if not known or one.step > known[-1].step:
                self._record({"event": "validated", "trial": number, **_plain(one)})
        self._record({"event": "finished", "trial": number, "exported_step": exported_step})

    def failed(self, number: int, reason: str) -> None:
        """The trial cannot be trained; the search goes on without it."""
        if self._trials[number].state == "running":
            self._record({"event": "failed", "trial": number, "reason": reason})

    def best(self) -> Trial | None:
        """The best trial that ran to its end."""
        done = [one for one in best_first(self.trials, self.spec) if one.state == "finished"]
        return done[0] if done and done[0].seen else None

    def _record(self, event: Mapping[str, Any]) -> None:
        self._journal.append(event)
        _apply(self._trials, event)

    def _point(self, number: int) -> dict[str, Value]:
        if self.spec.searcher == "grid":
            return grid_point(self.spec, number)
        if self.spec.searcher == "random":
            return random_point(self.spec, number)
        tried = [
            Tried(values=one.values, state=one.state, goodness=one.goodness(self.spec))
            for one in self.trials
        ]
        return tpe_point(self.spec, number, tried)

    def _lost_rung(self, trial: Trial, seen: Seen) -> float | None:
        """The rung at which this validation loses, if it reaches one and loses there."""
        asha = self.spec.asha
        if asha is None:
            return None
        before = trial.seen[-1].epoch if trial.seen else 0.0
        reached = [
            one for one in rungs(asha, self.spec.epochs) if before < one <= seen.epoch + 1e-9
        ]
        if not reached or seen.epoch >= self.spec.epochs:
            return None
        mine = self.spec.goodness(seen.value(self.spec))
        others = self._at_rung(reached[-1], trial.number)
        return None if is_kept(mine, others, reduction=asha.reduction) else reached[-1]

    def _at_rung(self, rung: float, number: int) -> list[float]:
        """What the other trials had when they reached a rung."""
        values = []
        for trial in self.trials:
            first = next((one for one in trial.seen if one.epoch + 1e-9 >= rung), None)
            if trial.number != number and first is not None:
                values.append(self.spec.goodness(first.value(self.spec)))
        return values


def replay(events: Iterable[Mapping[str, Any]]) -> dict[int, Trial]:
    """The trials that a journal tells of.

    Raises:
        CorruptError: an event of an unknown kind, or of a trial that was never begun.
    """
    trials: dict[int, Trial] = {}
    for event in events:
        _apply(trials, event)
    return trials


def best_first(trials: Iterable[Trial], spec: TuneSpec) -> list[Trial]:
    """Finished trials, then running, stopped and failed ones; within each the best first."""

    def rank(trial: Trial) -> tuple[int, float, int]:
        goodness = trial.goodness(spec)
        return (
            ORDER.index(trial.state),
            math.inf if goodness is None else -goodness,
            trial.number,
        )

    return sorted(trials, key=rank)


def _apply(trials: dict[int, Trial], event: Mapping[str, Any]) -> None:
    try:
        kind, number = event["event"], int(event["trial"])
        if kind == "begun":
            trials[number] = Trial(number=number, values=dict(event["values"]))
        else:
            trials[number] = _next(trials[number], kind, event)
    except (KeyError, TypeError, ValueError) as err:
        raise CorruptError(f"search journal: event {dict(event)!r} makes no sense: {err}") from None


def _next(trial: Trial, kind: str, event: Mapping[str, Any]) -> Trial:
    if kind == "validated":
        seen = Seen.of(event)
        trial = replace(trial, seen=(*trial.seen, seen))
        rung = event.get("stopped_at_epoch")
        if rung is not None:
            return replace(trial, state="stopped", reason=f"not among the best at epoch {rung:g}")
        return trial
    if kind == "finished":
        return replace(trial, state="finished", exported_step=int(event["exported_step"]))
    if kind == "failed":
        return replace(trial, state="failed", reason=str(event["reason"]))
    raise ValueError(f"kind {kind!r} is unknown")


def _plain(seen: Seen) -> dict[str, Any]:
    return asdict(seen)
