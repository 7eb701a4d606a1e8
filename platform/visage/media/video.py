"""Clips: facts, single frames and streams of frames, under limits.

A frame's index is its place in the order in which a decoder that starts at the beginning hands
frames out. `read_frame` and `iter_frames(start=…)` skip what need not be decoded, but only where
that provably names the same frame; everywhere else they decode from the start. Frames are upright
RGB. One frame is held at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from visage.errors import MediaError, SpecError
from visage.media.container import MediaFile, decode_errors, open_container
from visage.media.image import Image
from visage.media.limits import VideoLimits
from visage.media.video_writer import write_video

__all__ = ["VideoInfo", "iter_frames", "probe_video", "read_frame", "write_video"]

T = TypeVar("T")

_CODECS = (
    "h264",
    "hevc",
    "av1",
    "vp8",
    "vp9",
    "mpeg4",
    "mpeg1video",
    "mpeg2video",
    "msmpeg4v3",
    "flv1",
    "mjpeg",
    "ffv1",
    "rawvideo",
)
# Containers that state when each picture is shown; AVI does not.
_TIMED = ("mov", "matroska")
# Codecs in which every packet holds exactly one shown picture; VP8, VP9 and MPEG-4 may hide some.
_ONE_PICTURE_A_PACKET = ("h264", "hevc", "mjpeg", "ffv1", "rawvideo")
# Codecs that fill the lost part of a damaged picture with whatever the reused buffer held.
_STALE_WHERE_DAMAGED = ("mjpeg", "ffv1")


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


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where decoding may start so that the frame `index` comes out with the timestamp `pts`."""

    packet: int
    key_pts: int
    pts: int
    between: int
    """Frames from the key frame on that come before the wanted one."""


def probe_video(path: MediaFile, *, limits: VideoLimits | None = None) -> VideoInfo:
    """Size, rate, length and sound of a clip; decodes one frame.

    Raises:
        MediaError: `not_found`, `unsupported_format`, `too_large`, `truncated`, or `empty` without
        a
            video stream or frames.
    """
    bounds = limits if limits is not None else VideoLimits()
    with _open_video(path, bounds, threads=1) as (container, stream):
        frame = next(_decode(path, container, stream, bounds), None)
        if frame is None:
            raise MediaError("empty", f"{path}: the clip has no frames")
        rotation = _quarter_turns(frame) * 90
        width, height = frame.width, frame.height
        if rotation % 180:
            width, height = height, width
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        has_audio = bool(container.streams.audio)
        stated, codec = stream.frames, stream.codec.canonical_name
        duration_s = _duration_s(container, stream)
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
    """Frames `start` to `stop` (exclusive), upright RGB uint8 of shape (height, width, 3), one by
    one.

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
    entry = _entry_for(path, start, bounds, threads=threads) if start else None
    if entry is not None:
        frames = _from_entry(path, entry, bounds, threads=threads)
        first = next(frames, None)
        if first is not None:
            yield first
            yield from _take(frames, None if stop is None else stop - start - 1)
            return
    index = -1
    with _open_video(path, bounds, threads=threads) as (container, stream):
        for index, frame in enumerate(_decode(path, container, stream, bounds)):
            if stop is not None and index >= stop:
                return
            if index >= start:
                yield _upright(frame)
    if index < 0:
        raise MediaError("empty", f"{path}: the clip has no frames")


def _take(frames: Iterator[T], count: int | None) -> Iterator[T]:
    if count == 0:
        return
    for taken, frame in enumerate(frames, start=1):
        yield frame
        if taken == count:
            return


@contextmanager
def _open_video(
    path: MediaFile, limits: VideoLimits, *, threads: int
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its first video stream, checked against what the header says."""
    with open_container(
        path, max_bytes=limits.max_bytes, max_pixels=limits.max_pixels
    ) as container:
        streams = [s for s in container.streams.video if not _is_cover(s)]
        if not streams:
            raise MediaError("empty", f"{path}: the file holds no video")
        stream = streams[0]
        if stream.codec_context is None or stream.codec.canonical_name not in _CODECS:
            name = "unknown" if stream.codec_context is None else stream.codec.canonical_name
            raise MediaError(
                "unsupported_format", f"{path}: video codec {name} is not accepted; use H.264"
            )
        _check_size(path, stream.width, stream.height, limits)
        duration_s = _duration_s(container, stream)
        if duration_s > limits.max_duration_s:
            raise MediaError(
                "too_large",
                f"{path}: {duration_s:.1f} s long; the limit is {limits.max_duration_s:.1f} s",
            )
        if stream.frames > limits.max_frames:
            raise MediaError(
                "too_large",
                f"{path}: {stream.frames} frames; the limit is {limits.max_frames}",
            )
        options = {"max_pixels": str(limits.max_pixels)}
        if stream.codec.canonical_name in _STALE_WHERE_DAMAGED:
            options["err_detect"] = "explode"
        stream.codec_context.options = options
        stream.thread_count = threads
        stream.thread_type = "AUTO"
        yield container, stream


