"""Frames to a video file while the next ones are made: a bounded queue and one encoding thread.

The file appears under its name when it is whole; whatever goes wrong on either side, nothing does.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from visage.errors import MediaError
from visage.media.image import Image
from visage.media.video_writer import partial_path, write_video

__all__ = ["VideoSink"]

QUEUED_FRAMES = 16
LOOK_EVERY_S = 0.2
REMOVED_WITHIN_S = 5.0
STUCK_AFTER_S = 120.0
"""An encoder that takes no frame for so long, or after the last one writes nothing, is stuck."""


def _beside(work: Callable[[], None]) -> threading.Thread:
    """Ask the file system in a thread of its own: where a server is gone, it may never answer."""
    thread = threading.Thread(target=work, name="video-sink-file", daemon=True)
    thread.start()
    return thread


class _Abandoned(Exception):
    """The maker of frames has failed; the file must not appear."""


class VideoSink:
    """A context: `put` frames inside, and the file is there after it."""

    def __init__(
        self,
        path: Path,
        *,
        fps: float,
        audio: NDArray[np.float32],
        audio_rate: int,
        crf: int,
        preset: str,
        tags: Mapping[str, str],
    ) -> None:
        self._path, self._partial = path, partial_path(path)
        self._queue: queue.Queue[Image | _Abandoned | None] = queue.Queue(QUEUED_FRAMES)
        self._failed: BaseException | None = None
        self._is_abandoned = False
        self._is_over = threading.Event()
        self._state: tuple[int, ...] = ()
        self.frames = 0
        """Written, once the context has ended."""
        write = partial(
            write_video, path, fps=fps, audio=audio, audio_rate=audio_rate, crf=crf, preset=preset,
            tags=tags, partial=self._partial, before_publish=self._check,
        )  # fmt: skip
        self._thread = threading.Thread(
            target=self._write, args=(write,), name="video-sink", daemon=True
        )

    def put(self, frame: Image) -> None:
        """Hand one frame over; waits while the encoder is behind.

        Raises:
            VisageError: why the encoder ended.
            MediaError: `timeout`: it stands still.
        """
        self._hand(frame)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._abandon()
            return
        try:
            self._hand(None, is_last=True)
            self._wait()
        except BaseException:  # Ctrl-C while the last frames are written
            self._abandon()
            raise
        if self._thread.is_alive():
            self._give_up()
            raise MediaError(
                "timeout",
                f"{self._path}: the encoder has written nothing for {STUCK_AFTER_S:g} s; is there "
                "something wrong with the disk?",
            )
        if self._failed is not None:
            raise self._failed

    def _wait(self) -> None:
        """Until the encoder ends, however long that takes, or stands still."""
        looking = _beside(self._look)
        seen, looks_alike = self._state, 0
        while self._thread.is_alive() and looks_alike < round(STUCK_AFTER_S / LOOK_EVERY_S):
            self._thread.join(LOOK_EVERY_S)
            now = self._state
            seen, looks_alike = now, looks_alike + 1 if now == seen else 0
        looking.join(LOOK_EVERY_S)

    def _look(self) -> None:
        """Keep up something that changes while the encoder works."""
        while not self._is_over.is_set():
            try:
                found = self._partial.stat()
                self._state = (self._queue.qsize(), found.st_size, found.st_mtime_ns)
            except OSError:  # not yet, or no more
                self._state = (self._queue.qsize(),)
            self._is_over.wait(LOOK_EVERY_S)

    def _give_up(self) -> None:
        """Have the file not appear, however late the encoder wakes up, and leave nothing of it."""
        self._is_abandoned = True
        _beside(self._removed).join(REMOVED_WITHIN_S)

    def _removed(self) -> None:
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def _check(self) -> None:
        if self._is_abandoned:
            raise _Abandoned

    def _abandon(self) -> None:
        """Have the file not appear, and wait until what was written of it is removed."""
        self._is_abandoned = True
        with contextlib.suppress(MediaError):  # an encoder that is stuck; what is told is the cause
            self._hand(_Abandoned(), is_last=True)
        self._thread.join(STUCK_AFTER_S)
        if self._thread.is_alive():
            self._give_up()

    def _hand(self, item: Image | _Abandoned | None, *, is_last: bool = False) -> None:
        for _ in range(round(STUCK_AFTER_S / LOOK_EVERY_S)):
            try:
                self._queue.put(item, timeout=LOOK_EVERY_S)
                return
            except queue.Full:
                if not self._thread.is_alive():
                    break
        if self._failed is not None and not is_last:
            raise self._failed
        if self._thread.is_alive():
            raise MediaError("timeout", f"{self._path}: the encoder takes no more frames")

    def _write(self, write: Callable[[Iterator[Image]], int]) -> None:
        try:
            self.frames = write(self._frames())
        except _Abandoned:
            pass
        except BaseException as err:  # told to the thread that makes frames
            self._failed = err
        finally:
            self._is_over.set()

    def _frames(self) -> Iterator[Image]:
        while True:
            item = self._queue.get(timeout=24 * 3600)
            self._check()
            if item is None:
                return
            if isinstance(item, _Abandoned):
                raise item
            yield item
