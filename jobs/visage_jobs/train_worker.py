"""What runs on the cluster for `visage train`.

The worker function and the controller's callback.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.train import UserCallback

from visage.errors import PreemptedError, SpecError, StoreError, TrainingError
from visage.store.base import Store
from visage.store.open import open_store
from visage.training.host import GroupHost, Host, SingleHost
from visage.training.recipes import spec_class
from visage.training.session import run_training
from visage_jobs.pulse import Beats

__all__ = ["Events", "first_cause", "train_worker"]

STOP_POLL_S = 1.0


def train_worker(config: dict[str, Any]) -> None:
    """One rank. Errors that every rank meets alike are reported, not raised.

    Restarts cannot help.
    """
    torch.set_num_threads(1 if not torch.cuda.is_available() else torch.get_num_threads())
    context = ray.train.get_context()
    stop = _StopPoll(open_store(config["run_uri"]), config["launch"], context.get_world_rank())
    spec = spec_class(config["recipe"]).parse(config["spec"], origin="spec of the run")
    beats = Beats(config["launch"], context.get_world_rank(), limit_s=spec.stall_limit_s)
    host = _host(stop.requested, beats.note)
    try:
        run_training(
            run_uri=config["run_uri"],
            spec=spec,
            recipe_name=config["recipe"],
            data_uri=config["data_uri"],
            host=host,
        )
        host.report({"type": "finished"})
    except PreemptedError as err:
        host.report({"type": "preempted", "message": str(err)})
    except (SpecError, TrainingError) as err:
        host.report({"type": "failed", "error": type(err).__name__, "message": str(err)})
    finally:
        stop.close()
        beats.close()


class Events(UserCallback):  # type: ignore[misc]  # Ray ships no types
    """Appends what rank 0 reports to a file on the driver's node."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def after_report(
        self, run_context: object, metrics: list[dict[str, Any]], checkpoint: object
    ) -> None:
        """One line an event; rank 0's counts."""
        self.append(metrics[0])

    def after_exception(
        self, run_context: object, worker_exceptions: Mapping[int, Exception]
    ) -> None:
        """Name the rank that failed first; Ray restarts the group while its budget lasts."""
        rank, cause = first_cause(worker_exceptions)
        self.append(
            {
                "type": "restart",
                "rank": rank,
                "reason": _last_line(cause),
                "others": sorted(set(worker_exceptions) - {rank}),
            }
        )

    def append(self, event: Mapping[str, Any]) -> None:
        """Write one event; short lines of several processes never mix."""
        with self._path.open("a") as file:
            file.write(json.dumps(event) + "\n")


def first_cause(failures: Mapping[int, BaseException]) -> tuple[int, BaseException]:
    """The rank that failed by itself, and why; what the others say of lost peers comes after."""
    causes = {rank: getattr(err, "cause", None) or err for rank, err in failures.items()}
    rank = min(causes, key=lambda one: (_is_lost_peer(causes[one]), one))
    return rank, causes[rank]


def _is_lost_peer(cause: BaseException) -> bool:
    said = str(cause)
    return any(mark in said for mark in ("gloo", "Connection closed by peer", "NCCL", "ncclR"))


def _last_line(cause: BaseException) -> str:
    said = str(cause).strip().splitlines() or [type(cause).__name__]
    return said[-1].strip()


def _host(stop_requested: Callable[[], bool], note: Callable[[int, str], None]) -> Host:
    device = ray.train.torch.get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)  # collectives of objects go through the current device
    kind = GroupHost if torch.distributed.is_initialized() else SingleHost
    return kind(
        device=device,
        report=lambda event: ray.train.report(dict(event)),
        stop_requested=stop_requested,
        note=note,
    )


class _StopPoll:
    """Reads the run's stop request about once a second, on rank 0, beside training."""

    def __init__(self, store: Store, launch: str, rank: int) -> None:
        self._store, self._launch = store, launch
        self._found, self._closed = threading.Event(), threading.Event()
        if rank == 0:
            threading.Thread(target=self._poll, name="stop-poll", daemon=True).start()

    def requested(self) -> bool:
        """Whether this launch was asked to stop."""
        return self._found.is_set()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()

    def _poll(self) -> None:
        while not self._closed.wait(STOP_POLL_S):
            try:
                if self._store.stat("STOP") and self._store.get("STOP").decode() == self._launch:
                    self._found.set()
                    return
            except StoreError:
                continue  # a store that is down must not stop training; asked again in a second
