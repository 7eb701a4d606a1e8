"""Promises of the sink: a whole file or none, whoever fails, and no endless wait."""

from __future__ import annotations

import os
import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from visage.errors import MediaError, SpecError
from visage.media.video import probe_video
from visage.rendering.sink import QUEUED_FRAMES, VideoSink

SOUND = np.zeros(48_000, np.float32)


def _sink(path: Path, sound: np.ndarray = SOUND) -> VideoSink:
    return VideoSink(
        path, fps=25, audio=sound, audio_rate=48_000, crf=30, preset="ultrafast",
        tags={"comment": "made here"},
    )  # fmt: skip


def _frame(level: int = 0, side: int = 32) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


def test_what_is_put_is_written_in_order_with_its_sound_and_tags(tmp_path: Path):
    import av

    path = tmp_path / "out.mp4"
    with _sink(path) as sink:
        for at in range(60):
            sink.put(_frame(4 * at))
    assert sink.frames == 60
    assert probe_video(path).has_audio
    with av.open(str(path)) as found:
        assert found.metadata["comment"] == "made here"
        levels = [frame.to_ndarray(format="gray").mean() for frame in found.decode(video=0)]
    assert len(levels) == 60
    assert all(after > before for before, after in pairwise(levels))


def test_a_maker_that_fails_leaves_no_file_and_its_error_is_told(tmp_path: Path):
    def make() -> None:
        with _sink(tmp_path / "out.mp4") as sink:
            sink.put(_frame())
            raise ZeroDivisionError("the network")

    with pytest.raises(ZeroDivisionError, match="the network"):
        make()
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_fails_tells_the_maker_and_leaves_no_file(tmp_path: Path):
    def make() -> None:
        with _sink(tmp_path / "out.mp4") as sink:
            sink.put(_frame())
            for _ in range(200):  # the second size ends the encoder, soon after
                sink.put(_frame(side=64))

    with pytest.raises(SpecError, match="the first one was"):
        make()
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_fails_on_the_last_frames_is_heard_too(tmp_path: Path):
    def make() -> None:
        with _sink(tmp_path / "out.mp4") as sink:
            sink.put(_frame())
            sink.put(_frame(side=64))

    with pytest.raises(SpecError, match="the first one was"):
        make()
    assert list(tmp_path.iterdir()) == []


def test_who_is_interrupted_while_the_last_frames_are_written_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sink = _sink(tmp_path / "out.mp4")
    join, asked = sink._thread.join, []

    def interrupted(timeout: float | None = None) -> None:
        asked.append(timeout)
        if len(asked) == 1:
            raise KeyboardInterrupt
        join(timeout)

    monkeypatch.setattr(sink._thread, "join", interrupted)
    frames = sink._frames

    def slow():
        for frame in frames():
            while not asked:
                time.sleep(0.005)
            yield frame

    monkeypatch.setattr(sink, "_frames", slow)
    with pytest.raises(KeyboardInterrupt), sink:
        sink.put(_frame())
    assert not sink._thread.is_alive()
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_is_stuck_does_not_hide_why_the_maker_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("visage.rendering.sink.STUCK_AFTER_S", 0.2)
    sink, free = _sink(tmp_path / "out.mp4"), threading.Event()
    monkeypatch.setattr(sink, "_frames", lambda: iter([free.wait() and _frame()]))
    with pytest.raises(ZeroDivisionError), sink:  # noqa: PT012 - the queue is full when it fails
        for _ in range(QUEUED_FRAMES):
            sink.put(_frame())
        raise ZeroDivisionError
    free.set()
    sink._thread.join()


def test_an_encoder_that_is_slow_after_the_last_frame_is_waited_for_while_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("visage.rendering.sink.LOOK_EVERY_S", 0.05)
    monkeypatch.setattr("visage.rendering.sink.STUCK_AFTER_S", 1.0)
    start = time.monotonic()

    def slow(descriptor: int) -> None:
        while time.monotonic() < start + 3.0:
            os.utime(descriptor)  # as each write does
            time.sleep(0.02)

    monkeypatch.setattr("visage.media.video_writer.os.fsync", slow)
    with _sink(tmp_path / "out.mp4") as sink:
        sink.put(_frame())
    assert time.monotonic() > start + 3.0
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_an_encoder_that_stands_still_after_the_last_frame_leaves_no_file_however_late_it_wakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("visage.rendering.sink.STUCK_AFTER_S", 1.6)
    free = threading.Event()
    monkeypatch.setattr("visage.media.video_writer.os.fsync", lambda _: free.wait(60))
    sink = _sink(tmp_path / "out.mp4")
    with pytest.raises(MediaError, match="written nothing for") as caught, sink:
        sink.put(_frame())
    assert caught.value.code == "timeout"
    assert list(tmp_path.iterdir()) == []  # the process may end now
    free.set()
    sink._thread.join()
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_never_answers_does_not_hold_up_who_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As on a network mount whose server is gone: neither looking nor removing comes back."""
    monkeypatch.setattr("visage.rendering.sink.STUCK_AFTER_S", 1.6)
    monkeypatch.setattr("visage.rendering.sink.REMOVED_WITHIN_S", 0.1)
    free = threading.Event()
    monkeypatch.setattr("visage.media.video_writer.os.fsync", lambda _: free.wait(60))
    sink = _sink(tmp_path / "out.mp4")

    class Gone:
        def stat(self) -> None:
            free.wait(60)
            raise OSError

        def unlink(self, **_: bool) -> None:
            free.wait(60)

    monkeypatch.setattr(sink, "_partial", Gone())
    with pytest.raises(MediaError, match="written nothing for"), sink:
        sink.put(_frame())
    free.set()
    sink._thread.join()
    assert not (tmp_path / "out.mp4").exists()
