"""One rank of one run, from opening the data to the exported model; the same on one laptop core and
under Ray Train.

Starting and resuming are one path: restore the newest valid checkpoint if there is one, go on.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from visage.data.feed import ShardFeed
from visage.data.prefetch import Prefetch
from visage.data.sampler import Sampler
from visage.data.shards import ShardRows, load_manifest
from visage.errors import CorruptError, NotFoundError, TrainingError
from visage.faultpoints import fault_point
from visage.specs.train import TrainSpec
from visage.store.base import Store
from visage.store.commit import read_commit
from visage.store.open import open_store
from visage.training.checkpoint import CheckpointWriter, Restored, read_checkpoint, restore
from visage.training.ema import Ema
from visage.training.host import Host
from visage.training.loop import Loop, train
from visage.training.recipe import Recipe
from visage.training.recipes import build_recipe
from visage.training.rescue import Rescue, rescue_folder
from visage.training.run_dir import MODEL_PREFIX, RunInfo, open_run_dir
from visage.training.state import RunState
from visage.training.stepper import Stepper
from visage.training.tensors import load_module, load_optimizer

__all__ = ["TrainOutcome", "run_training"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOutcome:
    """What a finished run is."""

    run_uri: str
    model_uri: str
    model_digest: str
    steps: int
    score: float | None
    """Validation score of the exported weights, if there was a validation split."""
    reused: bool
    """The run was finished before; nothing was trained."""


def run_training(
    *, run_uri: str, spec: TrainSpec, recipe_name: str, data_uri: str, host: Host,
    cache: Path | None = None, rescue_to: Path | None = None,
) -> TrainOutcome:  # fmt: skip
    """Train to the end, resuming where a former attempt stopped; every rank calls it.

    Args:
        cache: Where shards come to this machine; default in the user's cache.
        rescue_to: Where this machine keeps the state if the store does not take it; default in
            the user's state home.

    Raises:
        RescuedError: the store took no checkpoint for too long; every rank ends with it.
        TrainingError, DataError, CorruptError: before anything is written, with the reason.
        PreemptedError: stopped on request, state saved.
    """
    store = open_store(run_uri)
    manifest, data_store = load_manifest(data_uri)
    rows = ShardRows(manifest, data_store, "train", cache=cache)
    rows.check()
    sampler = Sampler(samples=len(rows), global_batch=spec.global_batch, seed=spec.seed)
    sampler.rank_ids(0, rank=host.rank, world=host.world)
    info = RunInfo.of(
        spec, recipe=recipe_name, data_uri=data_uri, digest=manifest.digest(), samples=len(rows)
    )
    open_run_dir(store, info)
    finished = read_commit(store, MODEL_PREFIX)
    if finished is not None:
        return _outcome(store, finished.metadata, finished.digest(), reused=True)
    recipe = build_recipe(spec, manifest, host.device)
    steps = _steps(spec, sampler)
    rescue = Rescue(rescue_to or rescue_folder(run_uri), info)
    validation = None
    if manifest.rows("val"):
        validation = ShardRows(manifest, data_store, "val", cache=cache)
    ahead = [one for one in (validation, rows) if one is not None]
    loop = Loop(
        recipe=recipe,
        stepper=Stepper(recipe, host, steps=steps, epochs=sampler.epoch_of(steps)),
        ema=Ema(recipe.model, spec.ema_decay) if spec.ema_decay else None,
        sampler=sampler,
        feed=ShardFeed(
            rows, sampler, recipe.decoder(training=True), rank=host.rank, world=host.world,
            threads=spec.feed_threads, ahead=spec.feed_ahead,
        ),
        validation=validation,
        writer=_writer(store, spec, rescue) if host.rank == 0 else None,
        host=host,
        steps=steps,
        store=store if host.rank == 0 else None,
        prefetch=Prefetch(ahead, rank=host.rank, world=host.world),
    )  # fmt: skip
    return _run(loop, store, info, rescue)


def _writer(store: Store, spec: TrainSpec, rescue: Rescue) -> CheckpointWriter:
    limit_s = spec.checkpoint_age_limit_s
    return CheckpointWriter(store, keep=spec.keep_checkpoints, age_limit_s=limit_s, rescue=rescue)


def _steps(spec: TrainSpec, sampler: Sampler) -> int:
    steps = max(1, sampler.steps_for(spec.epochs))
    return min(steps, spec.max_steps) if spec.max_steps else steps


def _run(loop: Loop, store: Store, info: RunInfo, rescue: Rescue) -> TrainOutcome:
    try:
        for name in sorted({name for name in loop.host.gather(rescue.adopt(store)) if name}):
            loop.host.report({"type": "adopted", "checkpoint": name})
        state = _resume(loop, store)
        loop.host.report({"type": "started", "step": state.step, "steps": loop.steps})
        state = train(loop, state)
        if loop.host.rank == 0:
            _export(loop, store, state, info)
        loop.host.gather(True)
    finally:
        loop.feed.close()
        if loop.prefetch:
            loop.prefetch.close()
        if loop.writer:
            loop.writer.close()
    done = read_commit(store, MODEL_PREFIX)
    if done is None:
        raise TrainingError(f"{store.uri}: the model was not published")
    return _outcome(store, done.metadata, done.digest(), reused=False)


def _resume(loop: Loop, store: Store) -> RunState:
    """Rank 0 chooses the checkpoint, so that all ranks continue from the same one."""
    found, problem = None, ""
    if loop.host.rank == 0:
        try:
            found = restore(store)
        except CorruptError as err:  # told to all ranks, so that they end together
            problem = str(err)
    name, problem, skipped = loop.host.gather(
        (found.name, "", found.skipped) if found else ("", problem, ())
    )[0]
    if problem:
        raise TrainingError(problem)
    for one in skipped:
        loop.host.report(
            {"type": "skipped", "checkpoint": one.name, "reason": one.reason, "used": name}
        )
    if not name:
        return RunState()
    restored = found or read_checkpoint(store, name)
    _load(loop.recipe, loop.ema, restored)
    loop.stepper.load_scaler_states(restored.state.scalers)
    if loop.writer:
        loop.writer.resume_from(restored)
    log.info("continuing after step %d (checkpoint %s)", restored.state.step, name)
    return restored.state


def _load(recipe: Recipe, ema: Ema | None, restored: Restored) -> None:
    where = f"checkpoint {restored.name}"
    load_module(recipe.model, restored.parts["model"], origin=where)
    if ema:
        load_module(ema.module, restored.parts["ema"], origin=where)
    for name, companion in recipe.companions.items():
        load_module(companion, restored.parts[f"companion.{name}"], origin=where)
    for phase in recipe.phases:
        load_optimizer(phase.optimizer, restored.parts[f"optimizer.{phase.name}"], origin=where)


def _export(loop: Loop, store: Store, state: RunState, info: RunInfo) -> None:
    fault_point("train.before_export")
    if loop.recipe.spec.export == "best" and state.best is not None:
        try:
            best = read_checkpoint(store, state.best.checkpoint)
            _load(loop.recipe, loop.ema, best)
            state = replace(best.state, best=state.best)
        except (CorruptError, NotFoundError) as err:
            log.warning("best checkpoint not usable (%s); exporting the last weights", err)
    seen = [one for one in state.validations if one.step == state.step]
    metadata = {
        "recipe": info.recipe,
        "step": state.step,
        "steps": loop.steps,
        "score": seen[-1].score if seen else None,
        "score_name": loop.recipe.score_name,
        "means": dict(seen[-1].means) if seen else {},
        "spec_digest": info.spec_digest,
        "data_digest": info.data_digest,
        "run_uri": store.uri,
    }
    loop.recipe.export(store, MODEL_PREFIX, loop.averaged, metadata=metadata)


def _outcome(
    store: Store, metadata: dict[str, object], digest: str, *, reused: bool
) -> TrainOutcome:
    score = metadata.get("score")
    return TrainOutcome(
        run_uri=store.uri,
        model_uri=f"{store.uri}/{MODEL_PREFIX}",
        model_digest=digest,
        steps=int(str(metadata.get("steps", 0))),
        score=float(score) if isinstance(score, int | float) else None,
        reused=reused,
    )
