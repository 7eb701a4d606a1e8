"""A batch of videos on a real Ray, by the command that a person would type, killed for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from render_tables import write_sound
from tiny_talking_head import publish_tiny_head

from visage.media.image import encode_png
from visage.media.video import probe_video
from visage.synth.ravdess import take_frames, takes_of
from visage.synth.spec import RavdessSpec

pytestmark = [pytest.mark.ray, pytest.mark.chaos, pytest.mark.timeout(900)]
ROWS = 6
LIMIT_S = 400.0


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, one drawn face and as many sounds as rows; the last row is bad."""
    folder = tmp_path_factory.mktemp("render")
    publish_tiny_head(folder / "model")
    drawn = RavdessSpec(actors=1, height=256, width=256, duration_s=0.6)
    face = next(iter(take_frames(drawn, takes_of(drawn)[0])))
    (folder / "face.png").write_bytes(encode_png(face))
    for number in range(ROWS):
        write_sound(folder / f"{number}.wav", seconds=1.0, seed=number)
    lines = [f"face.png,{number}.wav" for number in range(ROWS)]
    (folder / "rows.csv").write_text("\n".join(["portrait,audio", *lines, "0.wav,1.wav"]))
    return folder


def _started(ground: Path, out: Path, **environment: str) -> subprocess.Popen[str]:
    words = [
        "render", str(ground / "rows.csv"), "--out", str(out), "--model",
        str(ground / "model" / "head"), "--workspace", str(out.parent / "ws"), "--fps", "24",
        "--size", "64", "--set", "preset=ultrafast", "--faces", "dlib68", "--actors", "1:2",
        "--json",
    ]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-c", "from visage_jobs.cli import main; main()", *words],
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1", **environment},
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _published(out: Path) -> list[Path]:
    return sorted(one.parent for one in (out / "clips").glob("*/COMMIT"))


def _is_whole(out: Path, said: str, errors: str) -> dict[str, int]:
    """Every row is accounted for, every clip plays and nothing else lies beside it."""
    assert said, errors
    told = json.loads(said)
    assert told["rows"] == ROWS + 1
    assert [one["code"] for one in told["rejected"]] == ["unsupported_format"], told["rejected"]
    clips = _published(out)
    assert len(clips) == ROWS
    for clip in clips:
        names = [one.name for one in clip.iterdir() if not one.name.startswith(".tmp-")]
        assert len(names) == 3, names
        (video,) = clip.glob("video.*")
        assert probe_video(video).frames == 24
    counts: dict[str, int] = told["counts"]
    return counts


def test_a_command_killed_in_the_middle_goes_on_with_what_is_missing(
    ground: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with _started(ground, out) as first:
        deadline = time.monotonic() + LIMIT_S
        while not _published(out):
            assert time.monotonic() < deadline, "no clip was published"
            assert first.poll() is None, "the command ended without a clip"
            time.sleep(0.05)
        first.send_signal(signal.SIGKILL)
    stood = {clip.name: (clip / "COMMIT").read_bytes() for clip in _published(out)}
    with _started(ground, out) as second:
        counts = _is_whole(out, *second.communicate(timeout=LIMIT_S))
    assert counts["reused"] >= len(stood)
    assert counts["rendered"] + counts["reused"] == ROWS
    for name, marker in stood.items():
        assert (out / "clips" / name / "COMMIT").read_bytes() == marker


@pytest.mark.parametrize("fault", ["commit.before_marker", "commit.after_marker"])
def test_a_renderer_that_dies_costs_nothing(fault: str, ground: Path, tmp_path: Path) -> None:
    struck, out = tmp_path / "struck", tmp_path / "out"
    hit = {"VISAGE_FAULT_POINT": fault, "VISAGE_FAULT_ONCE": str(struck)}
    with _started(ground, out, **hit) as job:
        counts = _is_whole(out, *job.communicate(timeout=LIMIT_S))
    assert job.returncode == 0
    assert struck.exists(), "the fault never struck"
    assert counts["rendered"] + counts["reused"] == ROWS
