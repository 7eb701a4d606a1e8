"""Real searches on Ray: trials are ordinary runs, a failed one is named, a kill costs only time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from corpora import small_train_spec, write_corpus

from visage.errors import DataError, NotFoundError, SpecError, TrainingError
from visage.specs.generator import GeneratorTrainSpec
from visage.specs.train import EmotionTrainSpec
from visage.specs.tune import TuneSpec
from visage.store.commit import read_commit
from visage.store.open import open_store
from visage.training.checkpoint import list_checkpoints
from visage.training.verify import verify_run
from visage.tuning.journal import Journal, read_events
from visage_jobs.tune import TuneJob, run_tune

LIMIT_S = 240.0
SPACE = {"optimizer.lr": {"choice": [0.05, 0.02]}, "model.dropout": {"uniform": [0.1, 0.4]}}


def made_job(folder: Path, **changes: Any) -> TuneJob:
    """A grid of four trials of two epochs each."""
    spec = {"space": SPACE, "trials": 4, "searcher": "grid", "grid_points": 2, "epochs": 2.0}
    spec |= {"asha": None, **changes.pop("spec", {})}
    values: dict[str, Any] = {
        "recipe": "emotion",
        "spec": TuneSpec.parse(spec),
        "base": small_train_spec(),
        "data_uri": str(folder / "data" / "tiny"),
        "search_uri": str(folder / "runs" / "search"),
        "tracking_uri": f"sqlite:///{folder / 'mlflow.db'}",
    }
    return TuneJob(**{**values, **changes})


def ended(folder: Path) -> Counter[tuple[str, int]]:
    """How often each trial was said to have ended, and how."""
    events = read_events(open_store(str(folder / "runs" / "search")))
    return Counter(
        (one["event"], one["trial"]) for one in events if one["event"] in ("finished", "failed")
    )


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_trials_are_ordinary_runs_and_the_best_spec_trains_the_best_model(tmp_path: Path) -> None:
    """One trial cannot be trained; the search goes on and says why."""
    from mlflow import MlflowClient

    write_corpus(tmp_path / "data" / "tiny")
    space = {**SPACE, "optimizer.lr": {"choice": [0.05, 1e30]}}
    job = made_job(tmp_path, spec={"space": space, "trials": 3})
    done = run_tune(job)
    assert [one.state for one in done.trials] == ["finished", "finished", "failed"]
    assert "loss is nan" in done.trials[2].reason
    assert ended(tmp_path) == {("finished", 0): 1, ("finished", 1): 1, ("failed", 2): 1}
    best = read_commit(open_store(str(tmp_path / "runs" / "search" / done.best.name)), "model")
    assert best is not None
    assert best.metadata["score"] == done.best.score(job.spec)
    assert (
        EmotionTrainSpec.load(Path(done.best_preset_uri)).digest() == best.metadata["spec_digest"]
    )
    for one in done.trials[:2]:
        assert verify_run(str(tmp_path / "runs" / "search" / one.name)).is_exact

    client = MlflowClient(job.tracking_uri)
    experiment = client.get_experiment_by_name("emotion-tune")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"search", "trial-0000", "trial-0001", "trial-0002"}
    assert runs["search"].info.run_id == done.mlflow_run
    assert runs["search"].data.tags["visage.best_trial"] == done.best.name
    states = {name: (run.info.status, run.data.tags.get("mlflow.parentRunId"))
              for name, run in runs.items()}  # fmt: skip
    assert states["trial-0001"] == ("FINISHED", done.mlflow_run)
    assert states["trial-0002"] == ("FAILED", done.mlflow_run)

    again = run_tune(job)
    assert (again.reused, again.trials) == (3, done.trials)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_smaller_than_one_trial_is_refused_in_seconds(tmp_path: Path) -> None:
    write_corpus(tmp_path / "data" / "tiny")
    begun_s = time.monotonic()
    with pytest.raises(SpecError, match="one trial takes 8 CPUs, the cluster has 4"):
        run_tune(made_job(tmp_path, workers=8))
    assert time.monotonic() - begun_s < 10.0


def test_what_cannot_be_searched_is_refused_before_ray_starts(tmp_path: Path) -> None:
    write_corpus(tmp_path / "data" / "tiny")
    write_corpus(tmp_path / "data" / "unvalidated", val=0)
    with pytest.raises(DataError, match="no validation split"):
        run_tune(made_job(tmp_path, data_uri=str(tmp_path / "data" / "unvalidated")))
    with pytest.raises(SpecError, match="no such key"):
        run_tune(made_job(tmp_path, spec={"space": {"optimizer.rate": {"uniform": [0, 1]}}}))
    asked = {"space": {"losses.style.mouth": {"uniform": [1, 9]}}}
    for metric, told in (("val/accuracy", "val/score"), ("val/lmd_px", "fixed.lmd_frames")):
        with pytest.raises(SpecError, match=told):
            run_tune(
                made_job(
                    tmp_path,
                    recipe="generator",
                    base=GeneratorTrainSpec(),
                    spec={**asked, "metric": metric},
                )
            )
    with pytest.raises(SpecError, match="not divisible by 3"):
        run_tune(made_job(tmp_path, workers=3))
    with pytest.raises(NotFoundError, match="no search to resume"):
        run_tune(made_job(tmp_path, resume=True))
    assert not (tmp_path / "runs").exists()


def test_an_unfinished_search_wants_resume_and_another_search_another_name(tmp_path: Path) -> None:
    from visage_jobs.tune import _open_search

    store = open_store(str(tmp_path / "runs" / "search"))
    key = _open_search(made_job(tmp_path), store, "digest")
    Journal.open(store).append({"event": "begun", "trial": 0, "values": {}})
    with pytest.raises(SpecError, match=r"1 of 4 trials begun .* --resume"):
        _open_search(made_job(tmp_path), store, "digest")
    assert _open_search(made_job(tmp_path, resume=True), store, "digest") == key
    with pytest.raises(TrainingError, match="differs in search"):
        _open_search(made_job(tmp_path, spec={"seed": 1}), store, "digest")
    with pytest.raises(TrainingError, match="differs in data"):
        _open_search(made_job(tmp_path), store, "other")


class Site:
    """A workspace with a tiny corpus, and the command that searches on it."""

    def __init__(self, folder: Path, *, epochs: float, trials: int, **changes: object) -> None:
        self.folder, self.runs = folder, folder / "runs" / "search"
        write_corpus(folder / "data" / "tiny")
        search = {"space": SPACE, "searcher": "grid", "grid_points": 2, "epochs": epochs}
        search |= {"asha": None, "trials": trials, "max_concurrent": 1, **changes}
        (folder / "search.yaml").write_text(yaml.safe_dump(search))
        train = small_train_spec().model_dump(mode="json")
        (folder / "train.yaml").write_text(yaml.safe_dump(train))

    def start(self, *more: str, **environment: str) -> subprocess.Popen[str]:
        """Run `visage tune` in the background."""
        words = ["tune", "emotion", "--data", "tiny", "--name", "search", "--json"]
        words += ["--preset", str(self.folder / "search.yaml"), "--workspace", str(self.folder)]
        words += ["--train-preset", str(self.folder / "train.yaml"), *more]
        return subprocess.Popen(
            [sys.executable, "-c", "from visage_jobs.cli import main; main()", *words],
            env={**os.environ, "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *more: str, **environment: str) -> tuple[int, str, str]:
        """Run it to its end."""
        process = self.start(*more, **environment)
        result, said = process.communicate(timeout=LIMIT_S)
        return process.returncode, result, said

    def await_checkpoint_after_a_finished_trial(self, process: subprocess.Popen[str]) -> str:
        """Until one trial has ended and the next has published a checkpoint."""
        deadline = time.monotonic() + LIMIT_S
        second = open_store(str(self.runs / "trial-0001"))
        while not ended(self.folder)["finished", 0] or not list_checkpoints(second):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "no checkpoint in time"
            time.sleep(0.05)
        assert not ended(self.folder)["finished", 1], "too late"
        return str(self.runs / "trial-0001")


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_search_killed_or_stopped_repeats_no_finished_trial(
    how: signal.Signals, tmp_path: Path
) -> None:
    site = Site(tmp_path, epochs=30.0, trials=3)
    process = site.start()
    site.await_checkpoint_after_a_finished_trial(process)
    os.kill(process.pid, how)
    _, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == (75 if how == signal.SIGTERM else -signal.SIGKILL), said
    first = (site.runs / "trial-0000" / "model" / "COMMIT").stat().st_mtime_ns
    code, _, said = site.run()
    assert (code, "--resume" in said) == (2, True)

    code, result, said = site.run("--resume")
    assert code == 0, said
    told = json.loads(result)
    assert told["reused"] == 1
    assert ended(tmp_path) == {("finished", n): 1 for n in range(3)}
    assert (site.runs / "trial-0000" / "model" / "COMMIT").stat().st_mtime_ns == first
    for number in range(3):
        assert verify_run(str(site.runs / f"trial-{number:04d}")).is_exact


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_trial_whose_process_dies_three_times_is_marked_failed(tmp_path: Path) -> None:
    site = Site(tmp_path, epochs=2.0, trials=1)
    code, _, said = site.run(VISAGE_FAULT_POINT="train.before_step@1")
    assert code == 1, said
    assert "crashed 3 times" in said
    assert ended(tmp_path) == {("failed", 0): 1}


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_a_killed_search_by_optuna_and_asha_over_masks_ends_as_one_parent_with_its_trials(
    tmp_path: Path,
) -> None:
    from mlflow import MlflowClient

    space = {
        "model.mask": {"choice": ["black", "mean", "noise"]},
        "optimizer.lr": {"log_uniform": [1e-5, 0.1]},
    }
    site = Site(
        tmp_path, epochs=4.0, trials=6, space=space, searcher="optuna",
        asha={"grace_epochs": 1, "reduction": 4},
        metric="val/loss",  # accuracies of so few pictures tie, and nobody is worse than a tie
    )  # fmt: skip
    process = site.start()
    deadline = time.monotonic() + LIMIT_S
    while not ended(tmp_path)["finished", 0]:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no trial in time"
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=LIMIT_S)
    code, result, said = site.run("--resume")
    assert code == 0, said
    told = json.loads(result)
    trials = told["trials"]
    assert len(trials) == 6
    states = Counter(one["state"] for one in trials)
    assert states["failed"] == 0
    assert states["stopped"] >= 1, "ASHA stopped nobody"
    assert {one["values"]["model.mask"] for one in trials} <= {"black", "mean", "noise"}
    assert len({one["values"]["model.mask"] for one in trials}) > 1

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("emotion-tune")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == ["search", *(f"trial-{number:04d}" for number in range(6))]
    parents = {run.data.tags.get("mlflow.parentRunId") for name, run in runs.items()
               if name != "search"}  # fmt: skip
    assert parents == {runs["search"].info.run_id}
    assert "RUNNING" not in {run.info.status for run in runs.values()}
    for number in range(6):
        assert verify_run(str(site.runs / f"trial-{number:04d}")).is_exact
