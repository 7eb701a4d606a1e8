"""Promises of a batch: content decides, one bad row costs itself, and nothing is done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import av
import pyarrow.parquet as pq
import pytest
from render_tables import FAST, RenderSite, write_picture, write_sound
from tiny_talking_head import FACE, DrawnFaces, publish_tiny_head

from visage.errors import CorruptError, DataError, SpecError, StoreUnavailableError
from visage.media.sandbox import MediaSandbox
from visage.media.video import probe_video
from visage.rendering import keys, row_worker
from visage.rendering.clip_store import ClipStore
from visage.rendering.outcome import (
    Rejected,
    Rendered,
    counts,
    from_record,
    outcomes_bytes,
    reconcile,
    to_record,
)
from visage.rendering.row_worker import RowWorker
from visage.specs.render import RenderSpec

ANN = {"portrait": "ann.png", "audio": "hello.wav"}
BOB = {"portrait": "bob.png", "audio": "bye.wav", "style": "loud"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return publish_tiny_head(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[MediaSandbox]:
    with MediaSandbox() as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, model: str, sandbox: MediaSandbox) -> RenderSite:
    return RenderSite(tmp_path / "site", model, sandbox)


def _keys(site: RenderSite, rows: list[dict[str, str]], spec: RenderSpec = FAST) -> list[str]:
    plan = site.plan(site.table(rows), spec)
    return [plan.keys[row.name] for row in plan.table.rows]


def test_a_row_becomes_a_published_video_with_what_it_was_made_of(site: RenderSite) -> None:
    plan, outcomes = site.render(site.table([ANN]))
    found = outcomes["row-000001"]
    assert isinstance(found, Rendered)
    assert (found.frames, found.fps, found.size, found.is_reused) == (10, 24.0, 64, False)
    video = site.out / found.video
    assert probe_video(video).frames == 10
    row = json.loads(next((site.out / "clips" / found.key).glob("row.*.json")).read_text())
    assert row["spec"]["fps"] == 24.0
    assert row["model"]["digest"] == site.head.digest
    with av.open(str(video)) as file:
        told = json.loads(file.metadata["comment"])
    assert told["audio_sha256"] == row["audio_sha256"] == plan.tasks[0].audio_sha256
    assert told["settings_digest"] == FAST.digest()


def test_a_second_run_decodes_and_writes_nothing(
    site: RenderSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = site.table([ANN, BOB, {"portrait": "ann.png", "audio": "missing.wav"}])
    site.render(table)
    before = {path: path.stat().st_mtime_ns for path in site.out.rglob("*")}
    monkeypatch.setattr(MediaSandbox, "_ask", lambda *a: pytest.fail("something was decoded"))
    plan, outcomes = site.render(table)
    assert plan.tasks == ()
    assert [type(one) for one in outcomes.values()].count(Rendered) == 2
    assert all(one.is_reused for one in outcomes.values() if isinstance(one, Rendered))
    assert {path: path.stat().st_mtime_ns for path in site.out.rglob("*")} == before


@pytest.mark.parametrize(
    "change", ["portrait", "audio", "style", "spec", "model", "faces", "device", "version"]
)
def test_a_key_changes_with_everything_that_the_video_depends_on(
    change: str, site: RenderSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    (before,) = _keys(site, [ANN])
    row, spec = dict(ANN), FAST
    match change:
        case "portrait":
            write_picture(site.folder / "ann.png", seed=77)
        case "audio":
            write_sound(site.folder / "hello.wav", seed=77)
        case "style":
            row["style"] = "loud"
        case "spec":
            spec = FAST.model_copy(update={"seed": 1})
        case "version":
            monkeypatch.setattr(keys, "VERSION", "99")
        case _:
            name = "model_digest" if change == "model" else change
            setting = replace(site.setting(), **{name: "other"})
            site.setting = lambda spec=FAST: setting  # type: ignore[method-assign]
    (after,) = _keys(site, [row], spec)
    assert after != before


def test_a_key_is_the_contents_not_the_names(site: RenderSite) -> None:
    (site.folder / "ann-again.png").write_bytes((site.folder / "ann.png").read_bytes())
    default = str(site.head.style(None).name)
    one, renamed, named = _keys(
        site,
        [ANN, {**ANN, "portrait": "ann-again.png"}, {**ANN, "style": default, "key": "mine"}],
    )
    assert one == renamed == named


def test_equal_rows_are_rendered_once_and_each_has_its_outcome(site: RenderSite) -> None:
    plan, outcomes = site.render(site.table([ANN, BOB, ANN]))
    assert (len(plan.tasks), plan.rows_to_render, len(outcomes)) == (2, 3, 3)
    assert outcomes["row-000001"] == outcomes["row-000003"]
    assert len(list((site.out / "clips").iterdir())) == 2


def test_another_model_or_spec_renders_anew_and_keeps_the_old(site: RenderSite) -> None:
    table = site.table([ANN])
    site.render(table)
    plan, _ = site.render(table, FAST.model_copy(update={"seed": 5}))
    assert len(plan.tasks) == 1
    assert len(list((site.out / "clips").iterdir())) == 2


def test_every_kind_of_bad_row_costs_itself_and_says_why(site: RenderSite) -> None:
    (site.folder / "text.png").write_text("no picture")
    (site.folder / "mute.wav").write_bytes(b"RIFF")
    write_sound(site.folder / "blip.wav", seconds=0.05)
    os.mkfifo(site.folder / "pipe.wav")
    (site.folder / "loop.wav").symlink_to("loop.wav")
    rows = {
        "good": ANN,
        "text": {**ANN, "portrait": "text.png"},
        "mute": {**ANN, "audio": "mute.wav"},
        "blip": {**ANN, "audio": "blip.wav"},
        "gone": {**ANN, "audio": "gone.wav"},
        "pipe": {**ANN, "audio": "pipe.wav"},
        "out": {**ANN, "audio": "../../etc/passwd"},
        "loop": {**ANN, "audio": "loop.wav"},
        "nul": {**ANN, "portrait": "ann\0.png"},
        "long": {**ANN, "portrait": "x" * 300},
        "none": {"audio": "hello.wav", "portrait": None},
        "opera": {**ANN, "style": "opera"},
        "last": BOB,
    }
    table = site.table([{**row, "key": name} for name, row in rows.items()])
    _, outcomes = site.render(table)
    codes = {n: one.code for n, one in outcomes.items() if isinstance(one, Rejected)}
    assert codes.pop("mute") in ("truncated", "unsupported_format", "no_audio")
    assert codes == {
        "text": "unsupported_format",
        "blip": "too_short",
        "gone": "not_found",
        "pipe": "not_found",
        "out": "not_found",
        "loop": "not_found",
        "nul": "not_found",
        "long": "not_found",
        "none": "not_found",
        "opera": "unknown_style",
    }
    assert all(one.detail for one in outcomes.values() if isinstance(one, Rejected))
    assert isinstance(outcomes["last"], Rendered)
    found = reconcile(table.rows, outcomes, site.clips.videos())
    assert counts(found)["rendered"] == 2
    assert sum(counts(found).values()) == len(rows)
    assert pq.read_table(BytesIO(outcomes_bytes(found))).num_rows == len(rows)


def test_what_was_rejected_for_good_is_not_tried_again_unless_asked(site: RenderSite) -> None:
    write_sound(site.folder / "blip.wav", seconds=0.05)
    table = site.table([{**ANN, "audio": "blip.wav"}])
    site.render(table)
    plan, outcomes = site.render(table)
    assert plan.tasks == ()
    (found,) = outcomes.values()
    assert isinstance(found, Rejected)
    assert (found.code, found.is_reused) == ("too_short", True)
    assert len(site.plan(table, retry_rejected=True).tasks) == 1
    _, again = site.render(table, retry_rejected=True)
    assert from_record(to_record(found), is_reused=False) == next(iter(again.values()))


def test_an_accident_is_an_outcome_and_is_tried_again(
    site: RenderSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*arguments: object, **named: object) -> None:
        raise RuntimeError("CUDA out of memory")

    table = site.table([ANN])
    with monkeypatch.context() as patch:
        patch.setattr(row_worker, "render_clip", breaks)
        _, outcomes = site.render(table)
    (found,) = outcomes.values()
    assert isinstance(found, Rejected)
    assert (found.code, found.detail) == ("failed", "RuntimeError: CUDA out of memory")
    _, outcomes = site.render(table)
    assert isinstance(outcomes["row-000001"], Rendered)


def test_a_store_that_is_away_ends_the_job_and_not_the_row(
    site: RenderSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*arguments: object, **named: object) -> None:
        raise StoreUnavailableError("no success in 9 tries")

    monkeypatch.setattr(ClipStore, "publish", away)
    with pytest.raises(StoreUnavailableError):
        site.render(site.table([ANN]))


def test_a_file_that_changes_while_the_job_runs_is_not_filed_under_the_old_key(
    site: RenderSite,
) -> None:
    table = site.table([ANN])
    plan = site.plan(table)
    write_sound(site.folder / "hello.wav", seed=9)
    found = site.worker(table)(plan.tasks[0])
    assert isinstance(found, Rejected)
    assert found.code == "changed"
    assert not site.out.exists()


def test_a_worker_with_other_weights_or_another_provider_is_refused(site: RenderSite) -> None:
    table, setting = site.table([ANN]), site.setting()
    for other, error in (
        (replace(setting, model_digest="0" * 64), CorruptError),
        (replace(setting, faces="dlib68-of-another-kind"), SpecError),
    ):
        with pytest.raises(error):
            RowWorker(
                other, head=site.head, provider=DrawnFaces(), sandbox=site.sandbox,
                files=table.files, clips=site.clips,
            )  # fmt: skip


def test_of_two_jobs_that_render_one_row_the_second_reports_the_first_ones_video(
    site: RenderSite,
) -> None:
    table = site.table([ANN])
    plan = site.plan(table)
    work = site.worker(table)
    first = work(plan.tasks[0])
    for part in (site.out / "clips").glob("*/video*"):
        part.with_name("video.0123456789ab.mp4").write_bytes(b"half")
    second = work(plan.tasks[0])
    assert isinstance(first, Rendered)
    assert second == replace(first, is_reused=True)
    names = sorted(path.name.split(".")[0] for path in (site.out / "clips" / first.key).iterdir())
    assert names == ["COMMIT", "row", "video"]


def test_a_published_video_that_is_gone_is_told_and_not_counted(site: RenderSite) -> None:
    table = site.table([ANN])
    _, outcomes = site.render(table)
    (found,) = outcomes.values()
    assert isinstance(found, Rendered)
    (site.out / found.video).unlink()
    with pytest.raises(DataError, match="videos are not there"):
        reconcile(table.rows, outcomes, site.clips.videos())
    _, outcomes = site.render(table)
    (told,) = outcomes.values()
    assert isinstance(told, Rejected)
    assert (told.code, told.lasts) == ("damaged", False)


def test_a_row_without_an_outcome_is_never_passed_over(site: RenderSite) -> None:
    table = site.table([ANN, BOB])
    _, outcomes = site.render(table)
    del outcomes["row-000002"]
    with pytest.raises(DataError, match="1 of 2 rows have no outcome"):
        reconcile(table.rows, outcomes, site.clips.videos())


def test_outcomes_are_a_table_with_a_line_a_row(site: RenderSite, tmp_path: Path) -> None:
    table = site.table([ANN, {**ANN, "audio": "gone.wav", "key": "gone"}])
    _, outcomes = site.render(table)
    found = reconcile(table.rows, outcomes, site.clips.videos())
    (tmp_path / "outcomes.parquet").write_bytes(outcomes_bytes(found))
    lines = pq.read_table(tmp_path / "outcomes.parquet").to_pylist()
    assert [(line["row"], line["status"], line["code"]) for line in lines] == [
        ("row-000001", "rendered", None),
        ("gone", "rejected", "not_found"),
    ]
    assert (site.out / lines[0]["video"]).is_file()


def test_one_portrait_of_many_rows_is_looked_at_once(site: RenderSite) -> None:
    class Counting(DrawnFaces):
        seen = 0

        def detect(self, image):  # type: ignore[no-untyped-def]
            Counting.seen += 1
            return super().detect(image)

    table = site.table([ANN, {**ANN, "audio": "bye.wav"}])
    plan = site.plan(table)
    work = site.worker(table, provider=Counting(FACE))
    for task in plan.tasks:
        work(task)
    assert Counting.seen == 1


KILLED_JOB = """
import sys
from pathlib import Path
from render_tables import RenderSite
from visage.media.sandbox import MediaSandbox
site = RenderSite(Path(sys.argv[1]), sys.argv[2], MediaSandbox())
site.render(site.table([{"portrait": p, "audio": a} for p in ("ann.png", "bob.png")
                        for a in ("hello.wav", "bye.wav")]))
