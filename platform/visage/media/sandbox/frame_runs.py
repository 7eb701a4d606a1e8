"""Frames of a clip, a bounded run at a time, without decoding anything twice.

The parent asks for runs that follow each other, and the child keeps the clip open in between. It
lets go at every other request: what was kept only saves time, so a child that does not have the
clip at hand opens it again and starts where it must.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from visage.errors import MediaError
from visage.media.container import OpenFile
from visage.media.limits import VideoLimits
from visage.media.video import TimedFrame, iter_timed_frames

__all__ = ["MOST_FRAMES", "FrameRun", "HeldClip"]

MOST_FRAMES = 1024
"""Of one run: their times travel in its head."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameRun:
    """Frames that follow each other."""

    frames: NDArray[np.uint8]
    """Upright RGB, (n, height, width, 3); n may be 0."""
    times_s: Sequence[float | None]
    """When each is shown, n of them; None where the container does not say."""


class HeldClip:
    """The clip that is being read run by run, if there is one; of one child, for one thread."""

    def __init__(self) -> None:
        """Nothing is held."""
        self._name = ""
        self._next = 0
        self._file: BinaryIO | None = None
        self._frames: Generator[TimedFrame, None, None] | None = None

    def read(
        self,
        name: str,
        file: OpenFile,
        limits: VideoLimits,
        *,
        start: int,
        stop: int,
        size: tuple[int, int],
    ) -> FrameRun:
        """Frames `start` to `stop` (exclusive), fewer where the clip ends.

        Args:
            name: Of the whole reading, not of the clip: the same for runs that belong together.
            file: The clip; it is kept open if more may follow.
            size: Height and width that every frame must have.

        Raises:
            MediaError: as `iter_timed_frames`, and `unsupported_format` for another size.
        """
        frames = self._frames
        if frames is None or self._name != name or self._next != start:
            self.let_go()
            frames = self._frames = iter_timed_frames(file, limits=limits, start=start)
            self._file, self._name, self._next = file.file, name, start
        try:
            found = list(islice(frames, stop - start))
        except BaseException:
            self.let_go()
            raise
        self._next += len(found)
        if len(found) < stop - start:
            self.let_go()
        if any(one.image.shape[:2] != size for one in found):
            self.let_go()
            raise MediaError("unsupported_format", f"{file}: the size of the picture changes")
        pictures = [one.image for one in found]
        return FrameRun(
            frames=np.stack(pictures) if pictures else np.zeros((0, *size, 3), np.uint8),
            times_s=[one.time_s for one in found],
        )

    def keeps(self, file: BinaryIO) -> bool:
        """Whether the file must stay open."""
        return self._file is file

    def let_go(self) -> None:
        """Close what is held."""
        if self._frames is not None:
            self._frames.close()  # the decoder goes before its file
        if self._file is not None:
            self._file.close()
        self._name, self._next, self._file, self._frames = "", 0, None, None
