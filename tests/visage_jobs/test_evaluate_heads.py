"""Promises of `visage evaluate talking-head`: made once, whole, tracked, and honest about n."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from corpora import write_corpus
from made_clips import write_clip_corpus
from made_tracking import empty_database  # noqa: F401  # a fixture
from mlflow import MlflowClient
from tiny_talking_head import publish_tiny_head, tiny_card
from typer.testing import CliRunner

from visage.data.shards import ShardRows, load_manifest
from visage.errors import (
    ClusterError,
    CorruptError,
    DataError,
    NotFoundError,
    SpecError,
    TrackingError,
)
from visage.inference.style_card import save_style_card
from visage.media.image import decode_image
from visage.metrics.head_tables import COLUMNS
from visage.rendering.held_out import SUBJECTS
from visage.specs.evaluate import HeadEvaluationSpec
from visage.store.open import open_store
from visage.tracking.head_evaluation import HeadEvaluation
from visage_jobs import evaluate_heads
from visage_jobs.cli import app
from visage_jobs.evaluate_heads import (
    ClipActor,
    HeadEvaluationJob,
    evaluate_head,
    plan_head_evaluation,
)
from visage_jobs.workspace import Workspace

FEW = HeadEvaluationSpec(frames=2, sheet_clips=2)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    publish_tiny_head(folder / "model")
    write_clip_corpus(folder / "clips", train=2, val=1, test=3, size=32, frames=60)
    return folder


@pytest.fixture
def job(ground: Path, tmp_path: Path, empty_database: Path) -> HeadEvaluationJob:  # noqa: F811  # the fixture, by its name
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return HeadEvaluationJob(
        workspace=Workspace(str(tmp_path)),
        data_uri=str(ground / "clips"),
        model=str(ground / "model" / "head"),
        spec=FEW,
    )


def _here(settings: Mapping[str, Any], items: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The actor in this process, in place of Ray, which gives answers in any order."""
    return map(ClipActor(settings), reversed(items))


def test_an_evaluation_is_whole_tracked_and_made_once(job: HeadEvaluationJob) -> None:
    found = evaluate_head(job, work=_here)
    assert (found.clips, found.split, dict(found.skipped)) == (3, "test", {})
    assert tuple(found.subjects) == SUBJECTS
    seen = {"seen_r", "seen_gain"}  # nobody sees a mouth in what untrained networks paint
    assert set(found.subjects["generated"]) == {column.name for column in COLUMNS} - seen
    assert all(one.clips == 3 for one in found.subjects["frozen"].values())
    assert found.picture_px == (32, 32)
    lines = pq.read_table(io.BytesIO(found.part("clips.parquet"))).to_pylist()
    assert len(lines) == 3 * len(SUBJECTS)
    mean = sum(line["lmd"] for line in lines if line["subject"] == "generated") / 3
    assert found.subjects["generated"]["lmd"].mean == pytest.approx(mean)
    assert decode_image(found.sheet() or b"").ndim == 3
    assert set(found.wins) == {"frozen", "mean"}
    again = evaluate_head(job, work=lambda *_: pytest.fail("it was made already"))
    assert again == found
    _is_one_tracked_run(job, found)


def _is_one_tracked_run(job: HeadEvaluationJob, found: HeadEvaluation) -> None:
    client = MlflowClient(job.workspace.tracking_uri())
    experiment = client.get_experiment_by_name("talking-head-evaluation")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics["test/lmd"] == pytest.approx(found.subjects["generated"]["lmd"].mean)
    assert run.data.params["frames"] == "2"
    names = {one.path for one in client.list_artifacts(run.info.run_id)}
    assert {"sheet.jpg", "head_evaluation.json"} <= names


def test_other_settings_are_another_evaluation_and_few_clips_lie_evenly(
    job: HeadEvaluationJob,
) -> None:
    one = plan_head_evaluation(job)
    other = plan_head_evaluation(replace(job, spec=FEW.model_copy(update={"seed": 1})))
    few = plan_head_evaluation(replace(job, spec=FEW.model_copy(update={"clips": 2})))
    assert len({plan["out"] for plan in (one, other, few)}) == 3
    assert (one["clips"], few["clips"]) == (3, 2)


