"""How many seconds of video wait in a replica, and when there will be room for more.

Invariant: what entered leaves exactly once, whatever ended it; a video counts with the seconds that
are still to be rendered, so the backlog shrinks while one renders.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from visage_serve.refusal import Refusal

__all__ = ["Backlog", "Entry"]

LONGEST_RETRY_S = 600
USUAL_FPS = 30.0
FORGET = 0.7
"""How much of what was learnt stays when another video was rendered."""


@dataclass(slots=True, eq=False)
class Entry:
    """One video in the backlog."""

    left_s: float
    """Seconds of it that are not rendered yet; whoever renders counts them down."""
    fps: float = USUAL_FPS

    @property
    def left_frames(self) -> float:
        """What there is still to do: a frame costs what it costs at any rate."""
        return self.left_s * self.fps


class Backlog:
    """A bounded sum of seconds of video; belongs to one event loop."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._entries: list[Entry] = []
        self._rendered_frames = 0.0
        self._took_s = 0.0

    @property
    def seconds(self) -> float:
        """Of video, that wait or are being rendered."""
        return sum(entry.left_s for entry in self._entries)

    @property
    def pace(self) -> float:
        """Seconds of work for a frame, of late; before anything was rendered, as fast as shown."""
        return self._took_s / self._rendered_frames if self._rendered_frames else 1 / USUAL_FPS

    def check(self, video_s: float = 0.0) -> None:
        """Refusal 429, with Retry-After, if so much more does not fit.

        A video that finds the backlog empty always fits.
        """
        waiting_s = self.seconds
        over_s = waiting_s + video_s - self._limit_s
        if self._entries and over_s > 0.0:
            first = min(1.0, over_s / waiting_s) if waiting_s else 1.0
            raise Refusal(
                429,
                "overloaded",
                f"{waiting_s:.0f} s of video wait here and at most {self._limit_s:g} s may; "
                "wait and send this one again",
                headers={"Retry-After": str(self._wait_s(first))},
            )

    @contextmanager
    def enter(self, video_s: float, *, fps: float = USUAL_FPS) -> Iterator[Entry]:
        """Hold a place for a video of so many seconds; Refusal as `check`."""
        self.check(video_s)
        entry = Entry(video_s, fps)
        self._entries.append(entry)
        try:
            yield entry
        finally:
            self._entries.remove(entry)

    def retry_after_s(self) -> int:
        """Whole seconds until all that waits now will be rendered; 1 to 600."""
        return self._wait_s(1.0)

    def learn(self, frames: float, took_s: float) -> None:
        """So many frames were rendered in so much time."""
        self._rendered_frames = FORGET * self._rendered_frames + frames
        self._took_s = FORGET * self._took_s + took_s

    def _wait_s(self, share: float) -> int:
        """How long a share of what waits will take, 1 to 600 whole seconds."""
        frames = share * sum(entry.left_frames for entry in self._entries)
        # what is a whole number of seconds but for rounding is that number
        return min(max(1, math.ceil(frames * self.pace - 1e-9)), LONGEST_RETRY_S)
