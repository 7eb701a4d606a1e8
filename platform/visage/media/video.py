"""Clips: facts, single frames and streams of frames, under limits.

A frame's index is its place in the order in which a decoder that starts at the beginning hands
frames out. `read_frame` and `iter_frames(start=…)` skip what need not be decoded, but only where
that provably names the same frame; everywhere else they decode from the start. Frames are upright
RGB. One frame is held at a time.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TypeVar

from av.audio.stream import AudioStream
from av.video.frame import VideoFrame

from visage.errors import MediaError, SpecError
from visage.media.container import MediaFile, decode_errors
from visage.media.image import Image
from visage.media.limits import VideoLimits
from visage.media.seeking import entry_for, frames_from
from visage.media.video_stream import (
    decode_frames,
    duration_of,
    open_video,
    quarter_turns,
    upright,
)
from visage.media.video_writer import write_video

__all__ = [
    "TimedFrame",
    "VideoInfo",
    "iter_frames",
    "iter_timed_frames",
    "probe_video",
    "read_frame",
    "write_video",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What a clip is, before it is decoded."""

    width: int
    """Of an upright frame, pixels."""
    height: int
    """Of an upright frame, pixels."""
    fps: float
    """Frames a second on average."""
    frames: int
    """As the container states it, or counted from its packets where it states nothing."""
    duration_s: float
    has_audio: bool
    rotation_deg: int = 0
    """Turn, counter-clockwise, that was applied to make frames upright."""
    codec: str = ""
    """Name of the video codec, for example `h264`."""
    audio_start_s: float = 0.0
    """When the first sample is heard, on the clock of the frames' times; 0 without sound."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimedFrame:
    """A frame and when it is shown."""

    image: Image
    """Upright RGB."""
    time_s: float | None
    """On the clock of the container; None where it does not say."""


def probe_video(path: MediaFile, *, limits: VideoLimits | None = None) -> VideoInfo:
    """Size, rate, length and sound of a clip; decodes one frame.

    Raises:
        MediaError: `not_found`, `unsupported_format`, `too_large`, `truncated`, or `empty` where
            there is no video stream or no frame.
    """
    bounds = limits if limits is not None else VideoLimits()
    with open_video(path, bounds, threads=1) as (container, stream):
        frame = next(decode_frames(path, container, stream, bounds), None)
        if frame is None:
            raise MediaError("empty", f"{path}: the clip has no frames")
        rotation = quarter_turns(frame) * 90
        width, height = frame.width, frame.height
        if rotation % 180:
            width, height = height, width
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        has_audio = bool(container.streams.audio)
        audio_start_s = _start_of(container.streams.audio[0]) if has_audio else 0.0
        stated, codec = stream.frames, stream.codec.canonical_name
        duration_s = duration_of(container, stream)
    frames = stated or _count_packets(path, bounds)
    if not duration_s:
        duration_s = frames / fps if fps else 0.0
    return VideoInfo(
        width=width,
        height=height,
        fps=fps or (frames / duration_s if duration_s else 0.0),
        frames=frames,
        duration_s=duration_s,
        has_audio=has_audio,
        rotation_deg=rotation,
        codec=codec,
        audio_start_s=audio_start_s,
    )


def read_frame(
    path: MediaFile, index: int, *, limits: VideoLimits | None = None, threads: int = 1
) -> Image:
    """The frame `index`, counted from 0 in the order of decoding from the start.

    Raises MediaError as `iter_frames` does, and `not_found` past the last frame.
    """
    for frame in iter_frames(path, limits=limits, start=index, stop=index + 1, threads=threads):
        return frame
    raise MediaError("not_found", f"{path}: there is no frame {index}; the clip ends before it")


def iter_frames(
    path: MediaFile,
    *,
    limits: VideoLimits | None = None,
    start: int = 0,
    stop: int | None = None,
    threads: int = 1,
) -> Iterator[Image]:
    """As `iter_timed_frames`, the pictures alone: uint8 of shape (height, width, 3)."""
    timed = iter_timed_frames(path, limits=limits, start=start, stop=stop, threads=threads)
    for frame in timed:
        yield frame.image


def iter_timed_frames(
    path: MediaFile,
    *,
    limits: VideoLimits | None = None,
    start: int = 0,
    stop: int | None = None,
    threads: int = 1,
) -> Generator[TimedFrame, None, None]:
    """Frames `start` to `stop` (exclusive) with their times, one by one.

    Args:
        path: An MP4/MOV, WebM/MKV or AVI file.
        limits: Bounds; the defaults of VideoLimits if not given.
        start: First index; nothing is yielded if it lies past the end.
        stop: Index after the last; None means to the end.
        threads: Decoder threads; 0 lets the decoder choose.

    Raises:
        MediaError: `not_found`, `unsupported_format`, `too_large`, `truncated` or `empty`.
        SpecError: start or stop is negative or in the wrong order.
    """
    if start < 0 or (stop is not None and stop < start):
        raise SpecError(f"frames {start} to {stop}: start at 0 or later and stop after the start")
    if stop == start:
        return
    bounds = limits if limits is not None else VideoLimits()
    entry = entry_for(path, start, bounds, threads=threads) if start else None
    if entry is not None:
        frames = frames_from(path, entry, bounds, threads=threads)
        first = next(frames, None)
        if first is not None:
            yield _timed(first)
            for frame in _take(frames, None if stop is None else stop - start - 1):
                yield _timed(frame)
            return
    index = -1
    with open_video(path, bounds, threads=threads) as (container, stream):
        for index, frame in enumerate(decode_frames(path, container, stream, bounds)):
            if stop is not None and index >= stop:
                return
            if index >= start:
                yield _timed(frame)
    if index < 0:
        raise MediaError("empty", f"{path}: the clip has no frames")


def _timed(frame: VideoFrame) -> TimedFrame:
    return TimedFrame(image=upright(frame), time_s=frame.time)


def _start_of(stream: AudioStream) -> float:
    if stream.start_time is None or stream.time_base is None:
        return 0.0
    return float(stream.start_time * stream.time_base)


def _take(frames: Iterator[T], count: int | None) -> Iterator[T]:
    if count == 0:
        return
    for taken, frame in enumerate(frames, start=1):
        yield frame
        if taken == count:
            return


def _count_packets(path: MediaFile, limits: VideoLimits) -> int:
    with open_video(path, limits, threads=1) as (container, stream), decode_errors(path):
        return sum(1 for p in container.demux(stream) if p.size and not p.is_discard)
