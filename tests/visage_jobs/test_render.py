"""Promises of `visage render`: the same command goes on, and what is told adds up."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from render_tables import FAST, write_sound
from tiny_talking_head import publish_tiny_head
from typer.testing import CliRunner

from visage.data.corpus_files import open_files
from visage.errors import DataError, NotFoundError
from visage.faces import open_provider
from visage.faces.provider import FaceProvider
from visage.inference.style_card import save_style_card
from visage.inference.talking_head import load_talking_head
from visage.media.image import encode_png
from visage.media.sandbox import MediaSandbox
from visage.media.video_writer import write_video
from visage.rendering.batch_plan import BatchPlan
from visage.rendering.clip_store import ClipStore
from visage.rendering.keys import RenderSetting
from visage.rendering.outcome import Outcome, Rejected, Rendered
from visage.rendering.row_worker import RowWorker
from visage.store.open import open_store
from visage.synth.ravdess import take_frames, takes_of
from visage.synth.spec import RavdessSpec
from visage_jobs import render
from visage_jobs.cli import app
from visage_jobs.render import RenderJob, plan_render, run_render
from visage_jobs.workspace import Workspace

DRAWN = RavdessSpec(actors=1, height=256, width=256, duration_s=0.6)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a model, a portrait that a detector sees, sounds and two drawn takes."""
    folder = tmp_path_factory.mktemp("render")
    publish_tiny_head(folder / "model")
    media = folder / "media"
    for number, take in enumerate(takes_of(DRAWN)[:2]):
        frames = list(islice(take_frames(DRAWN, take), 12))
        clip = media / "Actor_01" / f"01-01-0{2 * number + 1}-01-01-01-01.mp4"
        clip.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, 8_000).astype(np.float32)
        write_video(clip, frames, fps=25, audio=noise, preset="ultrafast")
        (media / f"person{number}.png").write_bytes(encode_png(frames[0], compression=1))
        write_sound(media / f"say{number}.wav", seed=number)
    return folder


@pytest.fixture(scope="module")
def provider() -> FaceProvider:
    return open_provider("dlib68")


@pytest.fixture
def job(
    ground: Path, tmp_path: Path, provider: FaceProvider, monkeypatch: pytest.MonkeyPatch
) -> RenderJob:
    """Its weights are loaded once for all tests of this process."""
    monkeypatch.setattr("visage_jobs.render.open_provider", lambda name: provider)
    (ground / "media" / "rows.csv").write_text(
        "portrait,audio,style,key\n"
        "person0.png,say0.wav,,one\n"
        "person1.png,say1.wav,loud,two\n"
        "person0.png,say0.wav,plain,again\n"
        "person0.png,nowhere.wav,,lost\n"
        "say0.wav,say1.wav,,deaf\n"
    )
    return RenderJob(
        workspace=Workspace(str(tmp_path / "ws")),
        rows=str(ground / "media" / "rows.csv"),
        out=str(tmp_path / "out"),
        model=str(ground / "model" / "head"),
        spec=FAST,
        faces="dlib68",
    )


def _here(job: RenderJob, setting: RenderSetting, plan: BatchPlan) -> Iterator[Outcome]:
    """The tasks in this process, in place of Ray."""
    with MediaSandbox() as sandbox:
        work = RowWorker(
            setting,
            head=load_talking_head(setting.model_uri),
            provider=render.open_provider(job.faces),
            sandbox=sandbox,
            files=open_files(plan.table.files.uri),
            clips=ClipStore(open_store(job.out)),
        )
        yield from map(work, plan.tasks)


def test_rows_in_are_outcomes_out_and_the_same_job_again_does_nothing(job: RenderJob) -> None:
    seen: list[tuple[int, int]] = []
    done = run_render(job, progress=lambda at, total: seen.append((at, total)), work=_here)
    assert [one.status for one in done.rows] == [
        "rendered", "rendered", "rendered", "rejected", "rejected",
    ]  # fmt: skip
    assert (done.videos, done.frames) == (2, 20)
    assert seen == [(1, 5), (3, 5), (4, 5), (5, 5)]
    lines = pq.read_table(io.BytesIO(Path(done.outcomes_uri).read_bytes())).to_pylist()
    assert [line["row"] for line in lines] == ["one", "two", "again", "lost", "deaf"]
    assert [line["code"] for line in lines[3:]] == ["not_found", "unsupported_format"]
    again = run_render(job, work=lambda *_: pytest.fail("there was nothing to do"))
    assert [one.status for one in again.rows][:3] == ["reused"] * 3
    assert again.videos == 0


def test_a_job_that_ends_early_goes_on_with_what_is_missing(job: RenderJob) -> None:
    def half(*asked: object) -> Iterator[Outcome]:
        for outcome in _here(*asked):  # type: ignore[arg-type]
            yield outcome
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_render(job, work=half)
    plan, _ = plan_render(job)
    assert len(plan.tasks) == 2
    done = run_render(job, work=_here)
    assert [one.status for one in done.rows] == [
        "reused", "rendered", "reused", "rejected", "rejected",
    ]  # fmt: skip


