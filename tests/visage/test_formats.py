"""Every format ever written is read, or refused by name, by every later version."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from visage.data.ledger import from_parquet
from visage.data.manifest import Manifest
from visage.data.shards import read_shard
from visage.errors import TrainingError, VisageError
from visage.inference.artifact import load_emotion_model
from visage.rendering.clip_store import ClipStore
from visage.rendering.outcome import Rejected, Rendered
from visage.specs.train import EmotionTrainSpec
from visage.store.commit import commit, read_commit
from visage.store.open import open_store
from visage.tracking.evaluation import Evaluation
from visage.tracking.head_evaluation import HeadEvaluation
from visage.training.run_dir import RunInfo, open_run_dir, read_run
from visage.training.state import RunState

REPOSITORY = Path(__file__).parents[2]
FORMATS = REPOSITORY / "tests" / "fixtures" / "formats"
ELSEWHERE = {
    "visage.emotion/1": "the wire format; tests/visage_serve/golden holds it",
    "visage.ncaers/1": "made again from its clips; tests/visage/data/test_ncaers.py",
    "visage.synth/1": "made again from its seed; tests/visage/synth",
    "visage.search/1": "the journal of a search; tests of visage.tuning",
}


def fixture(name: str) -> bytes:
    """The bytes of one file as an earlier version wrote it."""
    return (FORMATS / name).read_bytes()


def test_every_schema_of_the_product_has_a_fixture() -> None:
    sources = [path for root in ("platform", "jobs", "serve")
               for path in (REPOSITORY / root).rglob("*.py")]  # fmt: skip
    written = {
        schema
        for path in sources
        for schema in re.findall(r'"(visage\.[a-z_]+/\d+)"', path.read_text())
    }
    kept = {f"visage.{folder.name.replace('-', '/')}" for folder in FORMATS.iterdir()
            if folder.is_dir()}  # fmt: skip
    assert written - kept - ELSEWHERE.keys() == set()


def test_manifest_1() -> None:
    manifest = Manifest.from_json(fixture("manifest-1/manifest.json"), origin="fixture")
    assert manifest.digest().startswith("00a81a99493a8f6d")
    assert (manifest.rows("train"), manifest.rows("val"), manifest.rows("test")) == (21, 7, 7)


def test_rows_1() -> None:
    table = read_shard(FORMATS / "rows-1" / "rows.arrow")
    assert table.schema.metadata[b"schema"] == b"emotion/1"
    assert table.num_rows in (5, 7)
    assert all(row["face"][:2] == b"\xff\xd8" for row in table.to_pylist())


def test_outcomes_1() -> None:
    rows = pq.read_table(FORMATS / "outcomes-1" / "outcomes.parquet").to_pylist()
    assert {"fingerprint", "key", "code", "detail"} == set(rows[0])


def test_commit_1(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "COMMIT").write_bytes(fixture("commit-1/COMMIT"))
    found = read_commit(open_store(str(tmp_path)), "one")
    assert found is not None
    assert found.parts["ledger.parquet"].size_bytes == 1895
    assert found.metadata["first_step"] == 6


def test_checkpoint_1() -> None:
    state = RunState.from_json(fixture("checkpoint-1/state.json"), origin="fixture")
    assert state.step == 8
    assert [one.step for one in state.validations] == [3, 6, 8]


def test_ledger_1() -> None:
    rows = from_parquet(fixture("ledger-1/ledger.parquet"), origin="fixture")
    assert [(row.step, row.rank, row.world, len(row.ids)) for row in rows] == [
        (6, 0, 1, 8),
        (7, 0, 1, 8),
    ]


def test_evaluation_1() -> None:
    found = Evaluation.from_json(fixture("evaluation-1/evaluation.json"), uri="fixture")
    assert (found.rows, len(found.classes), found.split) == (7, 7, "test")


def test_predictions_1(tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_bytes(fixture("evaluation-1/evaluation.json"))
    (tmp_path / "predictions.parquet").write_bytes(fixture("predictions-1/predictions.parquet"))
    answers = Evaluation.read(str(tmp_path)).answers()
    assert answers is not None
    assert len(answers) == 7


def test_rendering_1_is_a_video_that_stands(tmp_path: Path) -> None:
    marker = json.loads(fixture("rendering-1/COMMIT"))
    folder = tmp_path / "clips" / marker["metadata"]["key"]
    folder.mkdir(parents=True)
    (folder / "COMMIT").write_bytes(fixture("rendering-1/COMMIT"))
    (folder / marker["parts"]["video.mp4"]["path"]).touch()
    (found,) = ClipStore(open_store(str(tmp_path))).standing([folder.name]).values()
    assert isinstance(found, Rendered)
    assert (found.frames, found.fps, found.size, found.is_reused) == (10, 24.0, 64, True)


def test_rendering_99_is_told_by_its_name(tmp_path: Path) -> None:
    marker = json.loads(fixture("rendering-1/COMMIT"))
    marker["metadata"]["schema"] = "visage.rendering/99"
    folder = tmp_path / "clips" / marker["metadata"]["key"]
    folder.mkdir(parents=True)
    (folder / "COMMIT").write_text(json.dumps(marker))
    (found,) = ClipStore(open_store(str(tmp_path))).standing([folder.name]).values()
    assert isinstance(found, Rejected)
    assert "visage.rendering/99" in found.detail


def test_renderings_1() -> None:
    table = pq.read_table(FORMATS / "renderings-1" / "outcomes.parquet")
    assert table.schema.metadata[b"schema"] == b"visage.renderings/1"
    assert [row["status"] for row in table.to_pylist()] == ["rendered", "rejected"]


def test_head_evaluation_1() -> None:
    body = fixture("head_evaluation-1/head_evaluation.json")
    found = HeadEvaluation.from_json(body, uri="fixture")
    assert (found.clips, found.split) == (2, "test")
    assert set(found.subjects) == {"truth", "generated", "frozen", "mean"}
    assert found.subjects["generated"]["lmd"].clips == 2


def test_head_scores_1() -> None:
    table = pq.read_table(FORMATS / "head_scores-1" / "clips.parquet")
    assert table.schema.metadata[b"schema"] == b"visage.head_scores/1"
    assert table.num_rows == 8


def _run_folder(tmp_path: Path, body: bytes) -> str:
    (tmp_path / "run.json").write_bytes(body)
    return str(tmp_path)


def test_run_1_is_continued_although_the_spec_has_keys_that_it_did_not_know(
    tmp_path: Path,
) -> None:
    store = open_store(_run_folder(tmp_path, fixture("run-1/run.json")))
    old = read_run(store)
    assert "stall_limit_s" not in old.spec
    spec = EmotionTrainSpec.parse(old.spec)
    today = RunInfo.of(
        spec,
        recipe="emotion",
        data_uri=old.data_uri,
        digest=old.data_digest,
        samples=old.samples,
    )
    open_run_dir(store, today)


def test_run_1_with_another_value_of_a_new_key_is_refused_by_that_key(tmp_path: Path) -> None:
    store = open_store(_run_folder(tmp_path, fixture("run-1/run.json")))
    old = read_run(store)
    spec = EmotionTrainSpec.parse({**old.spec, "stall_limit_s": 7.0})
    info = RunInfo.of(
        spec,
        recipe="emotion",
        data_uri=old.data_uri,
        digest=old.data_digest,
        samples=old.samples,
    )
    with pytest.raises(TrainingError, match=r"stall_limit_s 120\.0 there, 7\.0 here"):
        open_run_dir(store, info)


def _model_folder(tmp_path: Path, card: bytes) -> str:
    commit(open_store(str(tmp_path)), "model", {"model.json": card, "model.safetensors": b"-"})
    return str(tmp_path / "model")


def test_model_1_is_understood_up_to_its_weights(tmp_path: Path) -> None:
    with pytest.raises(VisageError, match="tensors are not those of the spec"):
        load_emotion_model(_model_folder(tmp_path, fixture("model-1/model.json")))


REFUSED: dict[str, tuple[str, Callable[[Path, bytes], object]]] = {
    "manifest": ("manifest-1/manifest.json",
                 lambda folder, body: Manifest.from_json(body, origin="it")),
    "checkpoint": ("checkpoint-1/state.json",
                   lambda folder, body: RunState.from_json(body, origin="it")),
    "evaluation": ("evaluation-1/evaluation.json",
                   lambda folder, body: Evaluation.from_json(body, uri="it")),
    "head_evaluation": ("head_evaluation-1/head_evaluation.json",
                        lambda folder, body: HeadEvaluation.from_json(body, uri="it")),
    "run": ("run-1/run.json",
            lambda folder, body: read_run(open_store(_run_folder(folder, body)))),
    "model": ("model-1/model.json",
              lambda folder, body: load_emotion_model(_model_folder(folder, body))),
    "commit": ("commit-1/COMMIT",
               lambda folder, body: _marker(folder, body)),
}  # fmt: skip


def _marker(folder: Path, body: bytes) -> object:
    (folder / "one").mkdir()
    (folder / "one" / "COMMIT").write_bytes(body)
    return read_commit(open_store(str(folder)), "one")


@pytest.mark.parametrize("name", REFUSED)
def test_a_version_of_the_future_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    file, read = REFUSED[name]
    told = {**json.loads(fixture(file)), "schema": f"visage.{name}/99"}
    with pytest.raises(VisageError, match=rf"visage\.{name}/99"):
        read(tmp_path, json.dumps(told).encode())
