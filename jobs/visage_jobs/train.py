"""`visage train` on Ray Train: N workers run one session; the driver watches and tracks.

The driver is the only writer of the MLflow run. Workers report through Ray; a callback in Ray's
controller (on the driver's node) appends the events to a file that the driver follows. A
resubmitted job continues its run, on the store and in MLflow alike.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visage.data.records import Split
from visage.data.sampler import Sampler
from visage.data.shards import ShardRows, load_manifest
from visage.errors import (
    AlreadyExistsError,
    DataError,
    NotFoundError,
    PreemptedError,
    RescuedError,
    SpecError,
    TrainingError,
    VisageError,
)
from visage.inference.parts import split_uri
from visage.specs.places import named_parts
from visage.specs.train import TrainSpec
from visage.store.base import Store
from visage.store.commit import read_commit
from visage.store.open import open_store
from visage.tracking.runs import TrackedRun, open_run
from visage.training.run_dir import MODEL_PREFIX, RunInfo, open_run_dir
from visage_jobs.cluster import ray_session
from visage_jobs.pulse import watch_pulse
from visage_jobs.train_events import EventTracker, following
from visage_jobs.train_here import fit_here
from visage_jobs.train_stop import GRACE_S, Grace

__all__ = ["TrainJob", "TrainResult", "default_run_name", "run_train"]

log = logging.getLogger(__name__)
Watch = Callable[[Mapping[str, Any]], None]
TRACKED_FILE = "tracking.finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """One run: what to train, on what, where."""

    recipe: str
    spec: TrainSpec
    data_uri: str
    run_uri: str
    tracking_uri: str
    workers: int = 2
    use_gpu: bool = False
    experiment: str = "emotion"
    address: str | None = None
    is_in_process: bool = False
    """One worker, in this process: for a caller that already runs on the cluster (a trial)."""
    grace_s: float = GRACE_S
    """Between SIGTERM and the end of this process (`visage_jobs.train_stop`)."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Further tags of the MLflow run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """A finished run."""

    recipe: str
    run_uri: str
    model_uri: str
    model_digest: str
    steps: int
    score: float | None
    score_name: str
    """What the score is: `accuracy`, `-L1`; higher is better."""
    means: dict[str, float]
    """What else the recipe measured in that validation, by name."""
    mlflow_run: str
    reused: bool
    seconds: dict[str, float]
    """Where the time of this launch went; empty if the run was finished before."""


def default_run_name(recipe: str, spec: TrainSpec, data_uri: str) -> str:
    """A name from spec and data, so that the same command always means the same run."""
    manifest, _ = load_manifest(data_uri)
    identity = hashlib.sha256(f"{spec.digest()}:{manifest.digest()}".encode()).hexdigest()
    return f"{recipe}-{identity[:8]}"


def run_train(
    job: TrainJob, *, watch: Watch | None = None, stop: threading.Event | None = None
) -> TrainResult:
    """Train to the end, or continue, or find that it is done.

    Args:
        watch: Told every event, from another thread than the caller's if workers report them.
        stop: Setting it asks the run to save and stop, as SIGTERM does.

    Raises:
        VisageError: with the reason, before any worker starts where that is possible.
        PreemptedError: a stop was asked for; the state is saved.
    """
    grace = Grace(job.grace_s, stop)
    with grace.listening():
        return _run_train(job, watch or (lambda event: None), grace)


def _run_train(job: TrainJob, watch: Watch, grace: Grace) -> TrainResult:
    store = open_store(job.run_uri)
    info, splits = _preflight(job, store)
    if read_commit(store, MODEL_PREFIX) is not None:
        _finish_tracking(job, store)
        return _result(job, store, mlflow_run=_tracking_key(store), reused=True, seconds={})
    with _tracked(job, store) as tracked:
        for split, rows in splits.items():
            tracked.log_dataset(job.recipe, info.data_digest, job.data_uri, split, rows)
        spent = _launch(job, store, tracked, watch, grace)
        result = _result(job, store, mlflow_run=tracked.run_id, reused=False, seconds=spent)
    _note_tracked(store, tracked)
    return result


def _tracked(job: TrainJob, store: Store) -> TrackedRun:
    return open_run(
        job.tracking_uri,
        experiment=job.experiment,
        name=job.run_uri.rstrip("/").rpartition("/")[2],
        run_id=_tracking_key(store),
        params=job.spec.model_dump(mode="json"),
        tags={"visage.run_uri": job.run_uri, "visage.recipe": job.recipe, **job.tags},
    )


def _finish_tracking(job: TrainJob, store: Store) -> None:
    """A driver that died after the model was published left a run that looks alive: end it."""
    if store.stat(TRACKED_FILE) is None:
        with _tracked(job, store) as tracked:
            pass
        _note_tracked(store, tracked)


def _note_tracked(store: Store, tracked: TrackedRun) -> None:
    if tracked.is_connected:
        with suppress(AlreadyExistsError):
            store.put(TRACKED_FILE, b"the tracking server knows that this run is finished")


def _preflight(job: TrainJob, store: Store) -> tuple[RunInfo, dict[str, int]]:
    """Refuse in a second what would fail on every worker."""
    for key, place in named_parts(job.spec):
        parent, prefix = split_uri(place)
        if read_commit(parent, prefix) is None:
            raise NotFoundError(
                f"{key}={place}: no model was published there; a run holds its own under RUN/model"
            )
    manifest, data_store = load_manifest(job.data_uri)
    rows = ShardRows(manifest, data_store, "train")
    rows.check()
    sampler = Sampler(samples=len(rows), global_batch=job.spec.global_batch, seed=job.spec.seed)
    sampler.rank_ids(0, rank=0, world=job.workers)
    info = RunInfo.of(
        job.spec,
        recipe=job.recipe,
        data_uri=job.data_uri,
        digest=manifest.digest(),
        samples=len(rows),
    )
    open_run_dir(store, info)
    names: tuple[Split, ...] = ("train", "val")
    return info, {name: manifest.rows(name) for name in names if manifest.rows(name)}


def _tracking_key(store: Store) -> str:
    """The key under which MLflow knows this run folder, made once."""
    with suppress(AlreadyExistsError):
        store.put("tracking.json", json.dumps({"key": uuid.uuid4().hex}).encode())
    key: str = json.loads(store.get("tracking.json"))["key"]
    return key


def _launch(
    job: TrainJob, store: Store, tracked: TrackedRun, watch: Watch, grace: Grace
) -> dict[str, float]:
    launch = uuid.uuid4().hex
    clock = _Clock()
    last: dict[str, Any] = {}

    def take(event: dict[str, Any]) -> None:
        clock.note(event)
        last.update({"type": None, "message": None}, **event)
        track(event)
        watch(event)

    with tempfile.TemporaryDirectory(prefix="visage-train-") as folder:
        track = EventTracker(tracked, store, Path(folder) / "samples")
        if job.is_in_process:
            fit_here(job, take, grace.asked)
        else:
            _launch_on_ray(job, launch, take, Path(folder), grace)
        tracked.flush()  # samples wait in the folder
    _raise_failure(last)
    return clock.seconds()


def _launch_on_ray(
    job: TrainJob,
    launch: str,
    take: Callable[[dict[str, Any]], None],
    folder: Path,
    grace: Grace,
) -> None:
    with ray_session(address=job.address, cpus=max(4, job.workers + 1)):
        events = folder / "events.jsonl"
        events.touch()
        with following(events, take):
            _fit(job, launch, events, folder, grace)


class _Clock:
    """Splits the time of a launch by its events."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._started: float | None = None
        self._step, self._data_wait_s = 0, 0.0

    def note(self, event: Mapping[str, Any]) -> None:
        """Take one event."""
        if event.get("type") == "started":
            self._started = time.monotonic()
            self._step = int(event["step"])
        elif event.get("type") == "train":
            self._data_wait_s += event["data_wait_s"] * (event["step"] - self._step)
            self._step = int(event["step"])

    def seconds(self) -> dict[str, float]:
        """Waiting for workers, and training, of which waiting for data."""
        now = time.monotonic()
        started = self._started if self._started is not None else now
        return {
            "start_workers": started - self._begun,
            "train": now - started,
            "of_which_data_wait": self._data_wait_s,
        }