def test_other_code_another_device_and_a_style_made_anew_are_another_evaluation(
    job: HeadEvaluationJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    styled = replace(job, spec=FEW.model_copy(update={"style": "mine"}))
    store = open_store(job.workspace.root)
    seen = [plan_head_evaluation(job), plan_head_evaluation(replace(job, device="cuda"))]
    for seed in (1, 2):
        shutil.rmtree(Path(job.workspace.root, "styles"), ignore_errors=True)
        save_style_card(store, "styles/mine", tiny_card("mine", seed=seed))
        seen.append(plan_head_evaluation(styled))
    monkeypatch.setattr(evaluate_heads, "EVALUATION_VERSION", "99")
    seen.append(plan_head_evaluation(job))
    assert len({plan["out"] for plan in seen}) == 5


def test_a_style_that_is_made_anew_under_way_ends_the_job(job: HeadEvaluationJob) -> None:
    styled = replace(job, spec=FEW.model_copy(update={"style": "mine"}))
    store = open_store(job.workspace.root)
    save_style_card(store, "styles/mine", tiny_card("mine", seed=1))

    def late(settings: Mapping[str, Any], items: Sequence[Any]) -> Iterator[dict[str, Any]]:
        shutil.rmtree(Path(job.workspace.root, "styles"))
        save_style_card(store, "styles/mine", tiny_card("mine", seed=2))
        return _here(settings, items)

    with pytest.raises(CorruptError, match="'mine': it was made anew meanwhile; run it again"):
        evaluate_head(styled, work=late)


def test_a_clip_that_cannot_be_compared_costs_itself_and_is_named(
    job: HeadEvaluationJob,
) -> None:
    def spoilt(*asked: Any) -> Iterator[dict[str, Any]]:
        first, *rest = _here(*asked)
        yield {"key": first["key"], "skipped": "the mouth has no extent"}
        yield from rest

    found = evaluate_head(job, work=spoilt)
    assert found.clips == 2
    assert list(found.skipped.values()) == ["the mouth has no extent"]


def test_a_clip_that_kills_its_workers_publishes_nothing_and_is_named(
    job: HeadEvaluationJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been bad luck, and what is published stands for ever."""

    def pool(items, kind, settings, *, name, **others):  # type: ignore[no-untyped-def]
        assert others.get("deadly") is None
        raise ClusterError(f"{name(items[1])} ended its worker")
        yield

    monkeypatch.setattr(evaluate_heads, "over_actors", pool)
    key = ShardRows(*load_manifest(job.data_uri), "test").row(1)["key"]
    with pytest.raises(ClusterError, match=str(key)):
        evaluate_head(job)
    monkeypatch.undo()
    assert evaluate_head(job, work=_here).clips == 3


def test_clips_that_do_not_come_back_or_all_fail_end_with_a_sentence(
    job: HeadEvaluationJob,
) -> None:
    with pytest.raises(DataError, match="2 of 3 clips came back"):
        evaluate_head(job, work=lambda *asked: list(_here(*asked))[:2])  # type: ignore[arg-type,return-value]
    with pytest.raises(DataError, match="none of 3 clips"):
        evaluate_head(
            job, work=lambda *asked: iter([{"key": str(n), "skipped": "dark"} for n in range(3)])
        )


def test_what_cannot_be_evaluated_is_refused_before_anything_starts(
    job: HeadEvaluationJob, ground: Path, tmp_path: Path
) -> None:
    pictures = write_corpus(tmp_path / "pictures", train=2, val=1, test=1)
    with pytest.raises(DataError, match="--rows clips"):
        plan_head_evaluation(replace(job, data_uri=pictures))
    nobody = Workspace(str(tmp_path / "nobody"))
    with pytest.raises(NotFoundError, match="visage demo"):
        plan_head_evaluation(replace(job, model="talking-head@champion", workspace=nobody))
    with pytest.raises(SpecError, match="plain, loud"):
        plan_head_evaluation(replace(job, spec=FEW.model_copy(update={"style": "opera"})))
    write_clip_corpus(tmp_path / "empty", train=1, val=0, test=0, size=32, frames=60)
    with pytest.raises(DataError, match="'test' is empty"):
        plan_head_evaluation(replace(job, data_uri=str(tmp_path / "empty")))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"[]", "not an evaluation"),
        (b'{"schema": "visage.head_evaluation/99"}', "head_evaluation/99"),
        (b'{"schema": "visage.head_evaluation/1"}', "incomplete"),
    ],
)
def test_a_damaged_evaluation_is_told(body: bytes, told: str) -> None:
    with pytest.raises(TrackingError, match=told):
        HeadEvaluation.from_json(body, uri="here")


def _words(job: HeadEvaluationJob, *more: str) -> list[str]:
    return [
        "evaluate", "talking-head", "--data", job.data_uri, "--model", job.model,
        "--workspace", job.workspace.root, "--frames", "2", "--set", "sheet_clips=2", *more,
    ]  # fmt: skip


def test_a_dry_run_tells_and_writes_nothing(job: HeadEvaluationJob) -> None:
    result = CliRunner().invoke(app, _words(job, "--dry-run", "--json"))
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["clips"] == 3
    assert not Path(job.workspace.root, "evaluations").exists()


def test_both_tables_are_printed_with_their_baselines(job: HeadEvaluationJob) -> None:
    evaluate_head(job, work=_here)  # the command finds it made
    result = CliRunner().invoke(app, _words(job), env={"COLUMNS": "140"})
    assert result.exit_code == 0, result.output
    for column in COLUMNS:
        assert f"{column.title} " in result.stdout
    for word in ("truth", "generated", "frozen face", "mean face", "better than frozen", "/3"):
        assert word in result.stdout
    assert "3 clips of test" in result.stdout


@pytest.mark.ray
@pytest.mark.filterwarnings("default")  # Ray and its parts warn in their own name
@pytest.mark.usefixtures("ray_cluster")
def test_the_command_compares_on_a_real_ray(job: HeadEvaluationJob) -> None:
    result = CliRunner().invoke(app, _words(job, "--json"))
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["clips"], told["skipped"]) == (3, {})
    assert told["subjects"]["frozen"]["opening_r"]["mean"] == 0
    refused = CliRunner().invoke(app, _words(job, "--device", "cuda"))
    assert refused.exit_code == 2
    assert "this machine has no GPU" in refused.output
