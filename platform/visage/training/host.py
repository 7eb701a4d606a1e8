"""The few things the loop needs from the processes around it: who am I, add up, gather, report.

`SingleHost` is one process; `GroupHost` stands on an initialised `torch.distributed` group, whoever
started it (Ray Train or torchrun).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["GroupHost", "Host", "SingleHost"]

T = TypeVar("T")
Report = Callable[[Mapping[str, object]], None]


class Host(Protocol):
    """One rank's view of its group."""

    @property
    def rank(self) -> int:
        """0 … world-1; rank 0 writes."""
        ...

    @property
    def world(self) -> int:
        """How many ranks."""
        ...

    @property
    def device(self) -> torch.device:
        """Where this rank computes."""
        ...

    def add(self, values: Tensor) -> Tensor:
        """Element-wise sum over all ranks, the same on each."""
        ...

    def gather(self, value: T) -> list[T]:
        """Every rank's value, in rank order, on every rank."""
        ...

    def report(self, event: Mapping[str, object]) -> None:
        """Tell whoever watches; every rank calls it equally often, rank 0's event counts."""
        ...

    def stop_requested(self) -> bool:
        """Whether this rank was asked to stop; the loop makes the ranks agree."""
        ...

    def save_requested(self) -> bool:
        """Whether this rank learned that it may soon be gone; true once for each such notice."""
        ...

    def seconds_left(self) -> float:
        """How long a requested stop may still take; infinite if nobody said."""
        ...

    def note(self, step: int, phase: str) -> None:
        """Say where this rank is; what looks for stalled ranks reads it from another thread."""
        ...


class SingleHost:
    """One process on one device."""

    rank = 0
    world = 1

    def __init__(
        self,
        *,
        device: str | torch.device = "cpu",
        report: Report | None = None,
        stop_requested: Callable[[], bool] | None = None,
        save_requested: Callable[[], bool] | None = None,
        seconds_left: Callable[[], float] | None = None,
        note: Callable[[int, str], None] | None = None,
    ) -> None:
        self.device = torch.device(device)
        self._report = report
        self._note = note
        self._stop_requested = stop_requested
        self._save_requested = save_requested
        self._seconds_left = seconds_left

    def add(self, values: Tensor) -> Tensor:
        """The values themselves."""
        return values

    def gather(self, value: T) -> list[T]:
        """The one value."""
        return [value]

    def report(self, event: Mapping[str, object]) -> None:
        """Pass the event on."""
        if self._report:
            self._report(event)

    def stop_requested(self) -> bool:
        """Ask the function given at the start."""
        return bool(self._stop_requested and self._stop_requested())

    def save_requested(self) -> bool:
        """Ask the function given at the start."""
        return bool(self._save_requested and self._save_requested())

    def seconds_left(self) -> float:
        """Ask the function given at the start."""
        return self._seconds_left() if self._seconds_left else math.inf

    def note(self, step: int, phase: str) -> None:
        """Pass it on."""
        if self._note:
            self._note(step, phase)


class GroupHost(SingleHost):
    """One rank of a torch.distributed group."""

    def __init__(
        self,
        *,
        device: str | torch.device = "cpu",
        report: Report | None = None,
        stop_requested: Callable[[], bool] | None = None,
        save_requested: Callable[[], bool] | None = None,
        seconds_left: Callable[[], float] | None = None,
        note: Callable[[int, str], None] | None = None,
    ) -> None:
        super().__init__(
            device=device, report=report, stop_requested=stop_requested,
            save_requested=save_requested, seconds_left=seconds_left, note=note,
        )  # fmt: skip
        self.rank = dist.get_rank()
        self.world = dist.get_world_size()

    def add(self, values: Tensor) -> Tensor:
        """All-reduce."""
        total = values.clone()
        dist.all_reduce(total)
        return total

    def gather(self, value: T) -> list[T]:
        """All-gather of picklable values between our own ranks."""
        values: list[T | None] = [None] * self.world
        dist.all_gather_object(values, value)
        return [one for one in values if one is not None]
