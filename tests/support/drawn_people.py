"""Drawn people who talk, and films of them as cameras, phones and editors leave them.

Drawing takes longest, so every person is drawn once in a process, and talks to and fro.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from visage.synth.spec import VoxCeleb2Spec
from visage.synth.takes import shoot, takes_of

__all__ = ["SIZE", "beside", "talking", "talking_points", "write_film"]

SIZE = 160
FPS = 25
_DRAWN = 13
_TICK = Fraction(1, 1000)
_SOUND_HZ = 16_000


@functools.cache
def _drawn(person: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    spec = VoxCeleb2Spec(
        identities=person, test_identities=0, clips=1, seconds=0.6, styles=("rap",), size=SIZE
    )
    take = next(take for take in takes_of(spec) if take.person == person)
    shot = shoot(spec, take)
    frames = [frame for frame, _ in zip(shot.frames(), range(_DRAWN), strict=False)]
    return np.stack(frames), shot.truth.points[:_DRAWN]


def _to_and_fro(count: int) -> NDArray[np.int64]:
    period = 2 * (_DRAWN - 1)
    at = np.arange(count) % period
    return np.minimum(at, period - at)


def talking(person: int, count: int) -> list[NDArray[np.uint8]]:
    """Frames of one person, (SIZE, SIZE, 3)."""
    return list(_drawn(person)[0][_to_and_fro(count)])


def talking_points(person: int, count: int) -> NDArray[np.float32]:
    """Their true points, (count, 68, 2)."""
    return _drawn(person)[1][_to_and_fro(count)]


def beside(
    one: Sequence[NDArray[np.uint8]], two: Sequence[NDArray[np.uint8]], *, share: float = 1.0
) -> list[NDArray[np.uint8]]:
    """Two people in a picture twice as wide, the second smaller by a share."""
    side = round(SIZE * share)
    made = []
    for left, right in zip(one, two, strict=True):
        picture = np.full((SIZE, 2 * SIZE, 3), 90, np.uint8)
        picture[:, :SIZE] = left
        small = cv2.resize(right, (side, side), interpolation=cv2.INTER_AREA)
        picture[SIZE - side :, SIZE : SIZE + side] = small
        made.append(picture)
    return made


def write_film(
    path: Path,
    frames: Sequence[NDArray[np.uint8]],
    *,
    times_ms: Sequence[int] | None = None,
    rotation_deg: int = 0,
    sound: NDArray[np.float32] | None = None,
    sound_start_ms: int = 0,
) -> Path:
    """H.264 in Matroska (MP4 where a turn is to be stated), each frame shown at its time.

    Args:
        rotation_deg: How far, counter-clockwise, a player must turn the stored pictures: those are
            turned the other way.
        sound: Mono at 16 kHz, kept as PCM; a player starts it at `sound_start_ms`.
    """
    shown = [round(index * 1000 / FPS) for index in range(len(frames))]
    if times_ms is not None:
        shown = list(times_ms)
    stored = [np.ascontiguousarray(np.rot90(one, -rotation_deg // 90)) for one in frames]
    with av.open(str(path), "w", format="mov" if rotation_deg else "matroska") as out:
        stream = out.add_stream("libx264", rate=FPS, options={"crf": "12", "preset": "ultrafast"})
        stream.height, stream.width = stored[0].shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", _TICK
        if rotation_deg:
            stream.set_display_rotation(rotation_deg)
        packets = []
        for picture, at in zip(stored, shown, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = at, _TICK
            packets += stream.encode(frame)
        packets += stream.encode(None)
        if sound is not None:
            packets += _sound_packets(out, sound, sound_start_ms)
        for packet in sorted(packets, key=lambda one: float(one.dts * one.time_base)):
            out.mux(packet)
    return path


def _sound_packets(
    out: av.container.OutputContainer, sound: NDArray[np.float32], start_ms: int
) -> list[av.Packet]:
    stream = out.add_stream("pcm_s16le", rate=_SOUND_HZ)
    stream.layout = "mono"
    packets = []
    whole = np.round(sound * 32767).astype(np.int16)
    first = start_ms * _SOUND_HZ // 1000
    for start in range(0, len(whole), 1024):
        part = whole[None, start : start + 1024]
        frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = (
            _SOUND_HZ, first + start, Fraction(1, _SOUND_HZ)
        )  # fmt: skip
        packets += stream.encode(frame)
    return packets + list(stream.encode(None))
