"""Ray Tune as the hands of a search: it places, watches and restarts trials; the search decides.

Tune's own searchers and schedulers keep state that does not survive a kill, so both are replaced
by adapters that ask `visage.tuning.search.Search`, whose state is its journal.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import ray
import ray.tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from visage.errors import SpecError, TrainingError, VisageError
from visage.tuning.search import Search, Seen, Trial
from visage_jobs.tune_trial import TrialRun

__all__ = ["cluster_slots", "run_trials"]

log = logging.getLogger(__name__)
Configure = Callable[[Trial], dict[str, Any]]
Watch = Callable[[Trial], None]
QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the journal and MLflow hold what is worth keeping
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # nor is Tune's own state ever read again
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints to stdout whatever `verbose` says
}


def cluster_slots(*, workers: int, use_gpu: bool) -> int:
    """How many trials the connected cluster holds at once.

    Raises:
        SpecError: not even one; says what there is and what one trial takes.
    """
    kind = "GPU" if use_gpu else "CPU"
    held = sum(
        math.floor(node["Resources"].get(kind, 0.0)) for node in ray.nodes() if node["Alive"]
    )
    if held < workers:
        raise SpecError(
            f"one trial takes {workers} {kind}{'s' if workers > 1 else ''}, the cluster has "
            f"{held}: lower --workers, or give a larger cluster with --address"
        )
    return int(held // workers)


def run_trials(
    search: Search,
    configure: Configure,
    *,
    slots: int,
    workers: int,
    use_gpu: bool,
    watch: Watch,
) -> bool:
    """Run what is unfinished and what is still to be proposed; False if a signal ended it early."""
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    _hush()
    errors: list[VisageError] = []
    with tempfile.TemporaryDirectory(prefix="visage-tune-") as folder, _interruptible() as asked:
        tuner = ray.tune.Tuner(
            ray.tune.with_resources(TrialRun, _resources(workers, use_gpu)),
            tune_config=ray.tune.TuneConfig(
                search_alg=_Proposals(search, configure, asked, errors),
                scheduler=_Verdicts(search, watch, errors),
                num_samples=search.to_run,
                max_concurrent_trials=min(slots, search.spec.max_concurrent or slots),
                reuse_actors=True,
            ),
            run_config=ray.tune.RunConfig(
                name="search",
                storage_path=folder,
                verbose=0,
                checkpoint_config=ray.tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=ray.tune.FailureConfig(max_failures=search.spec.max_tries - 1),
            ),
        )
        try:
            tuner.fit()
        except ray.tune.TuneError as err:
            raise errors[0] if errors else TrainingError(f"Ray Tune gave up: {err}") from err
        return not asked.is_set()


def _resources(workers: int, use_gpu: bool) -> Any:
    """What the trial's actor holds itself; with several workers Ray Train holds the rest."""
    if workers > 1:
        return ray.tune.PlacementGroupFactory([{"memory": 1.0}])
    return ray.tune.PlacementGroupFactory([{"CPU": 1.0, **({"GPU": 1.0} if use_gpu else {})}])


class _Unsaved:
    """Tune pickles and copies what it is given; the search lives once, in this process."""

    _errors: list[VisageError]

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Keep what Tune would turn into the text of a traceback."""
        try:
            yield
        except VisageError as err:
            self._errors.append(err)
            raise

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: Mapping[int, Any]) -> Self:
        return self


class _Proposals(_Unsaved, Searcher):  # type: ignore[misc]  # Ray ships no types
    """Hands out what was begun before, then what the search proposes."""

    def __init__(
        self,
        search: Search,
        configure: Configure,
        asked: threading.Event,
        errors: list[VisageError],
    ) -> None:
        super().__init__()
        self._errors = errors
        self._search, self._configure, self._asked = search, configure, asked
        self._again = list(search.unfinished())

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        """The search knows its own."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The plain values of the next trial."""
        if self._asked.is_set():
            return str(Searcher.FINISHED)
        with self._noting():
            return self._next()

    def _next(self) -> dict[str, Any] | str:
        while trial := self._again.pop(0) if self._again else self._search.propose():
            try:
                return self._configure(trial)
            except SpecError as err:  # values that are fine one by one and contradict each other
                self._search.failed(trial.number, str(err))
        return str(Searcher.FINISHED)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """The verdicts' side has told the search."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""


class _Verdicts(_Unsaved, FIFOScheduler):  # type: ignore[misc]  # Ray ships no types
    """Tells the search what was seen, and Tune what the search decided."""

    def __init__(self, search: Search, watch: Watch, errors: list[VisageError]) -> None:
        super().__init__()
        self._errors = errors
        self._search, self._watch = search, watch

    def on_trial_result(self, controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """One validation: go on or stop."""
        with self._noting():
            goes_on = self._take(trial.config["number"], result)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_complete(self, controller: Any, trial: Any, result: Mapping[str, Any]) -> None:
        """The end of a trial, however it came."""
        with self._noting():
            self._take(trial.config["number"], result)

    def on_trial_error(self, controller: Any, trial: Any) -> None:
        """All tries are spent."""
        number = trial.config["number"]
        tries = self._search.spec.max_tries
        with self._noting():
            self._search.failed(number, f"crashed {tries} times, last with {_cause(trial)}")
        self._watch(self._search.trials[number])

    def _take(self, number: int, result: Mapping[str, Any]) -> bool:
        goes_on = True
        if result.get("kind") == "validated":
            goes_on = self._validated(number, Seen.of(result["seen"][0]))
        elif result.get("kind") == "finished":
            seen = [Seen.of(one) for one in result["seen"]]
            self._search.finished(number, seen, exported_step=result["exported_step"])
        elif result.get("kind") == "failed":
            self._search.failed(number, result["reason"])
        self._watch(self._search.trials[number])
        return goes_on

    def _validated(self, number: int, seen: Seen) -> bool:
        metric = self._search.spec.metric
        if seen.has(self._search.spec):
            return self._search.validated(number, seen)
        known = ", ".join(f"val/{name}" for name in sorted(seen.means))
        self._search.failed(
            number, f"it reports no {metric}; it reports val/score, val/loss, {known}"
        )
        return False


def _cause(trial: Any) -> str:
    """The last line of the error that Tune wrote beside the trial."""
    try:
        lines = Path(trial.local_path, "error.txt").read_text().strip().splitlines()
    except OSError:
        lines = []
    return lines[-1].strip() if lines else "an error that was not recorded"


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """SIGTERM and Ctrl-C let every running trial save its state, then end the search."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def request(signum: int, frame: object) -> None:
        log.warning("stop requested; the running trials save their state")
        asked.set()
        os.kill(os.getpid(), signal.SIGUSR1)  # Tune's own way of ending early

    former = {kind: signal.signal(kind, request) for kind in (signal.SIGTERM, signal.SIGINT)}
    former[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until Tune takes it
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    try:
        yield asked
    finally:
        for kind, handler in former.items():
            signal.signal(kind, handler)


def _hush() -> None:
    for name in ("ray.tune", "ray.train", "ray.air"):
        logging.getLogger(name).setLevel(logging.ERROR)
