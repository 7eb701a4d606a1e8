"""Promises of the renderer: exact length, in time, repeatable, flat, and styles that count."""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from tiny_talking_head import FACE, DrawnFaces, tiny_card, tiny_head

from visage.errors import MediaError
from visage.inference.talking_head import TalkingHead
from visage.media.video import iter_frames, probe_video
from visage.rendering.painter import FramePainter
from visage.rendering.portrait import Portrait, read_portrait
from visage.rendering.renderer import BATCHES_AHEAD, CHUNKS_AHEAD, iter_points, render_clip
from visage.rendering.retiming import Retiming
from visage.rendering.sink import QUEUED_FRAMES, VideoSink
from visage.rendering.sound import Sound
from visage.rendering.speaking import SpeakingMotion
from visage.specs.render import RenderSpec

FAST = {"preset": "ultrafast", "crf": 30, "size": 64}


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> TalkingHead:
    return tiny_head(tmp_path_factory.mktemp("head"))


@pytest.fixture(scope="module")
def portrait(head) -> Portrait:
    picture = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    return read_portrait(picture, DrawnFaces(FACE), size=head.generator.spec.size)


def _sound(seconds: float, seed: int = 0) -> Sound:
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * 16_000))
    heard = noise.astype(np.float32)
    return Sound(heard=heard, track=np.repeat(heard, 3), peak=0.5)


def _points(head, portrait, sound, **changes) -> torch.Tensor:
    spec = RenderSpec.parse({**FAST, **changes})
    return torch.cat(list(iter_points(head, portrait, sound, head.style(None), spec)))


@pytest.mark.parametrize("fps", [24, 25, 29.97, 30, 60])
@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.345])
def test_the_video_is_as_long_as_its_sound_at_any_rate(head, portrait, fps, seconds):
    made = _points(head, portrait, _sound(seconds), fps=fps)
    assert made.shape == (round(seconds * fps), 68, 2)
    assert torch.isfinite(made).all()


@pytest.mark.parametrize("smoothing", [None, "one-euro", "none"])
@pytest.mark.parametrize("chunk_s", [0.05, 0.31, 60.0])
def test_the_size_of_a_chunk_changes_nothing_but_rounding(head, portrait, chunk_s, smoothing):
    sound = _sound(1.7)
    whole, pieces = (
        _points(head, portrait, sound, fps=25, chunk_s=chunk, smoothing=smoothing)
        for chunk in (10.0, chunk_s)
    )
    # products of other shapes are summed in another order: a few last bits of 32 pixels
    torch.testing.assert_close(pieces, whole, atol=1e-4, rtol=0)


def test_the_seed_decides_and_another_one_moves_the_head_otherwise(head, portrait):
    sound = _sound(1.0)
    one, again, other = (_points(head, portrait, sound, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_finished_file_has_the_sound_the_frames_and_what_it_says_of_itself(
    head, portrait, tmp_path: Path
):
    seen: list[tuple[int, int]] = []
    sound = _sound(1.5)
    clip = render_clip(
        head, portrait, sound, head.style(None), tmp_path / "out.mp4",
        RenderSpec.parse({**FAST, "fps": 25}), tags={"comment": json.dumps({"model": "m"})},
        progress=lambda at, total: seen.append((at, total)),
    )  # fmt: skip
    assert (clip.frames, clip.size) == (38, 64)
    assert seen[-1] == (38, 38)
    assert [at for at, _ in seen] == list(range(1, 39))
    info = probe_video(clip.path)
    assert (info.width, info.height, info.frames, info.has_audio) == (64, 64, 38, True)
    with av.open(str(clip.path)) as found:
        assert json.loads(found.metadata["comment"]) == {"model": "m"}
        audio, video = found.streams.audio[0], found.streams.video[0]
        assert float(audio.duration * audio.time_base) == pytest.approx(1.5, abs=0.03)
        assert video.average_rate == Fraction(25)
        assert (video.codec.canonical_name, audio.codec.canonical_name) == ("h264", "aac")
    assert set(clip.seconds) == {"motion", "maps", "network", "frames", "encoder", "all"}


def test_the_same_inputs_give_the_same_frames(head, portrait, tmp_path: Path):
    spec = RenderSpec.parse({**FAST, "fps": 24})
    films = []
    for name in ("one.mp4", "two.mp4"):
        render_clip(head, portrait, _sound(0.5), head.style(None), tmp_path / name, spec)
        films.append(np.stack(list(iter_frames(tmp_path / name))))
    np.testing.assert_array_equal(*films)


@pytest.mark.parametrize(
    "stage",
    ["SpeakingMotion.push", "FramePainter._inputs", "FramePainter._layers", "FramePainter._frames"],
)
def test_what_goes_wrong_in_any_stage_is_told_and_nothing_stays_behind(
    head, portrait, tmp_path: Path, stage, monkeypatch
):
    """Each stage runs in a thread of its own, before and behind others."""
    owner, method = stage.split(".")
    place = {"SpeakingMotion": SpeakingMotion, "FramePainter": FramePainter}[owner]
    real, calls = getattr(place, method), []

    def fails(self, *given):
        calls.append(1)
        if len(calls) == 3:
            raise MediaError("corrupt", stage)
        return real(self, *given)

    monkeypatch.setattr(place, method, fails)
    before = threading.active_count()
    spec = RenderSpec.parse({**FAST, "batch": 2, "chunk_s": 0.2})
    with pytest.raises(MediaError, match=stage):
        render_clip(head, portrait, _sound(2.0), head.style(None), tmp_path / "a.mp4", spec)
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before


class Held:
    """How many of the things that a stage makes are alive at once."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._now = self.made = self.most = 0

    def watch(self, thing: object) -> None:
        with self._lock:
            self.made, self._now = self.made + 1, self._now + 1
            self.most = max(self.most, self._now)
        weakref.finalize(thing, self._gone)

    def _gone(self) -> None:
        with self._lock:
            self._now -= 1


@pytest.fixture
def held(monkeypatch) -> dict[str, Held]:
    """What each stage makes, watched."""
    found = {name: Held() for name in ("motion", "points", "inputs", "layers", "frames")}

    def watched(name: str, owner: type, method: str, part: Callable[[Any], object]) -> None:
        real = getattr(owner, method)

        def makes(self, *given):
            made = real(self, *given)
            found[name].watch(part(made))
            return made

        monkeypatch.setattr(owner, method, makes)

    watched("motion", SpeakingMotion, "push", lambda one: one.landmarks)
    watched("points", Retiming, "push", lambda one: one)
    watched("inputs", FramePainter, "_inputs", lambda one: one.stacked)
    watched("layers", FramePainter, "_layers", lambda one: one.made)
    put = VideoSink.put

    def puts(self, frame):
        found["frames"].watch(frame)
        put(self, frame)

    monkeypatch.setattr(VideoSink, "put", puts)
    return found


@pytest.mark.parametrize("seconds", [5, 30])
def test_what_is_held_of_a_video_does_not_grow_with_its_sound(
    head, portrait, tmp_path: Path, held, seconds
):
    spec = RenderSpec.parse({**FAST, "fps": 24, "batch": 4, "chunk_s": 0.2})
    render_clip(head, portrait, _sound(seconds), head.style(None), tmp_path / "a.mp4", spec)
    assert held["frames"].made == 24 * seconds
    assert all(one.made >= 5 * seconds for one in held.values())
    # a queue, one before it, and behind it the last one and the next
    queues = {
        "motion": 0, "points": CHUNKS_AHEAD, "inputs": BATCHES_AHEAD, "layers": BATCHES_AHEAD,
        "frames": QUEUED_FRAMES,
    }  # fmt: skip
    assert {name: one.most for name, one in held.items() if one.most > queues[name] + 3} == {}


def test_another_style_shows_other_pictures(head, portrait, tmp_path: Path):
    spec = RenderSpec.parse({**FAST, "fps": 24})
    films = []
    for name in ("plain", "loud"):
        path = tmp_path / f"{name}.mp4"
        render_clip(head, portrait, _sound(0.4), head.style(name), path, spec)
        films.append(np.stack(list(iter_frames(path))).astype(float))
    assert np.abs(films[0] - films[1]).mean() > 0.1


def test_a_soft_recording_moves_the_lips_as_a_loud_one_does(head, portrait):
    loud = _sound(1.0)
    soft = Sound(heard=loud.heard * 0.02, track=loud.track * 0.02, peak=loud.peak * 0.02)
    assert soft.gain == pytest.approx(0.9 / 0.01)
    silent = Sound(heard=loud.heard * 0, track=loud.track * 0, peak=0.0)
    assert silent.is_silent
    assert silent.gain == 1.0
    assert torch.isfinite(_points(head, portrait, silent)).all()


def test_a_head_without_an_encoder_hears_mel_frames(portrait, tmp_path: Path):
    deaf = tiny_head(tmp_path, with_encoder=False)
    assert deaf.audio_encoder is None
    assert _points(deaf, portrait, _sound(0.5), fps=24).shape == (12, 68, 2)


def test_a_style_that_is_not_there_names_those_that_are(head):
    from visage.errors import SpecError

    with pytest.raises(SpecError, match="plain, loud"):
        head.style("opera")
    assert head.style(None).name == tiny_card().name
