"""One trial on the cluster: a run like any other, told to Ray Tune validation by validation.

The run trains in a thread of the trial's actor (or, with several workers, on Ray Train) and waits
at each validation for Tune's verdict. A trial that Tune stops saves a checkpoint before its actor
is used again, so its folder is a consistent run that `visage train` can continue.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import ray.tune

from visage.errors import PreemptedError, SpecError, TrainingError
from visage.specs.train import TrainSpec
from visage.store.commit import read_commit
from visage.store.open import open_store
from visage.training.checkpoint import restore
from visage.training.recipes import spec_class
from visage.training.run_dir import MODEL_PREFIX
from visage.tuning.search import Seen
from visage_jobs.train import TrainJob, run_train

__all__ = ["TrialRun", "trial_job", "trial_seen"]

log = logging.getLogger(__name__)
POLL_S = 0.5
STOP_WITHIN_S = 120.0
"""A stopped trial saves its state in this time, or its actor is not used again."""


class TrialRun(ray.tune.Trainable):  # type: ignore[misc]  # Ray ships no types
    """Ray Tune's view of one run; each step is one validation, the last is the end."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin to train; returns at once."""
        self._begin(config)

    def step(self) -> dict[str, Any]:
        """Let the run go on to its next validation or its end, and tell what happened."""
        self._go.set()
        while True:
            try:
                told = self._told.get(timeout=POLL_S)
            except queue.Empty:
                if not self._thread.is_alive() and self._told.empty():
                    raise TrainingError("the trial's thread ended without a word") from None
                continue
            if isinstance(told, BaseException):
                raise told
            return told

    def cleanup(self) -> None:
        """Save and stop."""
        self._end()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Save and stop this run, then begin another in the same process."""
        if not self._end():
            return False
        self._begin(new_config)
        return True

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._config = dict(config)
        self._told: queue.Queue[dict[str, Any] | BaseException] = queue.Queue(maxsize=64)
        self._go, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._train, name="trial", daemon=True)
        self._thread.start()

    def _end(self) -> bool:
        self._stop.set()
        self._go.set()
        self._thread.join(timeout=STOP_WITHIN_S)
        return not self._thread.is_alive()

    def _train(self) -> None:
        try:
            self._told.put(self._run())
        except PreemptedError as err:
            log.info("%s", err)
        except (SpecError, TrainingError) as err:  # another try would meet the same
            self._told.put({"kind": "failed", "reason": str(err), "done": True})
        except BaseException as err:
            self._told.put(err)

    def _run(self) -> dict[str, Any]:
        job = trial_job(self._config)
        run_train(job, watch=self._watch, stop=self._stop)
        seen, exported_step = trial_seen(job.run_uri, job.spec, self._config["samples"])
        return {
            "kind": "finished",
            "seen": [asdict(one) for one in seen],
            "exported_step": exported_step,
            "done": True,
        }

    def _watch(self, event: Mapping[str, Any]) -> None:
        """Pass a validation on; the run waits here until Tune wants more of it."""
        if event.get("type") != "validation" or self._stop.is_set():
            return
        self._go.clear()
        seen = Seen(
            step=event["step"],
            epoch=event["step"] * self._config["batch"] / self._config["samples"],
            accuracy=event["score"],
            loss=event["loss"],
            means=dict(event["means"]),
        )
        # in a list, as Tune flattens mappings in what it is told
        self._told.put({"kind": "validated", "seen": [asdict(seen)]})
        while not self._go.wait(POLL_S):
            if self._stop.is_set():
                return


def trial_job(config: Mapping[str, Any]) -> TrainJob:
    """The run of a trial, from the plain values that Tune hands to its actor."""
    spec = spec_class(config["recipe"]).parse(config["spec"], origin="spec of the trial")
    return TrainJob(
        recipe=config["recipe"],
        spec=spec,
        data_uri=config["data_uri"],
        run_uri=config["run_uri"],
        tracking_uri=config["tracking_uri"],
        experiment=config["experiment"],
        workers=config["workers"],
        use_gpu=config["use_gpu"],
        is_in_process=config["workers"] == 1,
        tags=config["tags"],
    )


def trial_seen(run_uri: str, spec: TrainSpec, samples: int) -> tuple[list[Seen], int]:
    """All validations of a finished run, and the step whose weights it exported."""
    store = open_store(run_uri)
    done, newest = read_commit(store, MODEL_PREFIX), restore(store)
    if done is None or newest is None:
        raise TrainingError(f"{run_uri}: no model, or no checkpoint that could be read")
    seen = [
        Seen(
            step=one.step,
            epoch=one.step * spec.global_batch / samples,
            accuracy=one.score,
            loss=one.loss,
            means=one.means,
        )
        for one in newest.state.validations
    ]
    return seen, int(str(done.metadata["step"]))
