"""The talking-head service: an order in, a video out; it knows neither HTTP nor Ray.

An order is prepared in one thread (decoding, the face, the sound), takes its place in the backlog
by the seconds of video that it asks for, and is rendered in another thread, one video at a time.

Invariant: however a request ends, its folder goes, its place in the backlog is free, and the
thread that worked for it stops within a chunk.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from visage.errors import StoreUnavailableError, VisageError
from visage.inference.style_card import StyleCard
from visage.specs.serve import HeadServeSpec
from visage_serve.backlog import Backlog, Entry
from visage_serve.orders import Order
from visage_serve.refusal import Refusal
from visage_serve.scratch import Scratch
from visage_serve.studio import Scene, Studio, probe_order
from visage_serve.styles import StyleShelf
from visage_serve.wire import HeadReply, StylesReply

__all__ = ["HeadService", "Heads", "HeadsNotReadyError", "Video"]

log = logging.getLogger(__name__)

T = TypeVar("T")
STORE_RETRY_S = 5
STORE_ANSWERS_S = 8.0
"""So long is the store of the styles waited for; who asks from another process waits longer."""
STORE_READERS = 2


class HeadsNotReadyError(VisageError):
    """The proof, one rendered frame, did not succeed in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A finished video."""

    body: bytes
    """An MP4 file: H.264 and AAC."""
    frames: int
    style: str
    model: str
    """Name, version and the start of the digest."""
    note: str | None = None
    """What a person should know, for example that the sound was silent."""


class Heads(Protocol):
    """What stands behind the routes: a service in this process, or one that Ray reaches."""

    @property
    def spec(self) -> HeadServeSpec:
        """How heads are served."""
        ...

    @property
    def model(self) -> HeadReply:
        """Which model makes the videos."""
        ...

    async def animate(self, order: Order) -> Video:
        """The video; Refusal if there is none."""
        ...

    async def styles(self) -> StylesReply:
        """The styles that an order may name."""
        ...

    async def prove(self) -> None:
        """Return if a frame was rendered of late, or is now; else HeadsNotReadyError."""
        ...


class HeadService:
    """Makes videos, one at a time; belongs to one event loop."""

    def __init__(
        self,
        *,
        spec: HeadServeSpec,
        model: HeadReply,
        studio: Studio,
        shelf: StyleShelf,
        scratch: Scratch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Studio and scratch stay the caller's."""
        self.spec = spec
        self.model = model
        self.backlog = Backlog(spec.backlog_s)
        self._studio, self._shelf, self._scratch, self._clock = studio, shelf, scratch, clock
        self._preparing = asyncio.Lock()
        self._rendering = asyncio.Lock()
        self._proving = asyncio.Lock()
        self._frame_at = float("-inf")
        self._beat = asyncio.Event()
        """Set by each frame, and when a rendering ends."""
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="head")
        """One prepares, one renders; a slow store of styles holds up neither."""
        self._readers = ThreadPoolExecutor(STORE_READERS, thread_name_prefix="styles")
        self._tasks: set[asyncio.Task[Video]] = set()

    async def animate(self, order: Order) -> Video:
        """Make one video.

        Raises:
            Refusal: 404 for an unknown style, 4xx for media that cannot be used, 429 if the backlog
                is full, 503 if it took too long or the store of the styles does not answer.
        """
        try:
            async with asyncio.timeout(self.spec.request_timeout_s):
                return await self._detached(self._made(order))
        except TimeoutError:
            raise Refusal(
                503,
                "timeout",
                f"no video within {self.spec.request_timeout_s:g} s; send less sound, or come back "
                "later",
                headers={"Retry-After": str(self.backlog.retry_after_s())},
            ) from None

    async def styles(self) -> StylesReply:
        """The styles that an order may name; Refusal 503 while their store does not answer."""
        return await self._from_store(self._shelf.list)

    async def prove(self) -> None:
        """Return if a frame was rendered within the last health period, or is now.

        Raises:
            HeadsNotReadyError: it failed, or took longer than `health_timeout_s`.
        """
        timeout_s = self.spec.health_timeout_s
        try:
            # who waits for another's proof waits no longer than for one of their own
            async with asyncio.timeout(timeout_s), self._proving:
                while self._clock() - self._frame_at > self.spec.health_period_s:
                    if self._rendering.locked():
                        self._beat.clear()
                        await self._beat.wait()
                    else:
                        await self._detached(self._probed())
        except TimeoutError:
            raise HeadsNotReadyError(
                f"no frame was rendered within {timeout_s:g} s; the replica is stuck"
            ) from None
        except Exception as err:  # whatever it is, this replica renders nothing
            raise HeadsNotReadyError(f"the proof failed: {err}") from err

    def close(self) -> None:
        """Start nothing more; what is in a thread ends by itself."""
        for task in self._tasks:
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._readers.shutdown(wait=False, cancel_futures=True)

    async def _made(self, order: Order) -> Video:
        self.backlog.check()
        style = await self._style(order.fields.style)
        with self._scratch.folder() as folder:
            async with self._preparing:
                scene = await self._in_thread(lambda _: self._studio.prepare(order, style, folder))
            with self.backlog.enter(scene.sound.duration_s, fps=scene.spec.fps) as entry:
                return await self._rendered(scene, folder, entry)

    async def _style(self, name: str | None) -> StyleCard:
        if name is None:  # the model brings its default along; no store is asked
            return self._studio.head.style(None)
        return await self._from_store(lambda: self._shelf.find(name))

    async def _probed(self) -> Video:
        """A short video outside of the backlog, of a face that the model brings along."""
        style = self._studio.head.style(None)
        order, provider = probe_order(style)
        with self._scratch.folder() as folder:
            async with self._preparing:
                scene = await self._in_thread(
                    lambda _: self._studio.prepare(order, style, folder, provider)
                )
            return await self._rendered(scene, folder, Entry(scene.sound.duration_s))

    async def _rendered(self, scene: Scene, folder: Path, entry: Entry) -> Video:
        loop, out = asyncio.get_running_loop(), folder / "out.mp4"

        def told(done: int, total: int) -> None:
            loop.call_soon_threadsafe(self._frame, entry, (total - done) / scene.spec.fps)

        async with self._rendering:
            start = self._clock()
            try:
                clip = await self._in_thread(
                    lambda stop: self._studio.render(scene, out, stop=stop, told=told)
                )
                body = await self._in_thread(lambda _: out.read_bytes())
            finally:
                self._beat.set()
            self.backlog.learn(clip.frames, self._clock() - start)
        return Video(
            body=body,
            frames=clip.frames,
            style=scene.style.name,
            model=self._studio.title,
            note=scene.note,
        )

    def _frame(self, entry: Entry, left_s: float) -> None:
        entry.left_s = left_s
        self._frame_at = self._clock()
        self._beat.set()

    async def _in_thread(self, work: Callable[[threading.Event], T]) -> T:
        """The result; if nobody waits any more, `stop` is set and the end of the work awaited."""
        stop = threading.Event()
        future = asyncio.get_running_loop().run_in_executor(self._threads, work, stop)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            stop.set()
            while not future.done():
                try:
                    await asyncio.wait([future])
                except asyncio.CancelledError:
                    continue  # the folder that the thread writes to must not go before it
            if not future.cancelled():
                future.exception()  # seen; it is Abandoned, or of no interest any more
            raise

    async def _detached(self, work: Coroutine[object, object, Video]) -> Video:
        """The result; whoever stops to wait leaves at once, and the work cleans up behind them."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.cancel()
            raise

    def _forget(self, task: asyncio.Task[Video]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, if nobody waited for it

    async def _from_store(self, read: Callable[[], T]) -> T:
        """What a thread reads of a store; Refusal 503 while that is away, or takes too long."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(STORE_ANSWERS_S):
                return await loop.run_in_executor(self._readers, read)
        except (TimeoutError, StoreUnavailableError):
            log.exception("the store of the styles does not answer")
            raise Refusal(
                503,
                "not_ready",
                "the store of the styles does not answer; come back later",
                headers={"Retry-After": str(STORE_RETRY_S)},
            ) from None
