"""Prove from a run's ledger that its samples were consumed exactly as prescribed."""

from __future__ import annotations

from visage.data.ledger import LedgerReport, verify
from visage.data.sampler import Sampler
from visage.errors import TrainingError
from visage.store.open import open_store
from visage.training.checkpoint import restore
from visage.training.run_dir import ledger_chain, read_run

__all__ = ["verify_run"]


def verify_run(run_uri: str) -> LedgerReport:
    """Check the chain from a run's newest checkpoint back to its first step.

    Raises:
        NotFoundError: no run stands there.
        TrainingError: the run has no checkpoint yet.
    """
    store = open_store(run_uri)
    info = read_run(store)
    newest = restore(store)
    if newest is None:
        raise TrainingError(f"{run_uri}: no checkpoint yet, nothing to verify")
    sampler = Sampler(
        samples=info.samples,
        global_batch=int(info.spec["global_batch"]),
        seed=int(info.spec["seed"]),
    )
    rows = ledger_chain(store, newest.state.ledger)
    return verify(rows, sampler, steps=newest.state.step)
