"""Real processes, really killed: two workers on Ray, and the run equals the unbroken one.

Every run is the command that a person would type, in a process of its own with its own Ray.
"""

from __future__ import annotations

import os
import signal

import pytest
from train_site import LIMIT_S, Site

from visage.training.verify import verify_run

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]


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


@pytest.mark.chaos
def test_the_driver_killed_in_mid_epoch_continues_with_the_same_command(site: Site) -> None:
    process = site.start("driver-killed")
    site.await_checkpoint("driver-killed", process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=LIMIT_S)
    assert not (site.folder / "runs" / "driver-killed" / "model").exists(), "killed too late"
    code, said = site.run("driver-killed")
    assert code == 0, said
    _equals_the_unbroken_run(site, "driver-killed")


@pytest.mark.chaos
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
    tracked = [run.info.run_name for run in client.search_runs([experiment.experiment_id])]
    submitted = [run.name for run in (site.folder / "runs").iterdir()]
    assert sorted(tracked) == sorted(submitted)
    assert "unbroken" in submitted
