"""R9: frames straight to the encoder, against one PNG a frame on the disk and encoding afterwards.

Same frames, same encoder, same settings, and both films decode to the same pictures; what differs
is where a frame waits. The anchor is how talking heads are usually rendered (models.md A.2).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from tests.bench.figures import Figure, figure, paired
from tests.bench.turns import seconds, take_turns

from visage.media.image import Image
from visage.media.video import iter_frames
from visage.media.video_writer import write_video
from visage.rendering.sink import VideoSink
from visage.synth.spec import VoxCeleb2Spec
from visage.synth.takes import shoot, takes_of

__all__ = ["measure"]

FPS = 30
SOUND_HZ = 48_000
ENCODER = {"crf": 18, "preset": "veryfast"}


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """Films of 256 pixels in turns."""
    cv2.setNumThreads(1)
    frames = _frames(30 if quick else 300)
    sound = np.zeros(len(frames) * SOUND_HZ // FPS, np.float32)
    numbers = itertools.count()

    def piped() -> float:
        path = folder / f"piped-{next(numbers)}.mp4"
        return seconds(lambda: _piped(path, frames, sound))

    def filed() -> float:
        number = next(numbers)
        place = folder / f"frames-{number}"
        place.mkdir()
        return seconds(lambda: _filed(folder / f"filed-{number}.mp4", place, frames, sound))

    taken = take_turns({"piped": piped, "filed": filed}, 1 if quick else 5)
    one, other = (next(folder.glob(f"{name}-*.mp4")) for name in ("piped", "filed"))
    if not all(np.array_equal(a, b) for a, b in _both(one, other)):
        raise RuntimeError("the two films differ")
    rates = {name: [len(frames) / spent for spent in times] for name, times in taken.items()}
    how = f"{len(frames)} frames of 256 x 256, H.264 {ENCODER['preset']} crf {ENCODER['crf']}, AAC"
    return [
        figure("frames to the encoder", rates["piped"], "frames/s", how=how),
        figure("frames by way of PNG files", rates["filed"], "frames/s", how=how),
        paired("video sink: to the encoder by PNG files", taken["filed"], taken["piped"], how=how,
               goal=">= 6", ratio="R9"),
    ]  # fmt: skip


def _frames(count: int) -> list[Image]:
    """A drawn person who speaks: what a renderer hands over, and as even."""
    spec = VoxCeleb2Spec(
        identities=3, test_identities=0, clips=1, seconds=count / FPS, size=256, fps=FPS
    )
    return list(shoot(spec, takes_of(spec)[0]).frames())


def _piped(path: Path, frames: list[Image], sound: np.ndarray) -> None:
    with VideoSink(path, fps=FPS, audio=sound, audio_rate=SOUND_HZ, tags={}, **ENCODER) as sink:
        for frame in frames:
            sink.put(frame)


def _filed(path: Path, place: Path, frames: list[Image], sound: np.ndarray) -> None:
    for at, frame in enumerate(frames):
        cv2.imwrite(str(place / f"{at:06d}.png"), frame[..., ::-1])

    def read() -> Iterator[Image]:
        for file in sorted(place.iterdir()):
            yield np.ascontiguousarray(cv2.imread(str(file))[..., ::-1])

    write_video(path, read(), fps=FPS, audio=sound, audio_rate=SOUND_HZ, **ENCODER)


def _both(one: Path, other: Path) -> Iterator[tuple[Image, Image]]:
    yield from zip(iter_frames(one), iter_frames(other), strict=True)
