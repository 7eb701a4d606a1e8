"""The talking half of the demo, small: from drawn clips to a video that an endpoint also gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from visage.inference.style_card import load_style_card
from visage.media.video import probe_video
from visage.synth.spec import VoxCeleb2Spec
from visage.synth.voxceleb2 import write_voxceleb2
from visage.tracking.registry import Registry
from visage_jobs.cli.console import bar
from visage_jobs.demo import DemoJob, DemoResult, run_demo
from visage_jobs.workspace import Workspace

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("default"),  # Ray and its parts warn in their own name
]
METRICS = {"sld", "slv", "smd"}


def _job(folder: Path) -> DemoJob:
    return DemoJob(
        workspace=Workspace.open(str(folder / "ws")), halves=("talking-head",),
        clips=folder / "clips", effort=0.001, workers=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def shown(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoResult, Path]:
    folder = tmp_path_factory.mktemp("talking")
    drawn = VoxCeleb2Spec(identities=4, test_identities=1, clips=2, seconds=4.0)
    write_voxceleb2(folder / "clips", drawn)
    return run_demo(_job(folder), bars=lambda: bar(quiet=True)), folder


def test_the_demo_ends_with_a_playable_video_inside_its_report(
    shown: tuple[DemoResult, Path],
) -> None:
    result, folder = shown
    done = result.talking
    assert done is not None
    clip = probe_video(done.video.clip.path)
    assert (clip.frames, float(clip.fps)) == (100, 25.0)
    page = Path(result.report).read_text()
    assert "<video" in page
    assert "data:video/mp4;base64," in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    version = Registry(Workspace.open(str(folder / "ws")).tracking_uri()).resolve(
        "talking-head@champion"
    )
    assert version.version == done.assembled.version.version


def test_a_style_of_a_clip_says_how_near_it_came(shown: tuple[DemoResult, Path]) -> None:
    done = shown[0].talking
    assert done is not None
    assert set(done.transferred.scores) == METRICS
    for one in done.transferred.scores.values():
        assert min(one.before, one.after, one.scaled) > 0
    card = load_style_card(done.transferred.uri)
    assert len(card.pictures) == 5
    assert card.motion is not None
    assert set(card.metadata["scores"]) == METRICS


def test_the_scores_stand_beside_a_frozen_face_and_the_mean_motion(
    shown: tuple[DemoResult, Path],
) -> None:
    done = shown[0].talking
    assert done is not None
    assert {"generated", "frozen", "mean", "truth"} <= set(done.scores.subjects)
    assert all(done.scores.subjects[one]["lmd"].mean > 0 for one in ("generated", "frozen", "mean"))
    assert done.scores.clips == 2


def test_the_endpoint_gave_a_video_of_the_same_sound(shown: tuple[DemoResult, Path]) -> None:
    (answer,) = shown[0].answers
    assert answer.status == 200
    assert '"frames": 100' in answer.body


def test_a_second_demo_trains_nothing_and_says_the_same(shown: tuple[DemoResult, Path]) -> None:
    first, folder = shown
    again = run_demo(_job(folder), bars=lambda: bar(quiet=True)).talking
    assert first.talking is not None
    assert again is not None
    assert all(one.reused for one in again.trained.values())
    assert again.assembled.version.version == first.talking.assembled.version.version
    assert again.transferred.uri == first.talking.transferred.uri
    assert again.transferred.scores == first.talking.transferred.scores
