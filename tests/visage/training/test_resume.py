"""A run killed anywhere and continued equals the unbroken one: samples, losses, weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from corpora import small_train_spec, write_corpus

from visage.data.ledger import LedgerRow, verify
from visage.data.sampler import Sampler
from visage.errors import PreemptedError, TrainingError
from visage.specs.train import EmotionTrainSpec
from visage.store.commit import MARKER, read_commit
from visage.store.open import open_store
from visage.training.checkpoint import list_checkpoints, restore
from visage.training.host import SingleHost
from visage.training.run_dir import ledger_chain
from visage.training.session import TrainOutcome, run_training


@pytest.fixture(scope="module")
def data_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_corpus(tmp_path_factory.mktemp("data"))


class _Death(Exception):
    """Stands for SIGKILL inside one process: nothing after it runs."""


def _run(folder: Path, data_uri: str, *, die_at: int | None = None, stop_at: int | None = None,
         **changes: object) -> TrainOutcome:  # fmt: skip
    spec: EmotionTrainSpec = small_train_spec(epochs=3.0, **changes)
    step = 0

    class Host(SingleHost):
        def report(self, event: Mapping[str, object]) -> None:
            pass

        def add(self, values):  # type: ignore[no-untyped-def]
            nonlocal step
            step += 1
            if step == die_at:
                raise _Death
            return values

        def stop_requested(self) -> bool:
            return step == stop_at

    return run_training(
        run_uri=str(folder), spec=spec, recipe_name="emotion", data_uri=data_uri, host=Host()
    )


def _history(folder: Path) -> list[LedgerRow]:
    store = open_store(str(folder))
    last = restore(store)
    assert last is not None
    return ledger_chain(store, last.state.ledger)


def _weights(folder: Path) -> str:
    found = read_commit(open_store(str(folder)), "model")
    assert found is not None
    return found.parts["model.safetensors"].sha256


@pytest.fixture(scope="module")
def unbroken(data_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    _run(folder, data_uri)
    return folder


@pytest.mark.parametrize("die_at", [1, 2, 4, 5, 9, 14])
def test_a_killed_run_continues_to_the_same_losses_samples_and_weights(
    die_at: int, data_uri: str, unbroken: Path, tmp_path: Path
) -> None:
    with pytest.raises(_Death):
        _run(tmp_path / "run", data_uri, die_at=die_at)
    _run(tmp_path / "run", data_uri)
    assert _history(tmp_path / "run") == _history(unbroken)
    assert _weights(tmp_path / "run") == _weights(unbroken)


def test_the_ledger_of_a_run_killed_three_times_has_no_gap_and_no_repeat(
    data_uri: str, tmp_path: Path
) -> None:
    for die_at in (5, 5, 6):
        with pytest.raises(_Death):
            _run(tmp_path / "run", data_uri, die_at=die_at)
    outcome = _run(tmp_path / "run", data_uri)
    sampler = Sampler(samples=42, global_batch=8, seed=0)
    assert outcome.steps == sampler.steps_for(3.0)
    report = verify(_history(tmp_path / "run"), sampler, steps=outcome.steps)
    assert report.is_exact, report.problems


def test_a_stop_request_saves_and_the_same_command_continues(
    data_uri: str, unbroken: Path, tmp_path: Path
) -> None:
    with pytest.raises(PreemptedError, match="after step 7; state saved"):
        _run(tmp_path / "run", data_uri, stop_at=7)
    assert list_checkpoints(open_store(str(tmp_path / "run")))[-1].startswith("0000000007")
    _run(tmp_path / "run", data_uri)
    assert _weights(tmp_path / "run") == _weights(unbroken)


@pytest.mark.parametrize("damage", ["flip", "truncate", "missing"])
def test_a_damaged_checkpoint_is_skipped_for_the_one_before_and_both_are_named(
    damage: str, data_uri: str, unbroken: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(_Death):
        _run(tmp_path / "run", data_uri, die_at=11)
    newest = list_checkpoints(open_store(str(tmp_path / "run")))[-1]
    part = next((tmp_path / "run" / "checkpoints" / newest).glob("model.*"))
    body = bytearray(part.read_bytes())
    body[len(body) // 2] ^= 1
    match damage:
        case "flip":
            part.write_bytes(bytes(body))
        case "truncate":
            part.write_bytes(bytes(body[: len(body) // 2]))
        case "missing":
            part.unlink()
    _run(tmp_path / "run", data_uri)
    assert newest in caplog.text
    assert _weights(tmp_path / "run") == _weights(unbroken)


def test_a_finished_run_is_not_trained_again(data_uri: str, unbroken: Path) -> None:
    assert _run(unbroken, data_uri, die_at=1).reused


def test_another_spec_in_the_same_folder_is_refused_with_the_differing_fields(
    data_uri: str, unbroken: Path
) -> None:
    with pytest.raises(TrainingError, match=r"clip_norm None there, 3\.0 here"):
        _run(unbroken, data_uri, clip_norm=3.0)


def test_only_the_newest_checkpoints_stay_and_every_marker_is_whole(unbroken: Path) -> None:
    store = open_store(str(unbroken))
    assert len(list_checkpoints(store)) == 2
    assert len(list((unbroken / "checkpoints").iterdir())) == 2
    markers = [item.key for item in store.list("ledger/") if item.key.endswith(MARKER)]
    assert len(markers) >= 5


def test_the_best_weights_are_exported_when_asked_for(data_uri: str, tmp_path: Path) -> None:
    outcome = _run(tmp_path / "run", data_uri, export="best", validate_every_epochs=0.5)
    last = restore(open_store(str(tmp_path / "run")))
    assert last is not None
    assert last.state.best is not None
    assert outcome.score == max(one.score for one in last.state.validations)


def test_a_run_whose_checkpoints_are_all_damaged_is_refused_not_started_anew(
    data_uri: str, tmp_path: Path
) -> None:
    with pytest.raises(_Death):
        _run(tmp_path / "run", data_uri, die_at=11)
    names = list_checkpoints(open_store(str(tmp_path / "run")))
    for name in names:
        next((tmp_path / "run" / "checkpoints" / name).glob("model.*")).unlink()
    with pytest.raises(TrainingError, match=f"none of the {len(names)} checkpoints is whole"):
        _run(tmp_path / "run", data_uri)
