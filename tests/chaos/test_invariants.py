"""The checker sees what it is there to see, and its order of samples is the product's."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from invariants import check_evaluation, check_run, check_shards, check_tracking, prescribed_order
from life import ALIAS, RUN, Lived, expected_keys

from visage.data.sampler import Sampler

Damage = Callable[[Path], None]


@pytest.mark.parametrize(("samples", "batch"), [(1, 1), (7, 8), (42, 8), (64, 16), (1000, 96)])
def test_the_checkers_own_order_of_samples_is_that_of_the_product(samples: int, batch: int) -> None:
    sampler = Sampler(samples=samples, global_batch=batch, seed=11)
    for step in (0, 1, 5):
        _, ids = sampler.step_ids(step)
        mine = prescribed_order(samples, seed=11, first=step * batch, count=batch)
        assert ids.tolist() == mine


@pytest.fixture
def workspace(unbroken: tuple[Path, Lived], tmp_path: Path) -> Path:
    return Path(shutil.copytree(unbroken[0], tmp_path / "copy"))


def _flip(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(bytes(body))


def _shift_ledger(run: Path) -> None:
    """Rewrite a segment so that two samples change places, checksums and all."""
    import hashlib

    path = next(run.glob("ledger/*/*.parquet"))
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[0]["ids"][0], rows[0]["ids"][1] = rows[0]["ids"][1], rows[0]["ids"][0]
    pq.write_table(table.from_pylist(rows, schema=table.schema), path)
    marker = path.parent / "COMMIT"
    told = json.loads(marker.read_text())
    told["parts"]["ledger.parquet"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    told["parts"]["ledger.parquet"]["size_bytes"] = path.stat().st_size
    marker.write_text(json.dumps(told))


RUN_DAMAGES: dict[str, tuple[Damage, str]] = {
    "a flipped bit": (lambda run: _flip(next(run.glob("checkpoints/*/ema.*"))), "not what was"),
    "a lost part": (lambda run: next(run.glob("checkpoints/*/model.*")).unlink(), "missing"),
    "swapped samples": (_shift_ledger, "prescribed"),
    "a lost model": (lambda run: (run / "model" / "COMMIT").unlink(), "no model was published"),
}


@pytest.mark.parametrize("name", RUN_DAMAGES)
def test_a_damaged_run_is_found_out(name: str, workspace: Path) -> None:
    damage, said = RUN_DAMAGES[name]
    damage(workspace / "runs" / RUN)
    try:
        found = check_run(workspace / "runs" / RUN)
    except FileNotFoundError as err:
        found = [f"missing: {err}"]
    assert any(said in one for one in found), found


def test_a_flipped_bit_and_a_lost_picture_of_a_corpus_are_found_out(workspace: Path) -> None:
    corpus = workspace / "data" / "made"
    keys = expected_keys()
    keys["train"].add("train/999.png")
    assert "train: train/999.png lost" in check_shards(corpus, keys)
    _flip(next(corpus.glob("shards/*/rows.*")))
    assert any("not the bytes" in one for one in check_shards(corpus, expected_keys()))


def test_an_accuracy_that_does_not_follow_from_the_predictions_is_found_out(
    workspace: Path,
) -> None:
    file = workspace / "evaluations" / "one" / "evaluation.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps({**told, "accuracy": told["accuracy"] + 0.01}))
    found = check_evaluation(file.parent, expected_keys()["test"])
    assert any("does not follow" in one for one in found)


def test_a_run_tracked_twice_and_a_dangling_alias_are_found_out(workspace: Path) -> None:
    with closing(sqlite3.connect(workspace / "mlflow.db")) as db, db:
        db.execute("update registered_model_aliases set version = 7")
        row = list(db.execute("select * from runs").fetchone())
        row[0] = "f" * 32
        db.execute(f"insert into runs values ({','.join('?' * len(row))})", row)
    found = check_tracking(workspace / "mlflow.db", {RUN}, alias=ALIAS)
    assert f"run {RUN}: 2 times in MLflow, launched as one" in found
    assert any("points to version 7" in one for one in found)
