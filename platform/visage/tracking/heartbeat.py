"""Signs of life: a run whose process died must not stay RUNNING for ever.

Each open run carries a tag with who writes it and when it last did. Any later job of the experiment
(and `visage doctor`) ends runs whose writer is gone. On the writer's own machine the process itself
is looked at, so a stopped process or a silent server is no death; elsewhere only time can tell, and
a run that was ended too early becomes RUNNING again when its writer is heard of.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from visage.tracking.backend import classify, connect

__all__ = ["BEAT_EVERY_S", "HEARTBEAT_TAG", "SILENT_LIMIT_S", "Heartbeat", "reap_dead_runs"]

log = logging.getLogger(__name__)

HEARTBEAT_TAG = "visage.heartbeat"
REAPED_TAG = "visage.reaped"
BEAT_EVERY_S = 30.0
SILENT_LIMIT_S = 900.0
PAGE = 200
_START_FIELD = 19  # of /proc/<pid>/stat, counted after the name in brackets


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Who writes a run, and when it last said so."""

    machine: str
    """Host, boot and process namespace: where a process id means the same process."""
    pid: int
    started: str
    """Start of the process in the system's own count, so that a reused id is another process."""
    time_s: float
    """Seconds since 1970."""

    @classmethod
    def now(cls, time_s: float) -> Heartbeat:
        """Of this process."""
        pid = os.getpid()
        return cls(machine=_machine(), pid=pid, started=_started(pid) or "", time_s=time_s)

    @classmethod
    def from_text(cls, text: str) -> Heartbeat | None:
        """A tag's value, or None if it is none."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None

    def to_text(self) -> str:
        """The tag's value."""
        return json.dumps(asdict(self), sort_keys=True)

    def is_dead(self, now_s: float, *, silent_limit_s: float = SILENT_LIMIT_S) -> bool:
        """Whether its process is gone: seen here, or silent for too long elsewhere."""
        if self.machine == _machine():
            return _started(self.pid) != self.started
        return now_s - self.time_s > silent_limit_s


def reap_dead_runs(
    tracking_uri: str,
    experiment: str,
    *,
    silent_limit_s: float = SILENT_LIMIT_S,
    wall_clock: Callable[[], float] = time.time,
) -> list[str]:
    """End runs of an experiment whose writer is gone as KILLED; returns their ids.

    Runs without a sign of life are other people's and left alone.

    Raises:
        TrackingError: the server does not answer, or refused.
    """
    try:
        client = connect(tracking_uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return []
        dead = []
        for run_id in _running(client, found.experiment_id):
            # Asked again for each: its job may have been resubmitted since the list was made.
            info, beat = _state(client, run_id)
            if info.status != "RUNNING" or beat is None:
                continue
            if beat.is_dead(wall_clock(), silent_limit_s=silent_limit_s):
                client.set_tag(run_id, REAPED_TAG, f"by {platform.node()} process {os.getpid()}")
                client.set_terminated(run_id, "KILLED", end_time=int(beat.time_s * 1000))
                log.warning("run %s (%s): its process is gone; ended", info.run_name, run_id)
                dead.append(run_id)
    except Exception as err:
        raise classify(err, tracking_uri) from err
    return dead


def _running(client: Any, experiment_id: str) -> list[str]:
    ids: list[str] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            filter_string="attributes.status = 'RUNNING'",
            max_results=PAGE,
            page_token=token,
        )
        ids += [run.info.run_id for run in page if HEARTBEAT_TAG in run.data.tags]
        token = page.token
        if not token:
            return ids


def _state(client: Any, run_id: str) -> tuple[Any, Heartbeat | None]:
    run = client.get_run(run_id)
    return run.info, Heartbeat.from_text(run.data.tags.get(HEARTBEAT_TAG, ""))


def _machine() -> str:
    """Different for containers of one name, and after a reboot."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return f"{platform.node()}/unknown-{os.getpid()}"  # only time can tell there
    return f"{platform.node()}/{boot}/{namespace}"


def _started(pid: int) -> str | None:
    """When a process of this machine started; None if there is none, or only its remains."""
    try:
        _, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:
        return None
    state, *fields = rest.split()
    return None if state in ("Z", "X") else fields[_START_FIELD - 1]
