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
from visage.store.commit import read_commit
from visage.store.open import open_store
from visage.training.checkpoint import list_checkpoints, restore
from visage.training.run_dir import ledger_chain

__all__ = ["LIMIT_S", "Site"]

LIMIT_S = 240.0


class Site:
    """A workspace with a tiny corpus and a preset, and the command that trains on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_corpus(folder / "data" / "tiny")
        for preset, epochs in (("short", 4.0), ("long", 40.0)):
            spec = small_train_spec(epochs=epochs).model_dump(mode="json")
            (folder / f"{preset}.yaml").write_text(yaml.safe_dump(spec))

    def start(
        self,
        name: str,
        *,
        preset: str = "short",
        workers: int = 2,
        data: str = "tiny",
        assign: Sequence[str] = (),
        **environment: str,
    ) -> subprocess.Popen[str]:
        """Run `visage train` in the background."""
        words = ["train", "emotion", "--data", data, "--name", name, "--workers", str(workers)]
        words += [word for one in assign for word in ("--set", one)]
        words += ["--preset", str(self.folder / f"{preset}.yaml"), "--workspace", str(self.folder)]
        return subprocess.Popen(
            [sys.executable, "-c", "from visage_jobs.cli import main; main()", *words],
            env={**os.environ, "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(
        self,
        name: str,
        *,
        preset: str = "short",
        workers: int = 2,
        data: str = "tiny",
        assign: Sequence[str] = (),
        **environment: str,
    ) -> tuple[int, str]:
        """Run it to its end; exit code and everything it said."""
        process = self.start(
            name, preset=preset, workers=workers, data=data, assign=assign, **environment
        )
        said, _ = process.communicate(timeout=LIMIT_S)
        return process.returncode, said

    def history(self, name: str) -> list[LedgerRow]:
        """The committed ledger."""
        store = open_store(str(self.folder / "runs" / name))
        newest = restore(store)
        assert newest is not None
        return ledger_chain(store, newest.state.ledger)

    def weights(self, name: str) -> str:
        """Checksum of the exported weights."""
        found = read_commit(open_store(str(self.folder / "runs" / name)), "model")
        assert found is not None
        return found.parts["model.safetensors"].sha256

    def newest_step(self, name: str) -> int:
        """How many steps the newest published checkpoint of a run has; 0 if there is none."""
        found = list_checkpoints(open_store(str(self.folder / "runs" / name)))
        return int(found[-1].partition("-")[0]) if found else 0

    def await_checkpoint(
        self, name: str, process: subprocess.Popen[str], *, beyond_step: int = 0
    ) -> None:
        """Until the run has published a checkpoint of a later step than the given one."""
        deadline = time.monotonic() + LIMIT_S
        while self.newest_step(name) <= beyond_step:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "no checkpoint in time"
            time.sleep(0.05)