def _fit(job: TrainJob, launch: str, events: Path, folder: Path, grace: Grace) -> None:
    import ray.train
    import ray.train.torch

    from visage_jobs.train_notice import Torch
    from visage_jobs.train_worker import Events, first_cause, train_worker

    config = {
        "run_uri": job.run_uri,
        "data_uri": job.data_uri,
        "recipe": job.recipe,
        "spec": job.spec.model_dump(mode="json"),
        "launch": launch,
    }
    trainer = ray.train.torch.TorchTrainer(
        train_worker,
        train_loop_config=config,
        torch_config=Torch(backend="nccl" if job.use_gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(num_workers=job.workers, use_gpu=job.use_gpu),
        run_config=ray.train.RunConfig(
            name=f"visage-{launch[:12]}",
            storage_path=str(folder / "ray"),
            failure_config=ray.train.FailureConfig(max_failures=job.spec.max_failures),
            callbacks=[Events(str(events))],
        ),
    )
    tell = Events(str(events)).append
    try:
        with (
            watch_pulse(launch, job.spec.stall_limit_s, tell, grace.save_within_s),
            grace.fitting(),
        ):
            trainer.fit()
    except ray.train.TrainingFailedError as err:
        _, cause = first_cause(getattr(err, "worker_failures", None) or {0: err})
        if isinstance(cause, VisageError):
            raise cause from None
        raise TrainingError(
            f"{job.run_uri}: given up after {job.spec.max_failures} restarts: {cause}. What was "
            "committed is kept; the same command continues the run"
        ) from err


def _raise_failure(last: Mapping[str, Any]) -> None:
    """A worker that must not be restarted says so in its last event and returns."""
    if last.get("type") == "preempted":
        raise PreemptedError(str(last["message"]))
    if last.get("type") == "failed":
        kinds: dict[str, type[VisageError]] = {
            "SpecError": SpecError, "RescuedError": RescuedError, "DataError": DataError
        }  # fmt: skip
        raise kinds.get(str(last["error"]), TrainingError)(str(last["message"]))


def _result(
    job: TrainJob, store: Store, *, mlflow_run: str, reused: bool, seconds: dict[str, float]
) -> TrainResult:
    if (done := read_commit(store, MODEL_PREFIX)) is None:
        raise NotFoundError(f"{job.run_uri}: training ended without a model; see the log above")
    score = done.metadata.get("score")
    return TrainResult(
        recipe=job.recipe,
        run_uri=store.uri,
        model_uri=f"{store.uri}/{MODEL_PREFIX}",
        model_digest=done.digest(),
        steps=int(done.metadata["steps"]),
        score=None if score is None else float(score),
        score_name=str(done.metadata.get("score_name", "accuracy")),
        means={name: float(value) for name, value in done.metadata.get("means", {}).items()},
        mlflow_run=mlflow_run,
        reused=reused,
        seconds=seconds,
    )