"""


@pytest.mark.parametrize("fault", ["commit.before_marker@2", "commit.after_marker@2"])
def test_a_killed_batch_loses_nothing_that_was_published_and_leaves_nothing_behind(
    fault: str, site: RenderSite
) -> None:
    support = Path(__file__).parents[2] / "support"
    done = subprocess.run(
        [sys.executable, "-c", KILLED_JOB, str(site.folder), site.head.uri],
        timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(support), "VISAGE_FAULT_POINT": fault},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    stood = set(site.clips.videos())
    assert len(stood) == (2 if "after" in fault else 1)
    table = site.table([{"portrait": p, "audio": a} for p in ("ann.png", "bob.png")
                        for a in ("hello.wav", "bye.wav")])  # fmt: skip
    plan, outcomes = site.render(table)
    assert len(plan.tasks) == 4 - len(stood)
    assert len(reconcile(table.rows, outcomes, site.clips.videos())) == 4
    for folder in (site.out / "clips").iterdir():
        assert len([one for one in folder.iterdir() if not one.name.startswith(".tmp-")]) == 3


def test_a_media_error_keeps_no_path_of_the_machine(site: RenderSite) -> None:
    write_sound(site.folder / "blip.wav", seconds=0.05)
    _, outcomes = site.render(site.table([{**ANN, "audio": "blip.wav"}]))
    (found,) = outcomes.values()
    assert isinstance(found, Rejected)
    assert found.detail.startswith("blip.wav: ")
