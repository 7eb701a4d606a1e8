"""Frames through the sandbox run by run: the same frames and times, nothing decoded twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import visage.media.sandbox.frame_runs as runs_module
import visage.media.sandbox.pool as pool_module
from visage.errors import MediaError
from visage.media.container import OpenFile
from visage.media.image import encode_png
from visage.media.limits import VideoLimits
from visage.media.sandbox import MediaSandbox
from visage.media.sandbox.frame_runs import HeldClip
from visage.media.video import TimedFrame, iter_timed_frames

Film = Callable[..., Path]

UNEVEN_MS = [i * 40 + (i * i) % 23 for i in range(40)]
FILMS: dict[str, dict[str, Any]] = {
    "even": {},
    "uneven": {"times_ms": UNEVEN_MS},
    "late": {"times_ms": [5000 + one for one in UNEVEN_MS]},
    "turned": {"rotation_deg": 90},
    "avi": {"muxer": "avi", "codec": "mpeg4"},
    "hidden-frames": {
        "muxer": "webm",
        "codec": "libvpx",
        "options": {"auto-alt-ref": "1", "lag-in-frames": "10"},
    },
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[MediaSandbox]:
    with MediaSandbox() as made:
        yield made


@pytest.fixture
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MOST_FRAMES", 7)


def _same(found: list[TimedFrame], wanted: list[TimedFrame]) -> bool:
    return len(found) == len(wanted) and all(
        a.time_s == b.time_s and np.array_equal(a.image, b.image)
        for a, b in zip(found, wanted, strict=True)
    )


@pytest.mark.usefixtures("short_runs")
@pytest.mark.parametrize("kind", FILMS)
def test_runs_joined_are_the_clip_with_its_times(
    kind: str, sandbox: MediaSandbox, film: Film
) -> None:
    path = film("film.bin", **FILMS[kind])
    wanted = list(iter_timed_frames(path))
    assert len(wanted) == 40
    assert _same(list(sandbox.iter_timed_frames(path, sandbox.probe_video(path))), wanted)


@pytest.mark.parametrize(("kind", "late_s"), [("uneven", 0.0), ("late", 5.0)])
def test_times_are_those_that_were_written(kind: str, late_s: float, film: Film) -> None:
    times = [frame.time_s for frame in iter_timed_frames(film("film.bin", **FILMS[kind]))]
    np.testing.assert_allclose(times, late_s + np.array(UNEVEN_MS) / 1000, atol=1e-3)


def test_a_part_has_the_times_of_the_whole(film: Film) -> None:
    path = film("film.bin", **FILMS["uneven"])
    whole = list(iter_timed_frames(path))
    assert _same(list(iter_timed_frames(path, start=17, stop=31)), whole[17:31])


@pytest.mark.usefixtures("short_runs")
def test_clips_read_in_turns_and_pictures_between_do_not_mix(
    sandbox: MediaSandbox, film: Film
) -> None:
    one, two = film("one.mp4"), film("two.mp4", **FILMS["uneven"], size=(48, 64))
    first = sandbox.iter_timed_frames(one, sandbox.probe_video(one))
    second = sandbox.iter_timed_frames(two, sandbox.probe_video(two))
    found: tuple[list[TimedFrame], list[TimedFrame]] = ([], [])
    picture = encode_png(np.full((4, 4, 3), 9, np.uint8))
    for index, (a, b) in enumerate(zip(first, second, strict=True)):
        found[0].append(a)
        found[1].append(b)
        if index % 9 == 0:
            assert (sandbox.decode_image(picture) == 9).all()
    assert _same(found[0], list(iter_timed_frames(one)))
    assert _same(found[1], list(iter_timed_frames(two)))


@pytest.mark.usefixtures("short_runs")
def test_a_child_that_ends_between_two_runs_is_not_missed(film: Film) -> None:
    path = film()
    with MediaSandbox() as mortal:
        found = []
        for index, frame in enumerate(mortal.iter_timed_frames(path, mortal.probe_video(path))):
            found.append(frame)
            if index == 9:
                (child,) = mortal._idle.children
                os.kill(child.pid, signal.SIGKILL)
    assert _same(found, list(iter_timed_frames(path)))


def test_a_size_that_is_not_what_was_probed_is_refused(sandbox: MediaSandbox, film: Film) -> None:
    small, large = film("small.mp4"), film("large.mp4", size=(640, 480))
    for path, other in ((large, small), (small, large)):
        with pytest.raises(MediaError) as found:
            list(sandbox.iter_timed_frames(path, sandbox.probe_video(other)))
        assert found.value.code == "unsupported_format"


def test_runs_that_follow_each_other_open_the_clip_once(
    film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def counted(file: OpenFile, **options: Any) -> Generator[TimedFrame, None, None]:
        opened.append(options["start"])
        return iter_timed_frames(file, **options)

    monkeypatch.setattr(runs_module, "iter_timed_frames", counted)
    path, held = film(), HeldClip()

    def read(reading: str, start: int) -> int:
        file = path.open("rb")
        clip, size = OpenFile("f", file), (48, 64)
        run = held.read(reading, clip, VideoLimits(), start=start, stop=start + 16, size=size)
        if not held.keeps(file):
            file.close()
        return len(run.frames)

    assert [read("a", start) for start in (0, 16, 32)] == [16, 16, 8]
    assert opened == [0]
    assert read("b", 0) == 16
    assert read("b", 32) == 8, "what was left out is skipped, not taken for the next"
    assert opened == [0, 0, 32]
    assert read("b", 0) == 16
    held.let_go()