def _decode(
    path: MediaFile,
    container: InputContainer,
    stream: VideoStream,
    limits: VideoLimits,
    *,
    from_packet: int = 0,
) -> Iterator[VideoFrame]:
    """Decoded frames in order; packets before `from_packet` are read but not decoded."""
    count = 0
    with decode_errors(path):
        for ordinal, packet in enumerate(container.demux(stream)):
            if ordinal < from_packet:
                continue
            for frame in packet.decode():
                count += 1
                if count > limits.max_frames:
                    raise MediaError(
                        "too_large",
                        f"{path}: more than {limits.max_frames} frames",
                    )
                _check_size(path, frame.width, frame.height, limits)
                if frame.time is not None and frame.time > limits.max_duration_s:
                    raise MediaError(
                        "too_large", f"{path}: runs longer than {limits.max_duration_s:.1f} s"
                    )
                if frame.is_corrupt:
                    raise MediaError("truncated", f"{path}: frame {count - 1} is damaged")
                yield frame


def _entry_for(path: MediaFile, index: int, limits: VideoLimits, *, threads: int) -> _Entry | None:
    """Where to start decoding for `index`, or None if only the sequential way is certain.

    Reads all packets, decodes one frame. Timestamps must be present and unique, and the first frame
    that decodes must be the first in time; otherwise packets and frames cannot be matched.
    """
    shown: list[int] = []
    keys: list[tuple[int, int]] = []  # (packet, pts)
    first_pts: int | None = None
    with _open_video(path, limits, threads=threads) as (container, stream), decode_errors(path):
        timed = container.format.name.split(",")[0] in _TIMED
        if not timed or stream.codec.canonical_name not in _ONE_PICTURE_A_PACKET:
            return None
        for ordinal, packet in enumerate(container.demux(stream)):
            if first_pts is None:
                first_pts = next((frame.pts for frame in packet.decode()), None)
            if packet.size == 0 or packet.is_discard:
                continue
            if packet.pts is None or len(shown) > limits.max_frames:
                return None
            shown.append(packet.pts)
            if packet.is_keyframe:
                keys.append((ordinal, packet.pts))
    shown.sort()
    if index >= len(shown) or len(set(shown)) != len(shown) or first_pts != shown[0]:
        return None
    target = shown[index]
    # A key frame later in time than the target may still precede it in the file (open groups).
    before = [(pts, packet) for packet, pts in keys if pts <= target]
    if not before:
        return None
    key_pts, start = max(before)
    between = index - shown.index(key_pts)
    return _Entry(packet=start, key_pts=key_pts, pts=target, between=between)


def _from_entry(
    path: MediaFile, entry: _Entry, limits: VideoLimits, *, threads: int
) -> Iterator[Image]:
    """Frames from the entry on; nothing at all if its frame does not come out where it should."""
    found, before = False, 0
    with _open_video(path, limits, threads=threads) as (container, stream):
        for frame in _decode(path, container, stream, limits, from_packet=entry.packet):
            if not found:
                if frame.pts is None or frame.pts > entry.pts:
                    return
                found = frame.pts == entry.pts
                # Damaged timestamps may name another frame than its place does.
                if found and before != entry.between:
                    return
                before += frame.pts >= entry.key_pts
            if found:
                yield _upright(frame)


def _count_packets(path: MediaFile, limits: VideoLimits) -> int:
    with _open_video(path, limits, threads=1) as (container, stream), decode_errors(path):
        return sum(1 for p in container.demux(stream) if p.size and not p.is_discard)


def _duration_s(container: InputContainer, stream: VideoStream) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None:
        return float(container.duration / av.time_base)
    return 0.0


def _check_size(path: MediaFile, width: int, height: int, limits: VideoLimits) -> None:
    if width * height > limits.max_pixels:
        raise MediaError(
            "too_large",
            f"{path}: frames of {width}x{height}; at most {limits.max_pixels} pixels are accepted",
        )


def _is_cover(stream: VideoStream) -> bool:
    """Whether the stream is one still picture, as music files carry."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _quarter_turns(frame: VideoFrame) -> int:
    return round(frame.rotation / 90) % 4


def _upright(frame: VideoFrame) -> Image:
    # One thread: the conversion is short, and a sandboxed decoder may start none.
    converted = frame.reformat(format="rgb24", threads=1)
    picture = np.asarray(converted.to_ndarray(), dtype=np.uint8)
    turns = _quarter_turns(frame)
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture
