"""Promises of the renderer: exact length, in time, repeatable, flat, and styles that count."""

from __future__ import annotations

import json
import threading
from fractions import Fraction
from pathlib import Path

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
from visage.rendering.renderer import iter_points, render_clip
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
def test_the_size_of_a_chunk_changes_nothing(head, portrait, chunk_s, smoothing):
    sound = _sound(1.7)
    whole, pieces = (
        _points(head, portrait, sound, fps=25, chunk_s=chunk, smoothing=smoothing)
        for chunk in (10.0, chunk_s)
    )
    torch.testing.assert_close(pieces, whole, atol=1e-3, rtol=0)


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
