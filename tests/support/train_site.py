"""A workspace with a tiny corpus, and `visage train` as a person would type it, in a process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml
from corpora import small_train_spec, write_corpus

from visage.data.ledger import LedgerRow
from visage.store.base import Store
from visage.store.commit import read_commit
from visage.store.open import open_store
from visage.training.checkpoint import list_checkpoints, restore
from visage.training.run_dir import ledger_chain

__all__ = ["LIMIT_S", "Site"]

LIMIT_S = 240.0


class Site:
    """A workspace with a tiny corpus and a preset, and the command that trains on it."""

    def __init__(self, folder: Path, root: str | None = None) -> None:
        self.folder, self.root = folder, root or str(folder)
        self._started: list[subprocess.Popen[str]] = []
        write_corpus(f"{self.root}/data/tiny")
        for preset, epochs in (("short", 4.0), ("long", 40.0)):
            spec = small_train_spec(epochs=epochs).model_dump(mode="json")
            (folder / f"{preset}.yaml").write_text(yaml.safe_dump(spec))

    def start(
        self,
        name: str,
        *,
        preset: str = "short",
        workers: int = 2,
        recipe: str = "emotion",
        data: str = "tiny",
        assign: Sequence[str] = (),
        **environment: str,
    ) -> subprocess.Popen[str]:
        """Run `visage train` in the background."""
        words = ["train", recipe, "--data", data, "--name", name, "--workers", str(workers)]
        words += [word for one in assign for word in ("--set", one)]
        chosen = preset if recipe != "emotion" else str(self.folder / f"{preset}.yaml")
        words += ["--preset", chosen, "--workspace", self.root]
        process = subprocess.Popen(
            [sys.executable, "-c", "from visage_jobs.cli import main; main()", *words],
            env={
                **os.environ,
                "RAY_AUTH_MODE": "disabled",
                "RAY_worker_niceness": "0",  # else other work of the machine starves them
                "OMP_NUM_THREADS": "1",
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End what a failed test left running."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait(timeout=30.0)

    def run(
        self,
        name: str,
        *,
        preset: str = "short",
        workers: int = 2,
        recipe: str = "emotion",
        data: str = "tiny",
        assign: Sequence[str] = (),
        **environment: str,
    ) -> tuple[int, str]:
        """Run it to its end; exit code and everything it said."""
        process = self.start(
            name,
            preset=preset,
            workers=workers,
            recipe=recipe,
            data=data,
            assign=assign,
            **environment,
        )
        said, _ = process.communicate(timeout=LIMIT_S)
        return process.returncode, said

    def run_uri(self, name: str) -> str:
        """Where a run lies."""
        return f"{self.root}/runs/{name}"

    def _store(self, name: str) -> Store:
        return open_store(self.run_uri(name))

    def history(self, name: str) -> list[LedgerRow]:
        """The committed ledger."""
        store = self._store(name)
        newest = restore(store)
        assert newest is not None
        return ledger_chain(store, newest.state.ledger)

    def weights(self, name: str) -> str:
        """Checksum of the exported weights."""
        found = read_commit(self._store(name), "model")
        assert found is not None
        return found.parts["model.safetensors"].sha256

    def newest_step(self, name: str) -> int:
        """How many steps the newest published checkpoint of a run has; 0 if there is none."""
        return max(self.steps(name), default=0)

    def steps(self, name: str) -> list[int]:
        """The steps of the published checkpoints of a run."""
        return [int(one.partition("-")[0]) for one in list_checkpoints(self._store(name))]

    def await_checkpoint(
        self, name: str, process: subprocess.Popen[str], *, beyond_step: int = 0
    ) -> None:
        """Until the run has published a checkpoint of a later step than the given one."""
        deadline = time.monotonic() + LIMIT_S
        while self.newest_step(name) <= beyond_step:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "no checkpoint in time"
            time.sleep(0.05)
