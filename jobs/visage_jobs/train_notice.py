"""How a worker learns that it may soon be gone: Ray's word on its node, or SIGTERM to its process.

Ray's word (a spot machine is taken back, a node is drained) makes the group save at once and train
on: Ray restarts it elsewhere when the time has come. SIGTERM to one worker makes the group save
and start again, as that process is about to be killed.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from types import FrameType
from typing import Any

import ray.train
import ray.train.torch

__all__ = ["Notices", "Torch", "is_terminated"]

_terminated = threading.Event()


def is_terminated() -> bool:
    """Whether this worker process got SIGTERM."""
    return _terminated.is_set()


class Notices:
    """Ray's word that nodes of this group will be taken away."""

    def __init__(self) -> None:
        self._known: tuple[str, ...] = ()
        self._is_fresh = False

    def look(self) -> Mapping[str, Any] | None:
        """Ask Ray; an event if there is news. A barrier: all ranks must look equally often."""
        info = ray.train.get_preemption_info()
        if info is None or tuple(info.preempted_node_ids) == self._known:
            return None
        self._known, self._is_fresh = tuple(info.preempted_node_ids), True
        return {"type": "preemption", "ranks": list(info.preempted_ranks),
                "deadline_ms": info.deadline_ms}  # fmt: skip

    def take(self) -> bool:
        """Whether there was news since this was asked last."""
        was, self._is_fresh = self._is_fresh, False
        return was


def _listen() -> None:
    """In the main thread of a worker; the handler runs when Ray next asks it for its status."""

    def note(signum: int, frame: FrameType | None) -> None:
        _terminated.set()

    signal.signal(signal.SIGTERM, note)


class _Backend(ray.train.torch.TorchConfig().backend_cls):  # type: ignore[misc]  # no types
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        super().on_start(worker_group, backend_config)
        worker_group.execute(_listen)


class Torch(ray.train.torch.TorchConfig):  # type: ignore[misc]  # Ray ships no types
    """The process group, and a worker's ear for SIGTERM, which its training thread cannot have."""

    @property
    def backend_cls(self) -> type:
        """As Ray's own, and listening."""
        return _Backend
