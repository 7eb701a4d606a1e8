"""What runs on the cluster for `visage train`.

The worker function and the controller's callback.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.train import UserCallback

from visage.errors import DataError, PreemptedError, RescuedError, SpecError, TrainingError
from visage.training.host import GroupHost, Host, SingleHost
from visage.training.recipes import spec_class
from visage.training.session import run_training
from visage_jobs.pulse import Beats
from visage_jobs.train_notice import Notices, is_terminated

__all__ = ["Events", "first_cause", "train_worker"]


def train_worker(config: dict[str, Any]) -> None:
    """One rank. Errors that restarts cannot help are reported, not raised, if all ranks meet them.

    If one rank alone meets one (its shard holds a row that cannot be used), it leaves word and
    raises, which frees its peers; the group that is started again reports the word and ends.
    """
    torch.set_num_threads(1 if not torch.cuda.is_available() else torch.get_num_threads())
    context = ray.train.get_context()
    spec = spec_class(config["recipe"]).parse(config["spec"], origin="spec of the run")
    beats = Beats(config["launch"], context.get_world_rank(), limit_s=spec.stall_limit_s)
    host = _host(beats)
    try:
        if (reason := beats.given_up()) is not None:
            raise DataError(reason)
        run_training(
            run_uri=config["run_uri"],
            spec=spec,
            recipe_name=config["recipe"],
            data_uri=config["data_uri"],
            host=host,
        )
        host.report({"type": "finished"})
    except PreemptedError as err:
        if not any(host.gather(beats.is_stop_asked())):  # a worker got SIGTERM: start again
            raise
        host.report({"type": "preempted", "message": str(err)})
    except DataError as err:
        if beats.given_up() is None:
            beats.give_up(str(err))
            raise
        host.report({"type": "failed", "error": "DataError", "message": str(err)})
    except (SpecError, TrainingError, RescuedError) as err:
        host.report({"type": "failed", "error": type(err).__name__, "message": str(err)})
    finally:
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


def _host(beats: Beats) -> Host:
    device = ray.train.torch.get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)  # collectives of objects go through the current device
    kind = GroupHost if torch.distributed.is_initialized() else SingleHost
    notices = Notices()

    def report(event: Mapping[str, object]) -> None:
        ray.train.report(dict(event))
        if event["type"] == "train" and (news := notices.look()):
            ray.train.report(dict(news))

    return kind(
        device=device,
        report=report,
        stop_requested=lambda: beats.is_stop_asked() or is_terminated(),
        save_requested=notices.take,
        seconds_left=beats.seconds_left,
        note=beats.note,
    )
