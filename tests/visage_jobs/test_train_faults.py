"""Real processes, really killed: two workers on Ray, and the run equals the unbroken one.

Every run is the command that a person would type, in a process of its own with its own Ray.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from corpora import small_train_spec, write_corpus

from visage.data.ledger import LedgerRow
from visage.store.commit import read_commit
from visage.store.open import open_store
from visage.training.checkpoint import list_checkpoints, restore
from visage.training.run_dir import ledger_chain
from visage.training.verify import verify_run

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]
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
        self, name: str, *, preset: str = "short", **environment: str
    ) -> subprocess.Popen[str]:
        """Run `visage train` in the background."""
        words = ["train", "emotion", "--data", "tiny", "--name", name, "--workers", "2"]
        words += ["--preset", str(self.folder / f"{preset}.yaml"), "--workspace", str(self.folder)]
        return subprocess.Popen(
            [sys.executable, "-c", "from visage_jobs.cli import main; main()", *words],
            env={**os.environ, "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, name: str, *, preset: str = "short", **environment: str) -> tuple[int, str]:
        """Run it to its end; exit code and everything it said."""
        process = self.start(name, preset=preset, **environment)
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

    def await_checkpoint(self, name: str, process: subprocess.Popen[str]) -> None:
        """Until the run has published its first checkpoint."""
        store = open_store(str(self.folder / "runs" / name))
        deadline = time.monotonic() + LIMIT_S
        while not list_checkpoints(store):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "no checkpoint in time"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    made = Site(tmp_path_factory.mktemp("faults"))
    code, said = made.run("unbroken")
    assert code == 0, said
    return made


def _equals_the_unbroken_run(site: Site, name: str) -> None:
    report = verify_run(str(site.folder / "runs" / name))
    assert report.is_exact, report.problems
    assert report.worlds == (2,)
    assert site.history(name) == site.history("unbroken")
    assert site.weights(name) == site.weights("unbroken")


def test_a_worker_killed_in_mid_epoch_costs_nothing_but_time(site: Site) -> None:
    code, said = site.run(
        "worker-killed",
        VISAGE_FAULT_POINT="train.after_step@8",
        VISAGE_FAULT_ONCE=str(site.folder / "died"),
    )
    assert code == 0, said
    assert (site.folder / "died").exists(), "the fault never struck"
    assert "worker group restarts" in said
    _equals_the_unbroken_run(site, "worker-killed")


def test_the_driver_killed_in_mid_epoch_continues_with_the_same_command(site: Site) -> None:
    process = site.start("driver-killed")
    site.await_checkpoint("driver-killed", process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=LIMIT_S)
    assert not (site.folder / "runs" / "driver-killed" / "model").exists(), "killed too late"
    code, said = site.run("driver-killed")
    assert code == 0, said
    _equals_the_unbroken_run(site, "driver-killed")


def test_sigterm_saves_exits_75_and_the_same_command_continues(site: Site) -> None:
    process = site.start("stopped", preset="long")
    site.await_checkpoint("stopped", process)
    os.kill(process.pid, signal.SIGTERM)
    said, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 75, said
    stopped_at = len(site.history("stopped")) // 2
    code, said = site.run("stopped", preset="long")
    assert code == 0, said
    assert f"continuing after step {stopped_at}" in said
    assert verify_run(str(site.folder / "runs" / "stopped")).is_exact


def test_every_resubmission_wrote_to_one_tracked_run(site: Site) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{site.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("emotion")
    assert experiment is not None
    names = [run.info.run_name for run in client.search_runs([experiment.experiment_id])]
    assert sorted(names) == ["driver-killed", "stopped", "unbroken", "worker-killed"]
