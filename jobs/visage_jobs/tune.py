"""`visage tune`: a search over training specs, whose trials are runs like those of `visage train`.

    runs/<search>/search.json       what is searched, on what; written once
    runs/<search>/journal/          what happened, in order; the whole state of the search
    runs/<search>/trial-0003/       an ordinary run folder
    runs/<search>/best.yaml         the best trial's training spec, ready for visage train --preset

The driver writes the MLflow parent run; each trial's process writes its own, a child of it.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from visage.data.shards import load_manifest
from visage.errors import (
    AlreadyExistsError,
    DataError,
    NotFoundError,
    PreemptedError,
    SpecError,
    TrainingError,
)
from visage.specs.train import TrainSpec
from visage.specs.tune import TuneSpec
from visage.store.base import Store, join_uri
from visage.store.open import open_store
from visage.tracking.runs import TrackedRun, open_run
from visage.training.run_dir import MODEL_PREFIX
from visage.tuning.journal import Journal, read_events
from visage.tuning.search import Search, Trial, best_first, replay
from visage.tuning.space import check_space, trial_spec
from visage_jobs.cluster import ray_session, usable_cpus

__all__ = ["TuneJob", "TuneResult", "default_search_name", "run_tune"]

SEARCH_FILE = "search.json"
SEARCH_SCHEMA = "visage.search/1"
BEST_FILE = "best.yaml"
Watch = Callable[[Trial, Search], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneJob:
    """One search: over what, on what, where."""

    recipe: str
    spec: TuneSpec
    base: TrainSpec
    """The training spec of which the trials replace keys."""
    data_uri: str
    search_uri: str
    tracking_uri: str
    workers: int = 1
    """Of one trial."""
    use_gpu: bool = False
    experiment: str = "emotion-tune"
    address: str | None = None
    resume: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneResult:
    """A finished search."""

    search_uri: str
    trials: tuple[Trial, ...]
    """Best first."""
    best: Trial
    best_spec: TrainSpec
    best_model_uri: str
    best_preset_uri: str
    mlflow_run: str
    reused: int
    """Trials that had ended before this launch."""
    seconds: float


def default_search_name(recipe: str, spec: TuneSpec, base: TrainSpec) -> str:
    """A name from what is searched, so that the same command always means the same search."""
    identity = json.dumps([spec.identity(), base.model_dump(mode="json")], sort_keys=True)
    return f"tune-{recipe}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def run_tune(job: TuneJob, *, watch: Watch | None = None) -> TuneResult:
    """Search to the end, or continue a search, or find that it is done.

    Raises:
        VisageError: with the reason, before any trial starts where that is possible.
        PreemptedError: SIGTERM or Ctrl-C; the running trials have saved their state.
    """
    begun_s = time.monotonic()
    store = open_store(job.search_uri)
    data = _preflight(job)
    key = _open_search(job, store, data.digest)
    search = Search(job.spec, Journal.open(store))
    reused = len(search.trials) - len(search.unfinished())
    with open_run(
        job.tracking_uri,
        experiment=job.experiment,
        name=job.search_uri.rstrip("/").rpartition("/")[2],
        run_id=key,
        params=job.spec.model_dump(mode="json"),
        tags={"visage.search_uri": store.uri, "visage.recipe": job.recipe},
    ) as tracked:
        tracked.log_dataset(job.recipe, data.digest, data.uri, "train", data.samples)
        if search.to_run:
            _search_on(job, search, data, tracked, watch)
        best = _publish(job, store, search, tracked)
        return TuneResult(
            search_uri=store.uri,
            trials=tuple(best_first(search.trials, job.spec)),
            best=best,
            best_spec=trial_spec(job.base, job.spec, best.values),
            best_model_uri=join_uri(store.uri, best.name, MODEL_PREFIX),
            best_preset_uri=join_uri(store.uri, BEST_FILE),
            mlflow_run=tracked.run_id,
            reused=reused,
            seconds=time.monotonic() - begun_s,
        )


def _search_on(
    job: TuneJob, search: Search, data: _Data, tracked: TrackedRun, watch: Watch | None
) -> None:
    """Run the trials on Ray; raises PreemptedError if a signal ended it early."""
    with ray_session(address=job.address, cpus=usable_cpus(), dashboard=job.workers > 1):
        from visage_jobs.tune_ray import cluster_slots, run_trials

        is_whole = run_trials(
            search,
            lambda trial: _configured(job, trial, data, parent=tracked.run_id),
            slots=cluster_slots(workers=job.workers, use_gpu=job.use_gpu),
            workers=job.workers,
            use_gpu=job.use_gpu,
            watch=lambda trial: _watched(tracked, search, trial, watch),
        )
    if not is_whole:
        raise PreemptedError(
            f"{job.search_uri}: stopped on request with {_counted(search)}; the same command with "
            "--resume continues"
        )


@dataclass(frozen=True, slots=True)
class _Data:
    """The training split that every trial reads."""

    uri: str
    samples: int
    digest: str


def _preflight(job: TuneJob) -> _Data:
    """Refuse in a second what would fail in every trial."""
    check_space(job.base, job.spec)
    _check_metric(job)
    manifest, data_store = load_manifest(job.data_uri)
    if not manifest.rows("val"):
        raise DataError(
            f"{data_store.uri}: has no validation split, and a search compares trials on it; "
            "prepare the corpus with one"
        )
    if job.base.global_batch % job.workers:
        raise SpecError(f"global_batch {job.base.global_batch} is not divisible by {job.workers} "
                        "workers; choose another --workers")  # fmt: skip
    return _Data(data_store.uri, manifest.rows("train"), manifest.digest())


def _check_metric(job: TuneJob) -> None:
    """Refuse what no trial would report; the rest shows at the first validation."""
    metric = job.spec.metric
    if metric == "val/accuracy" and job.recipe != "emotion":
        raise SpecError(
            f"metric val/accuracy: recipe {job.recipe} has none; choose val/score (its own), "
            "val/loss or another that it reports"
        )
    frames = getattr(trial_spec(job.base, job.spec, {}), "lmd_frames", None)
    if metric == "val/lmd_px" and not frames:
        raise SpecError(
            "metric val/lmd_px: recipe generator reports it if the trials have lmd_frames above 0 "
            "(--set fixed.lmd_frames=24)"
        )


def _open_search(job: TuneJob, store: Store, digest: str) -> str:
    """Claim the folder, or check that it is this search's; its key in MLflow.

    Raises:
        SpecError: an unfinished search is there and `resume` was not asked for.
        TrainingError: another search is there.
        NotFoundError: `resume` was asked for and nothing is there.
    """
    identity = {
        "schema": SEARCH_SCHEMA,
        "recipe": job.recipe,
        "data": digest,
        "search": job.spec.identity(),
        "base": job.base.model_dump(mode="json"),
    }
    if job.resume and store.stat(SEARCH_FILE) is None:
        raise NotFoundError(f"{store.uri}: no search to resume; leave --resume out to begin it")
    with suppress(AlreadyExistsError):
        body = {**identity, "key": uuid.uuid4().hex}
        store.put(SEARCH_FILE, json.dumps(body, indent=1, sort_keys=True).encode())
        return str(body["key"])
    standing = json.loads(store.get(SEARCH_FILE))
    differing = [name for name in identity if standing.get(name) != identity[name]]
    if differing:
        raise TrainingError(
            f"{store.uri}: holds a search that differs in {', '.join(differing)}; choose another "
            "--name, or the same settings to continue that search"
        )
    trials = list(replay(read_events(store)).values())
    is_done = len(trials) >= job.spec.trials and all(one.state != "running" for one in trials)
    if trials and not is_done and not job.resume:
        raise SpecError(
            f"{store.uri}: a search with {len(trials)} of {job.spec.trials} trials begun is there: "
            "continue it with --resume, or choose another --name"
        )
    return str(standing["key"])


def _configured(job: TuneJob, trial: Trial, data: _Data, *, parent: str) -> dict[str, Any]:
    """What the actor of a trial is told: plain values only."""
    spec = trial_spec(job.base, job.spec, trial.values)
    return {
        "number": trial.number,
        "recipe": job.recipe,
        "spec": spec.model_dump(mode="json"),
        "batch": spec.global_batch,
        "data_uri": data.uri,
        "samples": data.samples,
        "run_uri": join_uri(job.search_uri, trial.name),
        "tracking_uri": job.tracking_uri,
        "experiment": job.experiment,
        "workers": job.workers,
        "use_gpu": job.use_gpu,
        "tags": {"mlflow.parentRunId": parent, "visage.search_uri": job.search_uri},
    }


def _watched(tracked: TrackedRun, search: Search, trial: Trial, watch: Watch | None) -> None:
    ended = sum(one.state != "running" for one in search.trials)
    best = search.best()
    score = best.score(search.spec) if best else None
    if trial.state != "running" and score is not None:
        tracked.log_metrics({search.spec.metric: score}, step=ended)
    if watch:
        watch(trial, search)


def _counted(search: Search) -> str:
    states = [one.state for one in search.trials]
    told = [
        f"{states.count(state)} {state}"
        for state in ("finished", "stopped", "failed", "running")
        if state in states
    ]
    return f"{', '.join(told) or 'no trial begun'} of {search.size} trials"


def _publish(job: TuneJob, store: Store, search: Search, tracked: TrackedRun) -> Trial:
    """Write the best spec where a person and MLflow find it."""
    best = search.best()
    if best is None:
        raise TrainingError(
            f"{store.uri}: no trial ran to its end ({_counted(search)}): "
            + next((one.reason for one in search.trials if one.state == "failed"), "all stopped")
        )
    score = best.score(job.spec)
    told = ", ".join(f"{key}={value}" for key, value in best.values.items())
    head = f"# {best.name} of {store.uri}: {job.spec.metric} {score:.4f} with {told}\n"
    body = head + trial_spec(job.base, job.spec, best.values).to_yaml()
    store.replace(BEST_FILE, body.encode())
    tracked.log_text(body, BEST_FILE)
    tracked.set_tags(
        {
            "visage.best_trial": best.name,
            "visage.best_model": join_uri(store.uri, best.name, MODEL_PREFIX),
            "visage.trials": _counted(search),
        }
    )
    return best
