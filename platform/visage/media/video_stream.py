"""The video stream of a clip: opened and decoded under limits, its frames made upright."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from visage.errors import MediaError
from visage.media.container import MediaFile, decode_errors, open_container
from visage.media.image import Image
from visage.media.limits import VideoLimits

__all__ = ["decode_frames", "duration_of", "open_video", "quarter_turns", "upright"]

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
# Codecs that fill the lost part of a damaged picture with whatever the reused buffer held.
_STALE_WHERE_DAMAGED = ("mjpeg", "ffv1")


@contextmanager
def open_video(
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
        duration_s = duration_of(container, stream)
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


def decode_frames(
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


def duration_of(container: InputContainer, stream: VideoStream) -> float:
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


def quarter_turns(frame: VideoFrame) -> int:
    return round(frame.rotation / 90) % 4


def upright(frame: VideoFrame) -> Image:
    # One thread: the conversion is short, and a sandboxed decoder may start none.
    converted = frame.reformat(format="rgb24", threads=1)
    picture = np.asarray(converted.to_ndarray(), dtype=np.uint8)
    turns = quarter_turns(frame)
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture
