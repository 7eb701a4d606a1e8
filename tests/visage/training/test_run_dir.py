"""A run's folder: claimed once, described for ever, its history followed to the first step."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from visage.data.ledger import LedgerRow, to_parquet
from visage.data.sampler import Sampler
from visage.errors import CorruptError, NotFoundError, TrainingError
from visage.specs.train import EmotionTrainSpec
from visage.store.commit import commit
from visage.store.local import LocalStore
from visage.training.run_dir import RunInfo, ledger_chain, open_run_dir, read_run
from visage.training.state import RunState
from visage.training.verify import verify_run

SPEC = EmotionTrainSpec(global_batch=4, seed=7)
INFO = RunInfo.of(SPEC, recipe="emotion", data_uri="data", digest="d" * 64, samples=21)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "run")


def _segment(store: LocalStore, first: int, steps: int, parent: str | None) -> str:
    """A ledger segment of a run on one rank, as prescribed."""
    sampler = Sampler(samples=21, global_batch=4, seed=7)
    rows = [
        LedgerRow(step=step, rank=0, world=1, loss=1.0, ids=tuple(sampler.step_ids(step)[1]))
        for step in range(first, first + steps)
    ]
    name = f"{first:010d}-made"
    commit(store, f"ledger/{name}", {"ledger.parquet": to_parquet(rows)},
           metadata={"parent": parent, "first_step": first})  # fmt: skip
    return name


def _checkpoint(store: LocalStore, step: int, ledger: str | None) -> None:
    state = RunState(step=step, ledger=ledger)
    commit(store, f"checkpoints/{step:010d}-made", {"state.json": state.to_json()})


def test_a_claimed_folder_tells_what_runs_there(store: LocalStore) -> None:
    open_run_dir(store, INFO)
    assert read_run(store) == INFO


def test_the_same_run_opens_its_folder_again_and_changes_nothing(store: LocalStore) -> None:
    open_run_dir(store, INFO)
    before = store.get("run.json")
    open_run_dir(store, replace(INFO, data_uri="moved/elsewhere"))  # same data, by its digest
    assert store.get("run.json") == before


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (replace(INFO, data_digest="e" * 64), "data dddddddddddd there, eeeeeeeeeeee here"),
        (replace(INFO, recipe="motion"), "recipe emotion there, motion here"),
        (
            RunInfo.of(
                EmotionTrainSpec.load(assignments=["global_batch=4", "seed=8", "optimizer.lr=1"]),
                recipe="emotion", data_uri="data", digest="d" * 64, samples=21,
            ),
            r"optimizer\.lr 0\.01 there, 1\.0 here; seed 7 there, 8 here",
        ),
    ],
)  # fmt: skip
def test_another_run_is_refused_with_exactly_what_differs(
    other: RunInfo, named: str, store: LocalStore
) -> None:
    open_run_dir(store, INFO)
    with pytest.raises(TrainingError, match=f"differs: {named}\\. Choose another --name"):
        open_run_dir(store, other)


def test_an_empty_folder_holds_no_run(store: LocalStore) -> None:
    with pytest.raises(NotFoundError, match=r"no run\.json"):
        read_run(store)


def test_a_description_cut_at_any_byte_is_corrupt(store: LocalStore) -> None:
    open_run_dir(store, INFO)
    whole = store.get("run.json")
    for size in range(0, len(whole), 5):
        store.path("run.json").write_bytes(whole[:size])
        with pytest.raises(CorruptError, match=r"run\.json: damaged"):
            read_run(store)


@pytest.mark.parametrize("edit", [{"more": 1}, {"samples": None, "schema": None}, "list"])
def test_a_description_of_another_shape_is_refused(edit: object, store: LocalStore) -> None:
    open_run_dir(store, INFO)
    values = json.loads(store.get("run.json"))
    edited = {**values, **edit} if isinstance(edit, dict) else [values]
    store.replace("run.json", json.dumps(edited).encode())
    with pytest.raises((CorruptError, TrainingError)):
        read_run(store)


def test_a_run_of_another_version_is_refused_with_both(store: LocalStore) -> None:
    store.put("run.json", b'{"schema": "visage.run/9"}')
    with pytest.raises(TrainingError, match=r"'visage\.run/9' is not 'visage\.run/1'"):
        read_run(store)


def test_the_chain_is_followed_to_the_first_step_and_leaves_dead_branches_out(
    store: LocalStore,
) -> None:
    first = _segment(store, 0, 3, None)
    dead = _segment(store, 3, 9, first)
    store.delete(f"ledger/{dead}/COMMIT")
    for item in list(store.list(f"ledger/{dead}/")):
        store.delete(item.key)
    last = _segment(store, 3, 2, first)
    _segment(store, 100, 2, last)
    assert [row.step for row in ledger_chain(store, last)] == [0, 1, 2, 3, 4]
    assert ledger_chain(store, None) == []


def test_a_gap_in_the_chain_is_named(store: LocalStore) -> None:
    last = _segment(store, 3, 2, "0000000000-lost")
    with pytest.raises(TrainingError, match="ledger/0000000000-lost: ledger segment missing"):
        ledger_chain(store, last)


def test_a_run_is_verified_from_its_newest_checkpoint(store: LocalStore) -> None:
    open_run_dir(store, INFO)
    head = _segment(store, 3, 4, _segment(store, 0, 3, None))
    _checkpoint(store, 3, "0000000000-made")
    _checkpoint(store, 7, head)
    report = verify_run(store.uri)
    assert report.is_exact, report.problems
    assert (report.steps, report.samples) == (7, 28)


def test_a_run_whose_ledger_misses_a_segment_of_steps_is_not_exact(store: LocalStore) -> None:
    open_run_dir(store, INFO)
    _checkpoint(store, 7, _segment(store, 4, 3, _segment(store, 0, 3, None)))
    assert verify_run(store.uri).problems == ("step 3: missing",)


def test_a_run_without_a_checkpoint_cannot_be_verified_yet(store: LocalStore) -> None:
    open_run_dir(store, INFO)
    with pytest.raises(TrainingError, match="no checkpoint yet"):
        verify_run(store.uri)
