"""One writer of a registered model at a time, on a database file or on a server.

MLflow sets an alias without asking what it pointed to, so compare-and-set needs a lock around the
comparison. Beside a sqlite database it is a file lock, which the system frees when its holder dies.
On a server it is a registered model of a reserved name, because creating one is atomic there; a
lock whose holder died is broken after a minute.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from visage.tracking.backend import RefusedError, classify, local_folder
from visage.tracking.filelock import file_lock, wait_until

__all__ = ["LOCK_SUFFIX", "registry_lock"]

LOCK_SUFFIX = ".visage-lock"
WAIT_S = 30.0
STALE_AFTER_S = 60.0


@contextmanager
def registry_lock(
    client: Any,
    tracking_uri: str,
    name: str,
    *,
    wait_s: float = WAIT_S,
    sleep: Callable[[float], None] = time.sleep,
    wall_clock: Callable[[], float] = time.time,
) -> Iterator[None]:
    """Hold the lock of one registered model; TrackingError if another holds it for too long."""
    folder = local_folder(tracking_uri)
    if folder is None:
        with _server_lock(client, name, wait_s=wait_s, sleep=sleep, wall_clock=wall_clock):
            yield
        return
    path = folder / f"registry.{name}.lock"
    with file_lock(path, what=f"model {name!r}", wait_s=wait_s, sleep=sleep):
        yield


@contextmanager
def _server_lock(
    client: Any,
    name: str,
    *,
    wait_s: float,
    sleep: Callable[[float], None],
    wall_clock: Callable[[], float],
) -> Iterator[None]:
    lock_name = f"{name}{LOCK_SUFFIX}"
    wait_until(
        lambda: _try_server(client, lock_name, wall_clock()),
        what=f"model {name!r}",
        wait_s=wait_s,
        sleep=sleep,
    )
    try:
        yield
    finally:
        client.delete_registered_model(lock_name)


def _try_server(client: Any, lock_name: str, now_s: float) -> bool:
    holder = f"{socket.gethostname()} process {os.getpid()}"
    try:
        client.create_registered_model(lock_name, description=f"held by {holder}; Visage's own")
    except Exception as err:
        refused = classify(err, lock_name)
        if not isinstance(refused, RefusedError) or "ALREADY_EXISTS" not in refused.code:
            raise refused from err
        _break_if_stale(client, lock_name, now_s)
        return False
    return True


def _break_if_stale(client: Any, lock_name: str, now_s: float) -> None:
    try:
        created_s = client.get_registered_model(lock_name).creation_timestamp / 1000
        if now_s - created_s > STALE_AFTER_S:
            client.delete_registered_model(lock_name)
    except Exception as err:
        refused = classify(err, lock_name)
        if not isinstance(refused, RefusedError):  # refused: its holder removed it just now
            raise refused from err
