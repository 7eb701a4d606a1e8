"""The training loop. It reads top to bottom and knows neither Ray nor MLflow nor what it trains.

Invariant: after `step` steps the weights are a function of spec, data and cluster size alone,
however often the run was killed and continued.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn

from torch import nn

from visage.data.feed import Feed
from visage.data.ledger import LedgerRow
from visage.data.prefetch import Prefetch
from visage.data.sampler import Sampler
from visage.data.shards import ShardRows
from visage.errors import PreemptedError, RescuedError
from visage.faultpoints import fault_point
from visage.store.base import Store
from visage.store.retry import retries_so_far
from visage.training.checkpoint import CheckpointWriter
from visage.training.ema import Ema
from visage.training.host import Host
from visage.training.recipe import Recipe
from visage.training.samples import publish_samples
from visage.training.state import Best, RunState
from visage.training.stepper import Stepper, StepResult, is_half_precision
from visage.training.tensors import Snapshot, snapshot_module, snapshot_optimizer
from visage.training.validation import show, validate

__all__ = ["Loop", "train"]

REPORT_EVERY_S = 2.0


@dataclass(slots=True, kw_only=True)
class Loop:
    """Everything one run is made of on one rank."""

    recipe: Recipe
    stepper: Stepper
    ema: Ema | None
    sampler: Sampler
    feed: Feed
    validation: ShardRows | None
    writer: CheckpointWriter | None
    """On rank 0 only."""
    host: Host
    steps: int
    store: Store | None = None
    """Of the run, on rank 0: where samples are shown."""
    prefetch: Prefetch | None = None
    """What brings remote shards here ahead of time; the session closes it."""
    clock: Callable[[], float] = time.monotonic

    @property
    def averaged(self) -> nn.Module:
        """The weights that are validated and exported."""
        return self.ema.module if self.ema else self.recipe.model


def train(loop: Loop, state: RunState) -> RunState:
    """Run to the last step; returns the final state, whose checkpoint is published.

    Raises:
        PreemptedError: a stop was requested; the state is saved.
        RescuedError: on every rank, when the store took no checkpoint for too long.
        NonFiniteLossError: on every rank, before any optimizer moved.
    """
    pace = _Pace(loop, state.step)
    rows: list[LedgerRow] = []
    while state.step < loop.steps:
        loop.host.note(state.step, "begin")
        fault_point("train.before_step")
        loop.host.note(state.step, "data")
        batch = loop.feed.batch(state.step)
        loop.host.note(state.step, "step")
        result = loop.stepper.step(batch, state.step, pace.wishes())
        if loop.ema:
            loop.ema.update(loop.recipe.model, state.step)
        rows.append(_ledger_row(loop, state.step, batch.ids.tolist(), result.loss))
        state = state.advanced()
        fault_point("train.after_step")
        pace.count(len(batch) * loop.host.world, batch.wait_s)
        if result.wishes["report"] or state.step == loop.steps:
            loop.host.report(pace.event(state, result))
        improved = False
        if loop.validation and _validates_at(loop, state.step):
            state, improved = _validate(loop, state, loop.validation)
        if improved or result.wishes["save"] or _saves_at(loop, state.step):
            state = _save(loop, state, rows)
            pace.saved()
        if result.wishes["stop"] and state.step < loop.steps:
            _stop(loop, state, rows)
    problem = _settle(loop)
    if problem:
        raise RescuedError(problem)
    return state


def _ledger_row(loop: Loop, step: int, ids: list[int], loss: float) -> LedgerRow:
    return LedgerRow(
        step=step, rank=loop.host.rank, world=loop.host.world, ids=tuple(ids), loss=loss
    )


def _validates_at(loop: Loop, step: int) -> bool:
    every = max(1, loop.sampler.steps_for(loop.recipe.spec.validate_every_epochs))
    return step % every == 0 or step == loop.steps


def _saves_at(loop: Loop, step: int) -> bool:
    every = loop.recipe.spec.checkpoint_every_steps
    return step == loop.steps or bool(every and step % every == 0)


def _validate(loop: Loop, state: RunState, rows: ShardRows) -> tuple[RunState, bool]:
    """Score the averaged weights.

    Says whether the state must be saved because they are the best.
    """
    half = is_half_precision(loop.recipe, loop.host)
    seen, means = validate(loop.recipe, loop.averaged, rows, loop.host, step=state.step, half=half)
    state = replace(state, validations=(*state.validations, seen))
    loop.host.report(
        {
            "type": "validation",
            "step": state.step,
            "score": seen.score,
            "score_name": loop.recipe.score_name,
            "loss": seen.loss,
            "means": means,
        }
    )
    _show(loop, state.step, rows, half=half)
    improved = state.best is None or seen.score > state.best.score
    if not improved or loop.recipe.spec.export != "best":
        return state, False
    return replace(state, best=Best(step=state.step, score=seen.score, checkpoint="")), True


def _show(loop: Loop, step: int, rows: ShardRows, *, half: bool) -> None:
    """Publish what the recipe shows of the validation split, and tell where it lies."""
    if not loop.recipe.spec.samples:
        return
    names: list[str] = []
    if loop.store is not None:
        loop.host.note(step, "validate")
        samples = show(loop.recipe, loop.averaged, rows, loop.host, half=half)
        names = publish_samples(loop.store, step, samples)
    names = loop.host.gather(names)[0]
    if names:
        loop.host.report({"type": "samples", "step": step, "names": names})


def _stop(loop: Loop, state: RunState, rows: list[LedgerRow]) -> NoReturn:
    """Save once, not again what was saved at this step, and end on all ranks alike."""
    until = loop.clock() + min(loop.host.gather(loop.host.seconds_left()))
    if rows:
        _save(loop, state, rows, until=until)
    problem = _settle(loop, until=until)
    raise PreemptedError(f"stopped on request after step {state.step}; {problem or 'state saved'}")


def _save(
    loop: Loop, state: RunState, rows: list[LedgerRow], *, until: float = math.inf
) -> RunState:
    """Hand a snapshot to the writer; the rows of all ranks go with it.

    A stop that is asked for while the write before has not ended puts a routine save off: the stop
    saves by itself, and has no time to wait for what a slow store may take.
    """
    loop.host.note(state.step, "save")
    problem, is_overdue, is_put_off = "", False, False
    if loop.writer:
        is_routine = until == math.inf and state.step < loop.steps
        is_put_off = is_routine and not loop.writer.ends_before(loop.host.stop_requested)
    if loop.writer and not is_put_off:
        loop.writer.settle(until=until)
        problem, is_overdue = loop.writer.take_problem(), loop.writer.is_overdue
    problem, is_overdue, is_put_off = loop.host.gather((problem, is_overdue, is_put_off))[0]
    if is_put_off:
        return state
    gathered = loop.host.gather(list(rows))
    rows.clear()
    if problem and not is_overdue:
        loop.host.report({"type": "unsaved", "step": state.step, "reason": problem})
    state = replace(state, scalers=loop.stepper.scaler_states())
    name = told = ""
    if loop.writer:
        merged = [row for share in gathered for row in share]
        if is_overdue:
            told = loop.writer.give_up(problem, state, _snapshots(loop), merged)
        else:
            name = loop.writer.save(state, _snapshots(loop), merged)
    if is_overdue:
        raise RescuedError(loop.host.gather(told)[0])
    if state.best is not None and not state.best.checkpoint:
        name = loop.host.gather(name)[0]
        state = replace(state, best=replace(state.best, checkpoint=name))
    return state


def _snapshots(loop: Loop) -> dict[str, Snapshot]:
    spare = loop.writer.take_spare() if loop.writer else {}
    modules = {"model": loop.recipe.model}
    if loop.ema:
        modules["ema"] = loop.ema.module
    modules |= {f"companion.{name}": one for name, one in loop.recipe.companions.items()}
    snapshots = {name: snapshot_module(one, spare.get(name)) for name, one in modules.items()}
    for phase in loop.recipe.phases:
        name = f"optimizer.{phase.name}"
        snapshots[name] = snapshot_optimizer(phase.optimizer, spare.get(name))
    return snapshots


def _settle(loop: Loop, *, until: float = math.inf) -> str:
    """Wait for the last write, all ranks for rank 0; if it failed, what became of the state."""
    loop.host.note(loop.steps, "save")
    told = loop.writer.finish(until=until) if loop.writer else ""
    return loop.host.gather(told)[0]


class _Pace:
    """Decides on rank 0 when to save and report, and measures speed in between."""

    def __init__(self, loop: Loop, step: int) -> None:
        self._loop = loop
        self._saved_s = self._reported_s = loop.clock()
        self._samples, self._wait_s, self._first_step = 0, 0.0, step

    def wishes(self) -> dict[str, bool]:
        """What this rank wishes for; the ranks add their wishes up."""
        is_writer = self._loop.host.rank == 0
        now = self._loop.clock()
        due = now - self._saved_s >= self._loop.recipe.spec.checkpoint_every_s
        return {
            "save": (is_writer and due and not self._is_writing())
            or self._loop.host.save_requested(),
            "report": is_writer and now - self._reported_s >= REPORT_EVERY_S,
            "stop": self._loop.host.stop_requested(),
        }

    def _is_writing(self) -> bool:
        """A slow store delays the next save, never a training step, until its limit is over."""
        writer = self._loop.writer
        return writer is not None and writer.is_busy and not writer.is_late

    def count(self, samples: int, wait_s: float) -> None:
        """Add one step's samples and data wait."""
        self._samples += samples
        self._wait_s += wait_s

    def saved(self) -> None:
        """Start the save interval again."""
        self._saved_s = self._loop.clock()

    def event(self, state: RunState, result: StepResult) -> dict[str, object]:
        """What happened since the last report, and start over."""
        now = self._loop.clock()
        spent_s = max(now - self._reported_s, 1e-9)
        steps = max(1, state.step - self._first_step)
        event = {
            "type": "train",
            "step": state.step,
            "steps": self._loop.steps,
            "epoch": self._loop.sampler.epoch_of(state.step),
            "loss": result.loss,
            "lr": result.lr,
            "samples_per_s": self._samples / spent_s,
            "step_s": spent_s / steps,
            "data_wait_s": self._wait_s / steps,
            "store_retries": retries_so_far(),
            **result.means,
        }
        self._samples, self._wait_s, self._first_step = 0, 0.0, state.step
        self._reported_s = now
        return event
