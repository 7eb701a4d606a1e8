"""`visage animate` as a person meets it: one sentence where it cannot be, a video where it can."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import tempfile
import wave
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from drawn_people import talking, write_film
from made_scenes import scene
from PIL import Image as Pillow
from tiny_talking_head import FACE, DrawnFaces, publish_tiny_head
from typer.testing import CliRunner

from visage.media.image import encode_jpeg
from visage.media.limits import ImageLimits
from visage.media.video_writer import write_video
from visage.rendering.renderer import render_clip
from visage.synth.spec import VoxCeleb2Spec
from visage.synth.takes import shoot, takes_of
from visage.tracking.registry import Registry, committed_weights
from visage_jobs import animate
from visage_jobs.cli import app
from visage_jobs.workspace import Workspace


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a registered tiny model, a drawn portrait and a second of sound."""
    root = tmp_path_factory.mktemp("animate")
    uri = publish_tiny_head(root / "ws")
    registry = Registry(Workspace.open(str(root / "ws")).tracking_uri())
    version = registry.register("talking-head", uri=uri, digest=committed_weights(uri).digest())
    registry.set_alias("talking-head", "champion", version.version, expected=None)
    spec = VoxCeleb2Spec(identities=1, test_identities=0, clips=1, seconds=0.5, size=512)
    picture = next(shoot(spec, takes_of(spec)[0]).frames())
    (root / "portrait.jpg").write_bytes(encode_jpeg(picture, 92))
    (root / "scene.jpg").write_bytes(encode_jpeg(scene(3, height=300, width=400)))
    (root / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    _turned(picture).save(root / "turned.jpg", exif=_orientation(6))
    Pillow.fromarray(picture).resize((64, 64)).save(root / "tiny.png")
    (root / "huge.png").write_bytes(_stating(12_000, 12_000))
    write_video(root / "still.mp4", [picture] * 30, fps=25)
    _surround(root / "surround.wav")
    _sound(root / "speech.wav", 1.0)
    _sound(root / "short.wav", 0.1)
    _sound(root / "silent.wav", 1.0, level=0.0)
    return root


def _sound(path: Path, seconds: float, *, level: float = 0.4) -> None:
    noise = np.random.default_rng(0).uniform(-level, level, round(seconds * 16_000))
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
        out.writeframes(np.round(noise * 32767).astype("<i2").tobytes())


def _turned(picture: np.ndarray) -> Pillow.Image:
    return Pillow.fromarray(picture).transpose(Pillow.Transpose.ROTATE_90)


def _orientation(value: int) -> Pillow.Exif:
    exif = Pillow.Exif()
    exif[0x0112] = value
    return exif


def _stating(width: int, height: int) -> bytes:
    """A PNG whose header states a size; nothing of it must be decoded to be refused."""
    sink = io.BytesIO()
    Pillow.new("RGB", (8, 8)).save(sink, "PNG")
    body = bytearray(sink.getvalue())
    body[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    body[29:33] = zlib.crc32(body[12:29]).to_bytes(4, "big")
    return bytes(body)


def _surround(path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.4, 0.4, (8_000, 6))
    with wave.open(str(path), "wb") as out:
        out.setparams((6, 2, 8_000, 0, "NONE", ""))
        out.writeframes(np.round(noise * 32767).astype("<i2").tobytes())


def _animate(site: Path, out: Path, *words: str, **changes: str) -> tuple[int, str, str]:
    given = {"portrait": "portrait.jpg", "audio": "speech.wav", **changes}
    flags = [text for name, file in given.items() for text in (f"--{name}", str(site / file))]
    options = ["--out", str(out), "--workspace", str(site / "ws"), *words]
    result = CliRunner().invoke(app, ["animate", *flags, *options])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


def test_a_portrait_and_a_sound_become_a_video_that_says_what_it_is(site: Path, tmp_path: Path):
    out = tmp_path / "out.mp4"
    code, told, said = _animate(site, out, "--fps", "24", "--size", "64", "--json")
    assert code == 0, said
    result = json.loads(told)
    assert (result["frames"], result["style"], result["fps"]) == (24, "plain", 24)
    with av.open(str(out)) as found:
        facts = json.loads(found.metadata["comment"])
    assert facts["what"].startswith("synthetic")
    assert facts["style"] == "plain"
    assert len(facts["portrait_sha256"]) == len(facts["audio_sha256"]) == 64


def test_a_plan_says_what_would_be_made_or_why_not_and_writes_nothing(site: Path, tmp_path: Path):
    out, words = tmp_path / "out.mp4", ("--fps", "24", "--size", "64", "--dry-run", "--json")
    code, told, said = _animate(site, out, *words)
    assert code == 0, said
    plan = json.loads(told)
    assert plan.pop("model").startswith("talking-head/1")
    assert plan == {"style": "plain", "frames": 24, "size": 64, "duration_s": 1.0}
    code, told, said = _animate(site, out, *words, portrait="scene.jpg")
    assert (code, "no face was found" in said) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_silence_is_rendered_and_told(site: Path, tmp_path: Path):
    code, _, said = _animate(site, tmp_path / "out.mp4", "--size", "64", audio="silent.wav")
    assert code == 0
    assert "silent" in said


@pytest.mark.parametrize(
    ("words", "changes", "code", "sentence"),
    [
        ((), {"audio": "short.wav"}, 1, "0.10 s of sound; at least 0.3 s are needed"),
        ((), {"portrait": "scene.jpg"}, 1, "scene.jpg: no face was found"),
        ((), {"portrait": "torn.jpg"}, 1, "torn.jpg"),
        ((), {"portrait": "none.jpg"}, 2, "there is no such file"),
        ((), {"audio": "portrait.jpg"}, 1, "portrait.jpg"),
        ((), {"audio": "still.mp4"}, 1, "the file holds no sound"),
        ((), {"portrait": "tiny.png"}, 1, "at least 40 are needed: give a larger picture"),
        ((), {"portrait": "huge.png"}, 1, "12000x12000 pixels; at most 64000000"),
        ((), {"style-clip": "still.mp4"}, 1, "somebody who speaks or sings"),
        (("--device", "gpu"), {}, 2, "use cpu, cuda or cuda:N"),
        (("--style", "opera"), {}, 2, "this model has plain, loud"),
        (("--style", "../up"), {}, 2, "use letters"),
        (("--style", "plain", "--style-clip", "x.mp4"), {}, 2, "give one of them"),
        (("--model", "talking-head@nobody"), {}, 1, "visage demo"),
        (("--set", "crf=99"), {}, 2, "crf"),
        (("--fps", "12"), {}, 2, "24"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_leaves_nothing(
    words, changes, code, sentence, site: Path, tmp_path: Path
):
    found, _, said = _animate(site, tmp_path / "out.mp4", *words, **changes)
    assert (found, sentence in said) == (code, True), said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_what_cameras_and_studios_give_is_taken_and_an_older_video_replaced(
    site: Path, tmp_path: Path
):
    """A picture on its side, six channels at 8 kHz, a rate like 29.97, blanks in a name."""
    out = tmp_path / "my video.mp4"
    out.write_text("an older video")
    words = ("--fps", "29.97", "--size", "64", "--json")
    code, told, said = _animate(site, out, *words, portrait="turned.jpg", audio="surround.wav")
    assert code == 0, said
    assert (json.loads(told)["frames"], json.loads(told)["duration_s"]) == (30, 1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["my video.mp4"]


def test_a_large_picture_without_loss_is_taken_and_a_larger_file_refused_with_advice(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    noise = np.random.default_rng(0).integers(0, 255, (3600, 3600, 3), np.uint8)
    picture = tmp_path / "noise.png"
    Pillow.fromarray(noise).save(picture, compress_level=0)
    assert picture.stat().st_size > 35 * 2**20
    monkeypatch.setattr(animate, "open_provider", lambda _: DrawnFaces(FACE))
    out, words = tmp_path / "out.mp4", ("--fps", "24", "--size", "64")
    code, _, said = _animate(site, out, *words, portrait=str(picture))
    assert code == 0, said
    monkeypatch.setattr(animate, "PORTRAIT_LIMITS", ImageLimits(max_bytes=35 * 2**20))
    code, _, said = _animate(site, tmp_path / "no.mp4", *words, portrait=str(picture))
    assert code == 1
    assert "are not accepted; save it as a JPEG, or make it smaller" in said
    assert not (tmp_path / "no.mp4").exists()


def test_a_clip_of_a_speaker_is_a_style_and_the_video_says_which_clip(site: Path, tmp_path: Path):
    clip, out = tmp_path / "aria no 1.mp4", tmp_path / "out.mp4"
    write_film(clip, talking(1, 50))
    code, told, said = _animate(site, out, "--size", "64", "--json", **{"style-clip": str(clip)})
    assert code == 0, said
    assert json.loads(told)["style"] == "aria no 1"
    with av.open(str(out)) as found:
        facts = json.loads(found.metadata["comment"])
    assert facts["style_digest"] == hashlib.sha256(clip.read_bytes()).hexdigest()


@pytest.mark.parametrize("flag", ["portrait", "audio", "style-clip"])
def test_an_input_is_never_written_over(flag: str, site: Path, tmp_path: Path):
    given = tmp_path / "mine.mp4"
    given.write_bytes(b"the only copy")
    (tmp_path / "link.mp4").symlink_to(given)
    code, _, said = _animate(site, tmp_path / "link.mp4", **{flag: str(given)})
    assert (code, f"this is --{flag}, which would be lost" in said) == (2, True), said
    assert given.read_bytes() == b"the only copy"


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_stops_it_midway_finds_nothing_left(
    asked: signal.Signals, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def stopped(*given, **named):
        def progress(done: int, _: int) -> None:
            if done == 5:
                os.kill(os.getpid(), asked)

        return render_clip(*given, **{**named, "progress": progress})

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(animate, "render_clip", stopped)
    usual = signal.default_int_handler if asked == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(asked, usual)  # a shell starts what runs behind it deaf to SIGINT
    try:
        code, _, said = _animate(site, tmp_path / "out.mp4", "--size", "64")
        assert signal.getsignal(asked) is usual
    finally:
        signal.signal(asked, before)
    assert (code, "interrupted" in said) == (130, True), said
    assert list(tmp_path.iterdir()) == [scratch]
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("name", ["out.avi", "nowhere/out.mp4", "folder.mp4"])
def test_a_place_for_the_video_that_cannot_be_is_refused_first(name, site: Path, tmp_path: Path):
    (tmp_path / "folder.mp4").mkdir()
    code, _, said = _animate(site, tmp_path / name)
    assert code == 2
    assert "--out" in said


def test_without_a_model_it_says_how_to_get_one(site: Path, tmp_path: Path):
    result = CliRunner().invoke(
        app,
        ["animate", "--portrait", str(site / "portrait.jpg"), "--audio", str(site / "speech.wav"),
         "--out", str(tmp_path / "o.mp4"), "--workspace", str(tmp_path / "empty")],
    )  # fmt: skip
    assert result.exit_code == 1
    assert "visage demo" in " ".join(result.stderr.split())
    assert "visage assemble" in " ".join(result.stderr.split())
