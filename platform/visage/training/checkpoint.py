"""Checkpoints: written beside training, published by the commit protocol, trusted only when whole.

A checkpoint's ledger segment is committed before the checkpoint itself, so a visible checkpoint
always has its full history. Restoring walks from the newest to the oldest and takes the first
whose every part matches its checksum, naming those it had to skip. Rows of the ledger leave memory
only after their segment was published.
"""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from visage.data.ledger import LedgerRow, to_parquet
from visage.errors import CorruptError, StoreError, TrainingError
from visage.faultpoints import fault_point
from visage.store.base import Store
from visage.store.commit import MARKER, commit, read_commit, read_part
from visage.training.state import Best, RunState
from visage.training.tensors import Snapshot, snapshot_bytes

if TYPE_CHECKING:
    from visage.training.rescue import Rescue

__all__ = [
    "CheckpointWriter",
    "Restored",
    "Skipped",
    "list_checkpoints",
    "read_checkpoint",
    "read_state",
    "restore",
]

log = logging.getLogger(__name__)
STATE_PART = "state.json"
WRITE_LIMIT_S = 3600.0
LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A published checkpoint that cannot be used."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a run continues from."""

    name: str
    state: RunState
    parts: dict[str, bytes]
    """Safetensors bytes by part name, without the suffix."""
    skipped: tuple[Skipped, ...] = ()
    """Newer checkpoints that were not whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What was handed over last and is not known to be published."""

    name: str
    state: RunState
    snapshots: dict[str, Snapshot]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    name: str
    step: int
    ledger: str


def list_checkpoints(store: Store) -> list[str]:
    """Names of the published checkpoints, oldest first."""
    names = []
    for item in store.list("checkpoints/"):
        parts = item.key.split("/")
        if len(parts) == 3 and parts[2] == MARKER:
            names.append(parts[1])
    return sorted(names)


def restore(store: Store) -> Restored | None:
    """The newest checkpoint that is whole, or None if there is none; it names those it skipped."""
    skipped: list[Skipped] = []
    for name in reversed(list_checkpoints(store)):
        try:
            found = read_checkpoint(store, name)
            return replace(found, skipped=tuple(skipped))
        except CorruptError as err:
            log.warning("checkpoint %s skipped: %s; trying the one before", name, err)
            skipped.append(Skipped(name=name, reason=str(err)))
    if skipped:
        reasons = "; ".join(one.reason for one in skipped)
        raise CorruptError(
            f"{store.uri}: none of the {len(skipped)} checkpoints is whole: {reasons}. Restore one "
            "of them from a backup, or train anew under another --name"
        )
    return None


def read_checkpoint(store: Store, name: str) -> Restored:
    """One checkpoint by name, every part checked."""
    prefix = f"checkpoints/{name}"
    found = read_commit(store, prefix)
    if found is None:
        raise CorruptError(f"{store.uri}/{prefix}: not published")
    bodies = {part: read_part(store, prefix, part) for part in found.parts if part != STATE_PART}
    state = read_state(store, name)
    parts = {part.removesuffix(".safetensors"): body for part, body in bodies.items()}
    return Restored(name=name, state=state, parts=parts)


def read_state(store: Store, name: str) -> RunState:
    """The position and history in a checkpoint, without its weights."""
    prefix = f"checkpoints/{name}"
    return RunState.from_json(read_part(store, prefix, STATE_PART), origin=f"{store.uri}/{prefix}")


class CheckpointWriter:
    """Publishes snapshots from one background thread; at most one is under way."""

    def __init__(
        self,
        store: Store,
        *,
        keep: int,
        age_limit_s: float,
        rescue: Rescue | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._keep, self._age_limit_s, self._clock = store, keep, age_limit_s, clock
        self._rescue = rescue
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._under_way: Future[_Written] | None = None
        self._unpublished: list[LedgerRow] = []
        self._last_success_s = clock()
        self._waiting_since_s = math.inf
        self._problem = ""
        self._held: _Held | None = None
        self._spare: dict[str, Snapshot] = {}
        self._is_stuck = False
        self.is_overdue = False
        """Found when a write was settled: nothing was published within the age limit."""
        self.newest: str | None = None
        """Name of the newest checkpoint published by this writer."""
        self.ledger: str | None = None
        """Newest published ledger segment."""

    def resume_from(self, restored: Restored) -> None:
        """Continue the chain of a restored checkpoint."""
        self.newest, self.ledger = restored.name, restored.state.ledger

    def save(
        self,
        state: RunState,
        snapshots: Mapping[str, Snapshot],
        rows: list[LedgerRow],
    ) -> str:
        """Start to publish, once the write under way has ended; returns the checkpoint's name."""
        self.settle()
        held = self._hold(state, snapshots, rows)
        self._under_way = self._pool.submit(
            self._write, self._store, held, tuple(self._unpublished), self.ledger
        )
        return held.name

    @property
    def is_busy(self) -> bool:
        """Whether a write is under way; a save that can wait should come later then."""
        return self._under_way is not None and not self._under_way.done()

    @property
    def is_late(self) -> bool:
        """Whether a state has waited to be published for longer than the age limit."""
        return self._clock() - self._waiting_since_s >= self._age_limit_s

    def finish(self, *, until: float = math.inf) -> str:
        """Wait, until a time on the writer's clock, for what was handed over to be published.

        Returns nothing if it was, else what became of it: a copy on this machine's disk.
        """
        self.settle(until=until)
        return self._keep_here(self.take_problem()) if self._held else ""

    def give_up(
        self,
        problem: str,
        state: RunState,
        snapshots: Mapping[str, Snapshot],
        rows: list[LedgerRow],
    ) -> str:
        """Keep a state on this machine's disk, as the store takes none; says where."""
        self._hold(state, snapshots, rows)
        return self._keep_here(problem)

    def ends_before(self, asked: Callable[[], bool]) -> bool:
        """Wait for the write under way, as long as `settle` would; False once `asked` is true."""
        begun_s = time.monotonic()
        while self.is_busy and not self.is_late and time.monotonic() - begun_s < WRITE_LIMIT_S:
            assert self._under_way is not None
            wait([self._under_way], timeout=LOOK_EVERY_S)
            if self.is_busy and asked():
                return False
        return True

    def settle(self, *, until: float = math.inf) -> None:
        """Wait for the write under way, no longer than `until`, and take its result in."""
        if self._under_way is None:
            return
        under_way, self._under_way = self._under_way, None
        left_s = min(until, self._waiting_since_s + self._age_limit_s) - self._clock()
        limit_s = min(max(left_s, 0.0), WRITE_LIMIT_S)
        try:
            written = under_way.result(timeout=limit_s)
        except TimeoutError:
            self._is_stuck, self.is_overdue = True, self.is_late
            self._problem = "the store had not taken it in time"
            return
        except StoreError as err:
            age_s = self._clock() - self._last_success_s
            self.is_overdue = self.is_late
            log.warning("checkpoint not published (%s); the newest is %.0f s old", err, age_s)
            self._problem = f"{err}; the newest one is {age_s:.0f} s old"
            return
        self.newest, self.ledger = written.name, written.ledger
        self._unpublished = [row for row in self._unpublished if row.step >= written.step]
        self._last_success_s, self._waiting_since_s = self._clock(), math.inf
        if self._held and self._held.name == written.name:
            self._spare, self._held = self._held.snapshots, None

    def take_problem(self) -> str:
        """Why the last write failed, told once; empty if nothing did."""
        problem, self._problem = self._problem, ""
        return problem

    def take_spare(self) -> dict[str, Snapshot]:
        """The snapshots published last, for their memory; nobody reads them any more."""
        spare, self._spare = self._spare, {}
        return spare

    def close(self) -> None:
        """Finish what is under way and stop the thread."""
        self.settle(until=self._clock() if self._is_stuck else math.inf)
        self._pool.shutdown(wait=not self._is_stuck, cancel_futures=True)

    def _hold(
        self, state: RunState, snapshots: Mapping[str, Snapshot], rows: list[LedgerRow]
    ) -> _Held:
        self._unpublished += rows
        name = f"{state.step:010d}-{secrets.token_hex(3)}"
        self._waiting_since_s = min(self._waiting_since_s, self._clock())
        self._held = _Held(name=name, state=state, snapshots=dict(snapshots))
        return self._held

    def _keep_here(self, problem: str) -> str:
        """Write what is held to this machine's disk; what a person must know of it."""
        assert self._held is not None
        held, rows = self._held, tuple(self._unpublished)
        what = f"{self._store.uri}: the checkpoint of step {held.state.step} was not published"
        place = "no place is set for it"
        if self._rescue is not None:
            try:
                self._rescue.keep(lambda store: self._write(store, held, rows, self.ledger))
                return f"{what} ({problem}); {self._rescue.advice()}"
            except (StoreError, TrainingError) as err:
                place = str(err)
        return (
            f"{what} ({problem}), nor kept on this machine ({place}); mend the store and run the "
            f"same command again: it goes on from {self.newest or 'the checkpoint before'}"
        )

    def _write(
        self, store: Store, held: _Held, rows: tuple[LedgerRow, ...], parent: str | None
    ) -> _Written:
        fault_point("train.before_checkpoint")
        name, state = held.name, held.state
        segment = self._write_ledger(store, name, rows, parent)
        best = state.best
        if best is not None and not best.checkpoint:
            best = replace(best, checkpoint=name)
        saved = replace(state, ledger=segment, best=best)
        snapshots = held.snapshots.items()
        parts = {f"{part}.safetensors": snapshot_bytes(one) for part, one in snapshots}
        commit(store, f"checkpoints/{name}", {**parts, STATE_PART: saved.to_json()})
        fault_point("train.after_checkpoint")
        if store is self._store:
            self._prune(name, best)
        return _Written(name=name, step=state.step, ledger=segment)

    def _write_ledger(
        self, store: Store, name: str, rows: tuple[LedgerRow, ...], parent: str | None
    ) -> str:
        if not rows and parent is not None:
            return parent
        first = min((row.step for row in rows), default=0)
        segment = f"{first:010d}-{name}"
        metadata = {"parent": parent, "first_step": first}
        parts: dict[str, bytes] = {"ledger.parquet": to_parquet(rows)}
        commit(store, f"ledger/{segment}", parts, metadata=metadata)
        return segment

    def _prune(self, newest: str, best: Best | None) -> None:
        """Forget old checkpoints, marker first, so that no reader sees a torn one.

        Names after `newest` were found damaged when the run was resumed; they do not count.
        """
        names = [name for name in list_checkpoints(self._store) if name <= newest]
        for name in names[: -self._keep]:
            if best is not None and name == best.checkpoint:
                continue
            prefix = f"checkpoints/{name}/"
            self._store.delete(f"{prefix}{MARKER}")
            for item in list(self._store.list(prefix)):
                self._store.delete(item.key)
