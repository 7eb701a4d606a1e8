"""Connect to Ray, or start it on this machine for the time of one job.

Ray is never stopped for others: only a session that was started here is shut down here.
Authentication is always set explicitly, because a head and its clients must agree on it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from visage.errors import ClusterError

__all__ = ["quiet_ray_data", "ray_session", "usable_cpus"]

OBJECT_STORE_BYTES = 512 << 20
QUIET = {
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",  # our own bar is the one for people
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # reports of short runs would wait 2 s otherwise
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # warnings of the core that a person cannot act on
}


def usable_cpus() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def ray_session(
    *, address: str | None = None, cpus: int | None = None, dashboard: bool = False
) -> Iterator[None]:
    """A connected Ray: the one already here, the cluster at `address`.

    Or a local one of our own; `dashboard` gives it the state API, which Train inside Tune needs to
    clean up placement groups.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "namespace": "visage"}
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            ray.init(
                address="local",  # unasked, Ray would join a head that somebody else runs here
                num_cpus=cpus or max(4, usable_cpus()),
                include_dashboard=dashboard,
                object_store_memory=OBJECT_STORE_BYTES,
                **quiet,
            )
    except Exception as err:  # Ray raises bare ones, as when a busy machine starts it too slowly
        where = f"the cluster at {address} does not answer" if address else "Ray did not start here"
        raise ClusterError(
            f"{where}: {err}. Nothing was begun; run the same command again"
        ) from err
    try:
        yield
    finally:
        ray.shutdown()


def quiet_ray_data() -> None:
    """Silence Ray Data's own log lines and bars; it configures its loggers when it is imported."""
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    for name in ("ray.data", "ray.data._internal"):
        logging.getLogger(name).setLevel(logging.ERROR)
