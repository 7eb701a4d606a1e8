"""The writer beside training: slow or failing stores delay saves, never lose rows of the ledger."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from visage.data.ledger import LedgerRow
from visage.errors import StoreError, StoreUnavailableError
from visage.store.local import LocalStore
from visage.training.checkpoint import CheckpointWriter, list_checkpoints
from visage.training.run_dir import ledger_chain
from visage.training.state import RunState
from visage.training.tensors import Snapshot

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
    with pytest.raises(StoreUnavailableError, match="run the same command again"):
        writer.finish()
    writer.close()


def test_training_goes_on_until_the_newest_checkpoint_is_too_old(store: Store) -> None:
    now_s = [0.0]
    writer = _writer(store, now_s)
    store.fails = True
    now_s[0] = 59.0
    writer.save(RunState(step=2), SNAPSHOTS, _rows(0, 1))
    writer.settle()
    now_s[0] = 61.0
    writer.save(RunState(step=4), SNAPSHOTS, _rows(2, 3))
    with pytest.raises(StoreUnavailableError, match="61 s"):
        writer.settle()
    writer.close()


def test_a_slow_store_is_busy_and_not_waited_for(store: Store) -> None:
    writer = _writer(store, [0.0])
    store.gate.clear()
    writer.save(RunState(step=1), SNAPSHOTS, _rows(0))
    assert writer.is_busy
    store.gate.set()
    writer.finish()
    assert not writer.is_busy
    writer.close()
