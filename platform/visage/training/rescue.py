"""The newest state of a run on this machine's disk, for when its store does not take it in time.

    <state home>/visage/rescue/<run>-<digest>/     run.json, ledger/, checkpoints/: the run's layout

It is written by the run's own commit protocol, so its content copied into the run's folder is a
valid continuation of it. The next start of the run with a rank on this machine does just that, if
it is newer than what the store has and fits its history.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import socket
import uuid
from collections.abc import Callable
from pathlib import Path

from visage.errors import CorruptError, NotFoundError, StoreError, TrainingError
from visage.store.base import Store
from visage.store.commit import Commit, commit, read_commit, sha256_of
from visage.store.local import LocalStore
from visage.training.checkpoint import list_checkpoints, read_state
from visage.training.run_dir import RunInfo, open_run_dir, read_run

__all__ = ["Rescue", "rescue_folder"]

log = logging.getLogger(__name__)


def rescue_folder(run_uri: str) -> Path:
    """Where this machine keeps a run's state; `XDG_STATE_HOME` moves it."""
    home = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    uri = run_uri.rstrip("/")
    digest = hashlib.sha256(uri.encode()).hexdigest()[:12]
    return Path(home) / "visage" / "rescue" / f"{uri.rpartition('/')[2]}-{digest}"


class Rescue:
    """One run's place on this machine's disk."""

    def __init__(self, folder: Path, info: RunInfo) -> None:
        self._folder, self._info = folder, info

    def keep(self, write: Callable[[Store], object]) -> None:
        """Let `write` commit a checkpoint here; what was here before leaves.

        Raises:
            StoreError: this disk does not take it either.
        """
        shutil.rmtree(self._folder, ignore_errors=True)
        store = LocalStore(self._folder)
        open_run_dir(store, self._info)
        write(store)

    def advice(self) -> str:
        """What a person must know of the copy."""
        return (
            f"it is kept on {socket.gethostname()} in {self._folder}: run the same command again "
            "with a worker on that machine, once the store is back, and it goes on from there (or "
            "copy the content of that folder into the run's folder, from any machine)"
        )

    def adopt(self, store: Store) -> str:
        """Publish what is kept here in the run's store; the checkpoint's name, or nothing.

        Safe when several ranks of one machine do it at once.

        Raises:
            StoreError: the store does not answer.
        """
        if not self._folder.is_dir():
            return ""
        kept = LocalStore(self._folder)
        try:
            name = self._publish(kept, store)
        except (CorruptError, NotFoundError, TrainingError, FileNotFoundError) as err:
            if self._folder.is_dir():  # else another rank of this machine was quicker
                log.warning("%s: not used: %s", self._folder, err)
            return ""
        except StoreError:
            if self._folder.is_dir():
                raise
            return ""  # its files went while they were read: another rank was quicker
        self._drop()
        return name

    def _drop(self) -> None:
        """Take the copy away: all of it at once for whoever looks, then from the disk."""
        gone = self._folder.with_name(f".{self._folder.name}.{uuid.uuid4().hex[:8]}")
        with contextlib.suppress(OSError):  # another rank was quicker
            self._folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def _publish(self, kept: LocalStore, store: Store) -> str:
        there = read_run(kept)
        if (there.spec_digest, there.data_digest) != (
            self._info.spec_digest,
            self._info.data_digest,
        ):
            raise TrainingError("it is of a run with another spec or other data")
        newest, published = list_checkpoints(kept)[-1:], list_checkpoints(store)[-1:]
        if not newest:
            return ""
        name = newest[0]
        if published and published[0].partition("-")[0] >= name.partition("-")[0]:
            log.info("%s: step %s is in the store already", self._folder, name.partition("-")[0])
            return ""
        state = read_state(kept, name)
        if state.ledger is not None:
            self._publish_ledger(kept, store, state.ledger)
        prefix = f"checkpoints/{name}"
        commit(store, prefix, _checked(kept, prefix), metadata=_commit_of(kept, prefix).metadata)
        return name

    @staticmethod
    def _publish_ledger(kept: LocalStore, store: Store, segment: str) -> None:
        prefix = f"ledger/{segment}"
        if read_commit(kept, prefix) is None:  # no step was taken since the one in the store
            parent: str | None = segment
        else:
            parent = _commit_of(kept, prefix).metadata["parent"]
        if parent is not None and read_commit(store, f"ledger/{parent}") is None:
            raise TrainingError(f"its history {parent} is not in the store")
        if parent != segment:
            metadata = _commit_of(kept, prefix).metadata
            commit(store, prefix, _checked(kept, prefix), metadata=metadata)


def _commit_of(kept: LocalStore, prefix: str) -> Commit:
    found = read_commit(kept, prefix)
    if found is None:
        raise NotFoundError(f"{prefix} is not there")
    return found


def _checked(kept: LocalStore, prefix: str) -> dict[str, bytes | Path]:
    """The files of a commit by part name, each compared with its checksum."""
    files: dict[str, bytes | Path] = {}
    for name, part in _commit_of(kept, prefix).parts.items():
        files[name] = path = kept.path(f"{prefix}/{part.path}")
        if sha256_of(path) != part.sha256:
            raise CorruptError(f"{path}: bytes do not match the published sha256")
    return files
