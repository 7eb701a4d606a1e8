"""The writer beside training: slow or failing stores delay saves, never lose rows of the ledger."""

from __future__ import annotations

import threading
import time
from concurrent.futures import wait
from pathlib import Path

import pytest
import torch

from visage.data.ledger import LedgerRow
from visage.errors import StoreError
from visage.store.local import LocalStore
from visage.training.checkpoint import CheckpointWriter, list_checkpoints
from visage.training.rescue import Rescue
from visage.training.run_dir import RunInfo, ledger_chain
from visage.training.state import RunState
from visage.training.tensors import Snapshot

INFO = RunInfo(recipe="emotion", spec={}, spec_digest="s", data_uri="d", data_digest="d", samples=4)
SNAPSHOTS = {"model": Snapshot(tensors={"w": torch.zeros(2)}, scalars={})}


class Store(LocalStore):
    """Fails or waits when told to."""

    fails = False
    gate = threading.Event()

    def put(self, key: str, body: bytes) -> None:
        """Put, unless the store is down."""
        assert self.gate.wait(10.0)
        if self.fails:
            raise StoreError("down")
        super().put(key, body)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    made.gate = threading.Event()
    made.gate.set()
    return made


def _rows(*steps: int) -> list[LedgerRow]:
    return [LedgerRow(step=step, rank=0, world=1, ids=(step,), loss=0.5) for step in steps]


def _writer(store: Store, now_s: list[float]) -> CheckpointWriter:
    return CheckpointWriter(store, keep=2, age_limit_s=60.0, clock=lambda: now_s[0])


def test_rows_of_a_failed_save_are_published_with_the_next_one(store: Store) -> None:
    writer = _writer(store, [0.0])
    store.fails = True
    writer.save(RunState(step=2), SNAPSHOTS, _rows(0, 1))
    writer.settle()
    assert list_checkpoints(store) == []
    store.fails = False
    writer.save(RunState(step=4), SNAPSHOTS, _rows(2, 3))
    writer.finish()
    writer.close()
    assert [row.step for row in ledger_chain(store, writer.ledger)] == [0, 1, 2, 3]


def test_a_run_never_ends_as_if_its_last_checkpoint_were_published(store: Store) -> None:
    writer = _writer(store, [0.0])
    store.fails = True
    writer.save(RunState(step=2), SNAPSHOTS, _rows(0, 1))
    told = writer.finish()
    assert "step 2 was not published (down" in told
    assert "nor kept on this machine" in told
    assert "run the same command again" in told
    writer.close()


def test_training_goes_on_until_the_newest_checkpoint_is_too_old(store: Store) -> None:
    now_s = [0.0]
    writer = _writer(store, now_s)
    store.fails = True
    now_s[0] = 100.0
    writer.save(RunState(step=2), SNAPSHOTS, _rows(0, 1))
    now_s[0] = 159.0
    writer.settle()
    assert not writer.is_overdue
    writer.save(RunState(step=4), SNAPSHOTS, _rows(2, 3))
    wait([writer._under_way])  # type: ignore[list-item]
    now_s[0] = 161.0
    writer.settle()
    assert writer.is_overdue
    assert "161 s old" in writer.take_problem()
    writer.close()


def test_a_write_that_hangs_is_waited_for_no_longer_than_the_age_limit(store: Store) -> None:
    now_s = [0.0]
    writer = _writer(store, now_s)
    store.gate.clear()
    writer.save(RunState(step=2), SNAPSHOTS, _rows(0, 1))
    assert not writer.is_late
    now_s[0] = 60.0
    assert writer.is_late
    writer.settle()
    assert writer.is_overdue
    store.gate.set()
    writer.close()


def test_a_write_that_takes_longer_than_there_is_time_is_left_and_the_state_kept_here(
    store: Store, tmp_path: Path
) -> None:
    rescue = Rescue(tmp_path / "here", INFO)
    writer = CheckpointWriter(store, keep=2, age_limit_s=60.0, rescue=rescue)
    store.gate.clear()
    writer.save(RunState(step=2), SNAPSHOTS, _rows(0, 1))
    begun_s = time.monotonic()
    told = writer.finish(until=begun_s + 0.05)
    writer.close()
    assert time.monotonic() - begun_s < 5.0
    assert "had not taken it in time" in told
    assert str(tmp_path / "here") in told
    store.gate.set()


def test_a_slow_store_is_busy_and_not_waited_for(store: Store) -> None:
    writer = _writer(store, [0.0])
    store.gate.clear()
    writer.save(RunState(step=1), SNAPSHOTS, _rows(0))
    assert writer.is_busy
    store.gate.set()
    writer.finish()
    assert not writer.is_busy
    writer.close()


def test_the_memory_of_a_snapshot_is_spare_once_it_is_published_and_only_once(store: Store) -> None:
    writer = _writer(store, [0.0])
    store.gate.clear()
    writer.save(RunState(step=2), SNAPSHOTS, _rows(0, 1))
    assert writer.take_spare() == {}
    store.gate.set()
    writer.settle()
    assert writer.take_spare() == SNAPSHOTS
    assert writer.take_spare() == {}
    writer.close()


def test_the_memory_of_a_snapshot_that_was_not_published_is_never_spare(store: Store) -> None:
    writer = _writer(store, [0.0])
    store.fails = True
    writer.save(RunState(step=2), SNAPSHOTS, _rows(0, 1))
    writer.settle()
    assert writer.take_spare() == {}
    writer.close()