def test_a_task_without_an_outcome_ends_the_job_with_a_sentence(job: RenderJob) -> None:
    with pytest.raises(DataError, match="have no outcome"):
        run_render(job, work=lambda *asked: islice(_here(*asked), 1))


def test_a_row_that_kills_its_renderers_is_one_rejection_and_tried_by_the_next_job(
    job: RenderJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pool(tasks, kind, settings, *, name, deadly, **_):  # type: ignore[no-untyped-def]
        return (deadly(task, f"{name(task)} ended its worker") for task in tasks)

    monkeypatch.setattr(render, "over_actors", pool)
    first = run_render(job).rows[0].outcome
    assert isinstance(first, Rejected)
    assert (first.code, first.detail) == ("crashed", "person0.png with say0.wav ended its worker")
    plan, _ = plan_render(job)
    assert len(plan.tasks) == 3


def test_a_style_of_the_workspace_is_found_where_it_lies(job: RenderJob, ground: Path) -> None:
    from tiny_talking_head import tiny_card

    card = tiny_card("mine", seed=9)
    save_style_card(open_store(job.workspace.root), "styles/mine", card)
    (ground / "media" / "mine.csv").write_text("portrait,audio,style\nperson0.png,say0.wav,mine\n")
    done = run_render(replace(job, rows=str(ground / "media" / "mine.csv")), work=_here)
    assert done.rows[0].status == "rendered"


def test_a_ravdess_folder_is_rendered_with_its_own_faces_and_sounds(
    job: RenderJob, ground: Path
) -> None:
    done = run_render(replace(job, rows=str(ground / "media" / "Actor_01")), work=_here)
    assert [one.status for one in done.rows] == ["rendered", "rendered"]
    assert {one.row.portrait for one in done.rows} == {"01-01-01-01-01-01-01.mp4"}


def test_a_table_and_its_videos_may_lie_in_a_bucket(
    job: RenderJob, ground: Path, s3_uri: str
) -> None:
    bucket = open_store(s3_uri)
    for path in (ground / "media").iterdir():
        if path.is_file():
            bucket.upload(f"in/{path.name}", path)
    there = replace(job, rows=f"{s3_uri}/in/rows.csv", out=f"{s3_uri}/out")
    done = run_render(there, work=_here)
    statuses = [one.status for one in done.rows]
    assert statuses == ["rendered", "rendered", "rendered", "rejected", "rejected"]
    again = run_render(there, work=lambda *_: pytest.fail("there was nothing to do"))
    assert [one.status for one in again.rows][:3] == ["reused"] * 3
    found = done.rows[0].outcome
    assert isinstance(found, Rendered)
    assert bucket.at("out").get(found.video)[4:8] == b"ftyp"


def test_no_model_is_a_sentence_that_says_how_to_get_one(job: RenderJob, tmp_path: Path) -> None:
    lost = RenderJob(workspace=job.workspace, rows=job.rows, out=job.out)
    with pytest.raises(NotFoundError, match="visage demo"):
        plan_render(lost)


def _words(job: RenderJob, *more: str) -> list[str]:
    return [
        "render", job.rows, "--out", job.out, "--model", job.model, "--workspace",
        job.workspace.root, "--fps", "24", "--size", "64", "--set", "preset=ultrafast",
        "--set", "crf=35", "--faces", "dlib68", *more,
    ]  # fmt: skip


def test_a_dry_run_tells_and_writes_nothing(job: RenderJob) -> None:
    result = CliRunner().invoke(app, _words(job, "--dry-run", "--json"))
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told == {"rows": 5, "videos_to_render": 3, "rows_to_render": 4, "not_found": 1}
    assert not Path(job.out).exists()


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (["--actors", "many"], 2, "write MIN:MAX"),
        (["--actors", "4:2"], 2, "no more at least than at most"),
        (["--set", "fsp=30"], 2, "no such key"),
    ],
)
def test_a_mistake_is_a_sentence(more: list[str], code: int, told: str, job: RenderJob) -> None:
    result = CliRunner().invoke(app, _words(job, *more, "--dry-run"))
    assert result.exit_code == code
    assert told in result.output


@pytest.mark.ray
@pytest.mark.filterwarnings("default")  # Ray and its parts warn in their own name
@pytest.mark.usefixtures("ray_cluster")
def test_the_command_renders_on_a_real_ray_and_a_second_time_makes_nothing(job: RenderJob) -> None:
    for videos, status in ((2, "rendered"), (0, "reused")):
        result = CliRunner().invoke(app, _words(job, "--json", "--actors", "1:2"))
        assert result.exit_code == 0, result.output
        told = json.loads(result.stdout)
        assert (told["rows"], told["videos"], told["counts"].get(status)) == (5, videos, 3), told
        codes = {one["row"]: one["code"] for one in told["rejected"]}
        assert codes == {"lost": "not_found", "deaf": "unsupported_format"}
