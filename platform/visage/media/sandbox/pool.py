"""`MediaSandbox`: the decoders of `visage.media`, each call in a locked-down child.

Invariant: a file costs its own outcome and nothing else. A child that dies is replaced and the file
tried once more; a child that is late is killed; neither ends the caller.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visage.errors import MediaError, SandboxError, SpecError
from visage.media.audio import Samples
from visage.media.image import Image
from visage.media.limits import AudioLimits, ImageLimits, VideoLimits
from visage.media.sandbox.asks import clip_ask, image_ask, sound_ask
from visage.media.sandbox.files import opened_media
from visage.media.sandbox.frame_runs import MOST_FRAMES, FrameRun
from visage.media.sandbox.guard import Guard
from visage.media.sandbox.process import CHILD, START_TIMEOUT_S, Ask, Child, ChildDiedError, Facts
from visage.media.sandbox.window import WINDOW_BYTES
from visage.media.video import TimedFrame, VideoInfo

__all__ = ["MediaSandbox"]

TRIES = 2
"""Of a file on which the child dies; the second proves that it was the file."""
RUN_SAMPLES = 8 * 2**20
"""Of decoded sound that travel at once: three minutes at 48 kHz."""
LEAK_BYTES = 256 * 2**20
"""A child that has grown by more between two requests is replaced."""


@dataclass(slots=True)
class _Idle:
    """Children that wait for work, and the process they belong to."""

    children: list[Child] = field(default_factory=list)
    owner: int = field(default_factory=os.getpid)
    busy: int = 0
    """Children at work."""
    is_closed: bool = False


class MediaSandbox:
    """Decodes untrusted files in up to `children` processes, started when they are first needed.

    Safe to share between threads; as many files are decoded at a time as there are children, and
    the rest wait. Close it, or use it as a context; the children also end with this process.
    """

    def __init__(
        self,
        children: int = 1,
        *,
        image_timeout_s: float = 20.0,
        clip_timeout_s: float = 300.0,
        command: Sequence[str] = CHILD,
    ) -> None:
        """`command` is what the interpreter runs as the child; tests give other decoders."""
        if children < 1:
            raise SpecError(f"children {children} must be at least 1")
        self._image_timeout_s = image_timeout_s
        self._clip_timeout_s = clip_timeout_s
        self._command = tuple(command)
        self._most = children
        self._slots = threading.BoundedSemaphore(children)
        self._lock = threading.Lock()
        self._idle = _Idle()
        self._cpu_s = 0.0
        # The kernel ends a child with the *thread* that started it: this one lives as long as we.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="sandbox")
        self._finish = weakref.finalize(self, _release, self._idle, self._starter)

    def decode_image(self, data: bytes, *, limits: ImageLimits | None = None) -> Image:
        """As `visage.media.image.decode_image`; MediaError also `timeout` and `crashed`."""
        bounds = limits if limits is not None else ImageLimits()
        if len(data) > bounds.max_bytes:
            raise MediaError(
                "too_large",
                f"picture of {len(data)} bytes; at most {bounds.max_bytes} are accepted",
            )
        return self._array(image_ask(data, bounds, timeout_s=self._image_timeout_s))

    def probe_video(self, path: Path, *, limits: VideoLimits | None = None) -> VideoInfo:
        """As `visage.media.video.probe_video`; MediaError also `timeout` and `crashed`."""
        facts = self._facts("probe", path, limits)
        try:
            return VideoInfo(**facts)
        except TypeError:
            raise MediaError("crashed", f"{path}: the decoder gave no facts") from None

    def read_frame(self, path: Path, index: int, *, limits: VideoLimits | None = None) -> Image:
        """As `visage.media.video.read_frame`; MediaError also `timeout` and `crashed`."""
        with opened_media(path) as descriptor:
            return self._array(self._clip("frame", path, descriptor, limits, {"index": index}))

    def iter_frames(
        self, path: Path, info: VideoInfo, *, limits: VideoLimits | None = None
    ) -> Iterator[Image]:
        """The pictures of `iter_timed_frames`."""
        for frame in self.iter_timed_frames(path, info, limits=limits):
            yield frame.image

    def iter_timed_frames(
        self, path: Path, info: VideoInfo, *, limits: VideoLimits | None = None
    ) -> Iterator[TimedFrame]:
        """All frames of a clip in order with their times, decoded a bounded run at a time.

        Args:
            info: What `probe_video` said of the clip; it decides how long a run may be.
        """
        size, frame_bytes = (info.height, info.width), info.width * info.height * 3
        length = min(MOST_FRAMES, max(1, WINDOW_BYTES // frame_bytes))
        # Nobody waits between two runs, so any child may serve the next one; see `HeldClip`.
        reading, start = uuid.uuid4().hex, 0
        while True:
            span = {"reading": reading, "start": start, "stop": start + length, "size": size}
            with opened_media(path) as descriptor:
                run_bytes = length * frame_bytes
                found = self._ask(
                    self._clip("frames", path, descriptor, limits, span, run_bytes=run_bytes)
                )
            if found == {"frames": 0}:
                return
            if not isinstance(found, FrameRun) or found.frames.shape[1:3] != size:
                raise MediaError("crashed", f"{path}: the decoder gave no run of frames")
            for image, time_s in zip(found.frames, found.times_s, strict=True):
                yield TimedFrame(image=image, time_s=time_s)
            if len(found.frames) < length:
                return
            start += length

    def count_frames(self, path: Path, *, limits: VideoLimits | None = None) -> int:
        """Frames that really come out of a clip; all of it is decoded."""
        frames = self._facts("count", path, limits).get("frames")
        if type(frames) is not int or frames < 0:
            raise MediaError("crashed", f"{path}: the decoder gave no count")
        return frames

    def decode_audio(
        self, path: Path, *, sample_rate: int, limits: AudioLimits | None = None
    ) -> Samples:
        """As `visage.media.audio.decode_audio`; MediaError also `timeout` and `crashed`."""
        bounds = limits if limits is not None else AudioLimits()
        most = int((bounds.max_duration_s + 1) * max(0, sample_rate))
        return self._sound(path, bounds, {"sample_rate": sample_rate}, most)

    def iter_audio(
        self, path: Path, *, sample_rate: int, limits: AudioLimits | None = None
    ) -> Iterator[Samples]:
        """The same, a bounded run at a time, each at most RUN_SAMPLES long.

        What lies before a run is decoded again: decoding is a thousand times faster than hearing.
        """
        bounds = limits if limits is not None else AudioLimits()
        start = 0
        while True:
            span = {"sample_rate": sample_rate, "start": start, "stop": start + RUN_SAMPLES}
            run = self._sound(path, bounds, span, RUN_SAMPLES)
            if run.size:
                yield run
            if len(run) < RUN_SAMPLES:
                return
            start += RUN_SAMPLES

    def _sound(
        self, path: Path, bounds: AudioLimits, arguments: dict[str, Any], most: int
    ) -> Samples:
        """At most so many samples; none where the span lies beyond the end."""
        with opened_media(path) as descriptor:
            found = self._ask(
                sound_ask(
                    path,
                    descriptor,
                    bounds,
                    arguments,
                    timeout_s=self._clip_timeout_s,
                    most_samples=most,
                )
            )
        if isinstance(found, np.ndarray):
            return found
        if found == {"samples": 0}:
            return np.zeros(0, np.float32)
        raise MediaError("crashed", f"{path}: the decoder gave no sound")

    @property
    def cpu_s(self) -> float:
        """CPU time that the children's answers took, as they say, their start included."""
        return self._cpu_s

    def start(self) -> None:
        """Start all children now, so that no file waits for one.

        Raises:
            SandboxError: they cannot be started here.
        """
        with contextlib.ExitStack() as held:
            for _ in range(self._most):
                held.enter_context(self._child())

    def guards(self) -> tuple[Guard, ...]:
        """The layers that hold on this machine; starts a child if none waits.

        Raises:
            SandboxError: no child can be started here.
        """
        with self._child() as child:
            return child.guards

    def close(self) -> None:
        """End the children that wait; those at work end when their request is answered."""
        with self._lock:
            self._idle.is_closed = True
            is_last = not self._idle.busy
        if is_last:
            self._finish()

    def __enter__(self) -> MediaSandbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _facts(self, operation: str, path: Path, limits: VideoLimits | None) -> Facts:
        with opened_media(path) as descriptor:
            answer = self._ask(self._clip(operation, path, descriptor, limits, {}))
        if not isinstance(answer, dict):
            raise MediaError("crashed", f"{path}: the decoder gave no facts")
        return answer

    def _clip(
        self,
        operation: str,
        path: Path,
        descriptor: int,
        limits: VideoLimits | None,
        arguments: dict[str, Any],
        *,
        run_bytes: int = 0,
    ) -> Ask:
        bounds = limits if limits is not None else VideoLimits()
        timeout_s = self._clip_timeout_s
        return clip_ask(
            operation, path, descriptor, bounds, arguments, timeout_s=timeout_s, run_bytes=run_bytes
        )

    def _array(self, ask: Ask) -> NDArray[Any]:
        answer = self._ask(ask)
        if not isinstance(answer, np.ndarray):
            raise MediaError("crashed", f"{ask.name}: the decoder gave no picture or sound")
        return answer

    def _ask(self, ask: Ask) -> NDArray[Any] | FrameRun | Facts:
        reason = ""
        for _ in range(TRIES):
            with self._child() as child:
                before_s = child.cpu_s
                try:
                    return child.ask(ask)
                except ChildDiedError as err:
                    reason = str(err)
                finally:
                    with self._lock:
                        self._cpu_s += child.cpu_s - before_s
        said = f" ({reason})" if reason else ""
        raise MediaError("crashed", f"{ask.name}: the decoder died on it {TRIES} times{said}")

    @contextlib.contextmanager
    def _child(self) -> Iterator[Child]:
        """A child for one request; what is dead afterwards, or has grown, does not come back."""
        if not self._slots.acquire(timeout=self._clip_timeout_s):
            raise MediaError("timeout", f"no decoder became free within {self._clip_timeout_s:g} s")
        try:
            self._count(1)
            try:
                child = self._waiting() or self._started()
                try:
                    yield child
                finally:
                    self._take_back(child)
            finally:
                self._count(-1)
        finally:
            self._slots.release()

    def _count(self, change: int) -> None:
        """One more or one fewer at work; the last one after closing ends the rest."""
        with self._lock:
            if self._idle.is_closed and change > 0:
                raise SandboxError("the sandbox is closed; open another one")
            self._idle.busy += change
            is_last = self._idle.is_closed and not self._idle.busy
        if is_last:
            self._finish()

    def _take_back(self, child: Child) -> None:
        if child.is_alive() and child.grown_bytes() < LEAK_BYTES:
            self._idle.children.append(child)
        else:
            child.kill()

    def _waiting(self) -> Child | None:
        if self._idle.owner != os.getpid():  # forked: these children answer another process
            self._idle.children.clear()
            self._idle.owner = os.getpid()
            self._starter = ThreadPoolExecutor(1, thread_name_prefix="sandbox")
        with contextlib.suppress(IndexError):
            while True:
                child = self._idle.children.pop()
                if child.is_alive():
                    return child
                child.kill()
        return None

    def _started(self) -> Child:
        started = self._starter.submit(Child.start, self._command)
        return started.result(timeout=2 * START_TIMEOUT_S)


def _release(idle: _Idle, starter: ThreadPoolExecutor) -> None:
    while idle.owner == os.getpid() and idle.children:
        idle.children.pop().kill()
    starter.shutdown(wait=False)
