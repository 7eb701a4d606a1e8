"""Where the time of preparing goes: CPU seconds by stage, of this process and of its decoders.

Every moment counts for one stage only, the innermost, so that the stages add up to the whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from visage.media.sandbox import MediaSandbox

__all__ = ["StageClock"]


class StageClock:
    """Adds to `seconds` by stage; for one thread."""

    def __init__(
        self,
        seconds: dict[str, float],
        sandbox: MediaSandbox | None = None,
        *,
        now: Callable[[], float] = time.process_time,
    ) -> None:
        """`sandbox` is the one whose decoders work for this process alone."""
        self._seconds = seconds
        self._sandbox = sandbox
        self._now = now
        self._stages: list[str] = []
        self._since = 0.0

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """What is done inside counts for the stage, but for what an inner stage takes."""
        self._settle()
        self._stages.append(stage)
        try:
            yield
        finally:
            self._settle()
            self._stages.pop()

    def _settle(self) -> None:
        now = self._now() + (self._sandbox.cpu_s if self._sandbox is not None else 0.0)
        if self._stages:
            stage = self._stages[-1]
            self._seconds[stage] = self._seconds.get(stage, 0.0) + now - self._since
        self._since = now
