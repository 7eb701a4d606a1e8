"""One video: portrait, sound and style in, an MP4 out, in memory that does not grow with length.

    sound ─► motion at 60 Hz, pixels at fps ─► maps ─► generator ─► frames ─► encoder

Each stage has a thread of its own, putting frames together that of the caller. Motion is made a
chunk of sound at a time, all queues are short, and the sound is read from a file. The result is a
function of the inputs, the model, the spec and its seed (models.md A.10).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from visage.data.clip_rows import FPS
from visage.faces.torso import find_shoulders
from visage.inference.style_card import StyleCard
from visage.inference.talking_head import TalkingHead
from visage.models.motion import Motion
from visage.models.motion.torso import lift_torso, project_torso
from visage.models.projection import project
from visage.rendering.ahead import made_ahead
from visage.rendering.painter import FramePainter
from visage.rendering.portrait import Portrait, rested
from visage.rendering.retiming import Retiming, frame_total
from visage.rendering.sink import VideoSink
from visage.rendering.sound import TRACK_HZ, Sound
from visage.rendering.speaking import SpeakingMotion
from visage.specs.render import RenderSpec

__all__ = ["SMALLEST_VIDEO_PX", "RenderedClip", "iter_points", "render_clip", "video_size"]

SMALLEST_VIDEO_PX = 256
"""Videos of smaller models are enlarged to this side, unless a size is given."""
CHUNKS_AHEAD = BATCHES_AHEAD = 2
WAITING = "waiting"
Item = TypeVar("Item")
Progress = Callable[[int, int], None]
"""Told frames done and frames in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedClip:
    """A finished video."""

    path: Path
    frames: int
    fps: float
    size: int
    """Side of the video, pixels."""
    duration_s: float
    """Of the sound."""
    seconds: dict[str, float]
    """Where the time went: motion, maps (and warps), network, frames (put together), encoder
    (waiting for it), which run beside each other; all, by the clock."""


def video_size(head: TalkingHead, spec: RenderSpec) -> int:
    """Side of the video, pixels."""
    return spec.size or max(SMALLEST_VIDEO_PX, head.generator.spec.size)


def iter_points(
    head: TalkingHead, portrait: Portrait, sound: Sound, style: StyleCard, spec: RenderSpec
) -> Iterator[Tensor]:
    """Landmarks of all frames at the spec's rate, in pixels of the generator, chunk by chunk.

    Yields:
        (T, 68, 2), or (T, 68 + 18, 2) with shoulders; in all `frame_total` of the sound.

    Raises:
        SpecError: the style belongs to another model.
    """
    placing = _Placing(head, portrait)
    speaking = SpeakingMotion(
        head, style, mean=rested(portrait.shape, head.mean), rest=portrait.pose, seed=spec.seed,
        smoothing=spec.smoothing,
    )  # fmt: skip
    total = frame_total(sound.duration_s, spec.fps)
    retiming = Retiming(from_hz=FPS, to_hz=spec.fps, total=total)
    for piece in sound.pieces(spec.chunk_s):
        yield retiming.push(placing(speaking.push(piece)))
    for motion in speaking.finish():
        yield retiming.push(placing(motion))
    yield retiming.finish()


def render_clip(
    head: TalkingHead,
    portrait: Portrait,
    sound: Sound,
    style: StyleCard,
    out: Path,
    spec: RenderSpec,
    *,
    tags: Mapping[str, str] | None = None,
    progress: Progress = lambda done, total: None,
) -> RenderedClip:
    """Render one video; the file appears when it is whole.

    Args:
        tags: What the file says of itself.

    Raises:
        SpecError: the style belongs to another model.
    """
    started, clock = time.perf_counter(), _Clock()
    total, size = frame_total(sound.duration_s, spec.fps), video_size(head, spec)
    painter = FramePainter(head, portrait, style, batch=spec.batch, size=size)
    sink = VideoSink(
        out, fps=spec.fps, audio=sound.track, audio_rate=TRACK_HZ, crf=spec.crf,
        preset=spec.preset, tags=tags or {},
    )  # fmt: skip
    done = 0
    with ExitStack() as stack:

        def beside(stage: str, items: Iterator[Item], depth: int) -> Iterator[Item]:
            ahead = stack.enter_context(made_ahead(clock.over(stage, items), depth=depth))
            return clock.over(WAITING, ahead)

        motion = iter_points(head, portrait, sound, style, spec)
        points = beside("motion", motion, CHUNKS_AHEAD)
        inputs = beside("maps", painter.inputs(points), BATCHES_AHEAD)
        layers = beside("network", painter.layers(inputs), BATCHES_AHEAD)
        stack.enter_context(clock.timed("encoder"))
        stack.enter_context(sink)
        for frame in clock.over("frames", painter.frames(layers)):
            sink.put(frame)
            done += 1
            progress(done, total)
    del clock.seconds[WAITING]
    return RenderedClip(
        path=out,
        frames=sink.frames,
        fps=spec.fps,
        size=size,
        duration_s=sound.duration_s,
        seconds={**clock.seconds, "all": time.perf_counter() - started},
    )


class _Placing:
    """Motion to pixels of the generator, with shoulders if it draws them."""

    def __init__(self, head: TalkingHead, portrait: Portrait) -> None:
        self._camera, self._device = portrait.camera, head.device
        self._torso: Tensor | None = None
        if head.generator.spec.map.torso:
            found = torch.from_numpy(find_shoulders(portrait.picture, portrait.points))
            depth = float(portrait.pose[5])
            self._torso = lift_torso(found, depth, self._camera).to(head.device)
        self._rest = torch.from_numpy(portrait.pose[3:].copy()).to(head.device)
        self._amplitude = head.motion.spec.torso_amplitude

    def __call__(self, motion: Motion) -> Tensor:
        """(T, 68 or 86, 2)."""
        pixels = project(motion.landmarks, motion.pose, self._camera)
        if self._torso is None:
            return pixels
        moved = motion.pose[:, 3:] - self._rest
        shoulders = self._torso + self._amplitude * moved[:, None]
        return torch.cat([pixels, project_torso(shoulders, self._camera)], dim=1)


class _Clock:
    """Seconds by stage, each without the stages within it, whatever thread they run in."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._local = threading.local()

    def over(self, stage: str, items: Iterable[Item]) -> Iterator[Item]:
        """The items, their making counted."""
        source = iter(items)
        while True:
            with self.timed(stage):
                item = next(source, None)
            if item is None:
                return
            yield item

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count what the body takes."""
        running: list[float] = self._local.__dict__.setdefault("running", [])
        began = time.perf_counter()
        running.append(0.0)
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            own = spent - running.pop()
            if running:
                running[-1] += spent
            self.seconds[stage] = self.seconds.get(stage, 0.0) + own
