"""Writing a clip: H.264 and AAC in MP4, frame by frame, whole or not at all.

Frames go straight to the encoder; nothing but the encoder's own look-ahead is held. The file
appears under its name only when it is complete, with its index in front, so players may start
before the end.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream
from numpy.typing import NDArray

from visage.errors import MediaError, SpecError, StoreError
from visage.media.image import Image

__all__ = ["partial_path", "write_video"]

_AUDIO_CHUNK = 1024  # samples in one AAC frame
_CHECKED_SAMPLES = 1 << 20  # looked at a time: sound may be a memory-mapped file of an hour
_TREE_WIDTH_PX = 8 * 16  # of eight macroblocks
_BT709 = 1  # the number of BT.709 in the H.264 tags


def write_video(
    path: Path,
    frames: Iterable[Image],
    *,
    fps: float | Fraction,
    audio: NDArray[np.float32] | None = None,
    audio_rate: int = 16_000,
    crf: int = 18,
    preset: str = "veryfast",
    audio_bit_rate: int = 96_000,
    threads: int | None = None,
    tags: Mapping[str, str] | None = None,
    partial: Path | None = None,
    before_publish: Callable[[], None] = lambda: None,
) -> int:
    """Write RGB frames, and sound if given, as an MP4 file; returns the number of frames.

    All players know a pixel layout with even edges: an odd one is repeated once. Colours are tagged
    BT.709. An existing file is replaced when the new one is complete.

    Args:
        path: Where the file shall lie; its folder must exist.
        frames: RGB uint8 pictures, shape (height, width, 3), all of one size.
        fps: Frames a second; fractions such as Fraction(30000, 1001) are kept exactly.
        audio: Mono float32 samples in [-1, 1], shape (N,); may be memory-mapped; louder is clipped.
        audio_rate: Samples a second of `audio`.
        crf: Constant rate factor of x264; smaller is better, 18 is visually lossless.
        preset: Speed preset of x264.
        audio_bit_rate: Bits a second of the sound.
        threads: Of the encoder; as many as it likes by default, but the bytes depend on how many.
        tags: What the file says of itself, for example `comment`; any player shows them.
        partial: Where the file grows, from `partial_path`; gone when this ends.
        before_publish: Called when all is written; what it raises keeps the file from appearing.

    Raises:
        MediaError: `empty` without frames.
        SpecError: frames of several sizes or of a wrong type, sound that is not mono or not finite.
        StoreError: the file cannot be written there: no room, no right, no folder.
    """
    rate = _checked_rate(path, fps)
    sound = None if audio is None else _checked_audio(path, audio)
    chosen = {"crf": crf, "preset": preset, "threads": threads}
    options = {name: str(value) for name, value in chosen.items() if value is not None}
    partial = partial or partial_path(path)
    try:
        with av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"}) as out:
            out.metadata.update(tags or {})
            stream = None if sound is None else _audio_stream(out, audio_rate, audio_bit_rate)
            count = _encode(
                path, out, iter(frames), stream, sound=sound, rate=rate, options=options
            )
        _make_durable(partial)
        before_publish()
        partial.replace(path)
    except (OSError, av.FFmpegError) as err:
        reason = getattr(err, "strerror", None) or err
        raise StoreError(f"{path}: the video cannot be written: {reason}") from err
    finally:
        _removed(partial)
    return count


def _encode(
    path: Path,
    out: OutputContainer,
    frames: Iterator[Image],
    audio_stream: AudioStream | None,
    *,
    sound: NDArray[np.float32] | None,
    rate: Fraction,
    options: dict[str, str],
) -> int:
    """Feed frames and the sound that belongs to them; returns the number of frames."""
    first = next(frames, None)
    if first is None:
        raise MediaError("empty", f"{path}: no frames to write")
    height, width = _checked_frame(path, first, 0, None)
    stream = _video_stream(out, width, height, rate, options)
    packets = None if audio_stream is None else _AudioFeed(audio_stream, sound)
    count = 0
    frame: Image | None = first
    while frame is not None:
        _checked_frame(path, frame, count, (height, width))
        picture = av.VideoFrame.from_ndarray(_even(frame), format="rgb24").reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=1,  # starting more costs more than they save at the size of a face
        )
        picture.pts, picture.time_base = count, 1 / rate
        out.mux(stream.encode(picture))
        count += 1
        if packets is not None:
            packets.feed(out, until_s=count / rate)
        frame = next(frames, None)
    out.mux(stream.encode(None))
    if packets is not None:
        packets.finish(out)
    return count


class _AudioFeed:
    """Hands sound to its encoder no faster than the pictures it belongs to."""

    def __init__(self, stream: AudioStream, samples: NDArray[np.float32] | None) -> None:
        self._stream = stream
        self._samples = np.zeros(0, np.float32) if samples is None else samples
        self._at = 0

    def feed(self, out: OutputContainer, *, until_s: Fraction) -> None:
        """Encode whole chunks up to the given time."""
        wanted = min(int(until_s * self._stream.rate) + _AUDIO_CHUNK, len(self._samples))
        while self._at + _AUDIO_CHUNK <= wanted:
            self._push(out, self._samples[self._at : self._at + _AUDIO_CHUNK])

    def finish(self, out: OutputContainer) -> None:
        """Encode the rest and what the encoder still holds."""
        while self._at < len(self._samples):
            self._push(out, self._samples[self._at : self._at + _AUDIO_CHUNK])
        out.mux(self._stream.encode(None))

    def _push(self, out: OutputContainer, chunk: NDArray[np.float32]) -> None:
        # (samples,) -> (channels, samples)
        clipped = np.clip(chunk, -1.0, 1.0).astype(np.float32, copy=False)[None, :]
        frame = av.AudioFrame.from_ndarray(clipped, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = self._stream.rate, self._at
        frame.time_base = Fraction(1, self._stream.rate)
        self._at += len(chunk)
        out.mux(self._stream.encode(frame))


def _video_stream(
    out: OutputContainer, width: int, height: int, rate: Fraction, options: dict[str, str]
) -> VideoStream:
    if width % _TREE_WIDTH_PX:
        # x264's macroblock tree works on eight blocks of a row at a time, and of what lies behind
        # the last one it makes something else each time: equal frames gave unequal files
        options = options | {"x264-params": "mbtree=0"}
    stream = out.add_stream("libx264", rate=rate, options=options)
    stream.width, stream.height = width + width % 2, height + height % 2
    stream.pix_fmt = "yuv420p"
    stream.time_base = 1 / rate
    stream.codec_context.color_range = ColorRange.MPEG
    stream.codec_context.colorspace = _BT709
    stream.codec_context.color_primaries = ColorPrimaries.BT709
    stream.codec_context.color_trc = ColorTrc.BT709
    return stream


def _audio_stream(out: OutputContainer, rate_hz: int, bit_rate: int) -> AudioStream:
    stream = out.add_stream("aac", rate=rate_hz, layout="mono")
    stream.bit_rate = bit_rate
    return stream


def _checked_rate(path: Path, fps: float | Fraction) -> Fraction:
    rate = Fraction(fps).limit_denominator(1_000_000)
    if rate <= 0:
        raise SpecError(f"{path}: fps is {fps}; it must be positive")
    return rate


def _checked_audio(path: Path, audio: NDArray[np.float32]) -> NDArray[np.float32]:
    if audio.ndim != 1:
        raise SpecError(
            f"{path}: sound has the shape {audio.shape}; give mono samples of shape (N,)"
        )
    for at in range(0, len(audio), _CHECKED_SAMPLES):
        if not np.isfinite(audio[at : at + _CHECKED_SAMPLES]).all():
            raise SpecError(f"{path}: sound holds NaN or infinite samples")
    return audio


def _checked_frame(
    path: Path, frame: Image, index: int, size: tuple[int, int] | None
) -> tuple[int, int]:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        raise SpecError(
            f"{path}: frame {index} is {frame.dtype} {frame.shape}; give uint8 (H, W, 3)"
        )
    if size is not None and frame.shape[:2] != size:
        raise SpecError(f"{path}: frame {index} is {frame.shape[:2]}, the first one was {size}")
    return frame.shape[0], frame.shape[1]


def _even(frame: Image) -> Image:
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)


def partial_path(path: Path) -> Path:
    """Where a file may grow: beside its place, under a name that nobody else has.

    It is short, because the wanted name may be as long as names can be, and absolute, because
    FFmpeg takes what stands before a colon for a protocol.
    """
    return path.absolute().with_name(f".{path.stem[:24]}.{uuid.uuid4().hex[:12]}.part")


def _removed(partial: Path) -> None:
    with contextlib.suppress(OSError):  # what cannot be removed cannot be made either
        partial.unlink(missing_ok=True)


def _make_durable(partial: Path) -> None:
    with partial.open("rb") as handle:
        os.fsync(handle.fileno())
