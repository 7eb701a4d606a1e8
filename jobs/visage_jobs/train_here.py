"""One worker in the process that asks for it: a trial on a small machine starts in no time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visage_jobs.train import TrainJob

__all__ = ["fit_here"]


def fit_here(job: TrainJob, take: Callable[[dict[str, Any]], None], stop: threading.Event) -> None:
    """Train to the end or to a requested stop; events are taken in this thread.

    Raises:
        VisageError: as `run_training`.
    """
    import torch

    from visage.training.host import SingleHost
    from visage.training.session import run_training

    if not job.use_gpu:
        torch.set_num_threads(1)  # as each worker of a group; trials share the machine
    host = SingleHost(
        device="cuda" if job.use_gpu else "cpu",
        report=lambda event: take(dict(event)),
        stop_requested=stop.is_set,
    )
    run_training(
        run_uri=job.run_uri,
        spec=job.spec,
        recipe_name=job.recipe,
        data_uri=job.data_uri,
        host=host,
    )
