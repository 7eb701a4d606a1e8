"""The same promises on a real MLflow database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from visage.errors import TrackingError
from visage.tracking.backend import connect
from visage.tracking.runs import RunTiming, TrackedRun, open_run

QUIET = RunTiming(sample_every_s=0)


def steps_of(tracking_uri: str, run: TrackedRun, name: str = "train/loss") -> list[int]:
    history = connect(tracking_uri).get_metric_history(run.run_id, name)
    return sorted(metric.step for metric in history)


def reopen(tracking_uri: str, run_id: str, **more: Any) -> TrackedRun:
    return open_run(
        tracking_uri, experiment="emotion", name="try", run_id=run_id, timing=QUIET, **more
    )


def test_a_run_holds_spec_inputs_environment_and_artefacts_beside_the_database(
    tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "report.html"
    page.write_text("<p>hello")
    with reopen(tracking_uri, "job-1", params={"model": {"dropout": 0.5}}) as run:
        run.log_dataset("caer-s", "a" * 64, "s3://data/caer", "train", 100)
        run.log_artifact(page, "reports")
        run.log_metrics({"val/accuracy": 0.5}, step=10)
    client = connect(tracking_uri)
    stored = client.get_run(run.run_id)
    assert stored.info.status == "FINISHED"
    assert stored.data.params == {"model.dropout": "0.5"}
    assert {"visage.host", "visage.python", "visage.version.torch"} <= stored.data.tags.keys()
    dataset = stored.inputs.dataset_inputs[0]
    assert dataset.dataset.digest == "a" * 36
    assert "a" * 64 in dataset.dataset.source
    assert dataset.tags[0].value == "train"
    assert {file.path for file in client.list_artifacts(run.run_id)} == {"reports", "spec.yaml"}
    assert (tmp_path / "tracking" / "mlartifacts" / "emotion" / run.run_id).is_dir()
    assert not (tmp_path / "mlruns").exists()
    assert list((tmp_path / "tracking" / "spool").iterdir()) == []


def test_the_same_key_continues_the_run_and_repeats_no_step(tracking_uri: str) -> None:
    with reopen(tracking_uri, "job-1", params={"lr": 0.1}) as first:
        for step in range(10):
            first.log_metrics({"train/loss": 1.0}, step=step)
    with reopen(tracking_uri, "job-1", params={"lr": 0.2}) as second:
        assert connect(tracking_uri).get_run(second.run_id).info.status == "RUNNING"
        for step in range(5, 15):
            second.log_metrics({"train/loss": 2.0}, step=step)
    assert second.run_id == first.run_id
    assert steps_of(tracking_uri, second) == list(range(15))
    assert connect(tracking_uri).get_run(second.run_id).data.params == {"lr": "0.1"}


def test_the_id_of_mlflow_opens_the_run_just_as_the_key_does(tracking_uri: str) -> None:
    with reopen(tracking_uri, "job-1") as first:
        pass
    with reopen(tracking_uri, first.run_id) as second:
        pass
    assert second.run_id == first.run_id


def test_a_deleted_run_is_not_continued(tracking_uri: str) -> None:
    with reopen(tracking_uri, "job-1") as first:
        pass
    connect(tracking_uri).delete_run(first.run_id)
    with reopen(tracking_uri, "job-1") as second:
        pass
    assert second.run_id != first.run_id


def test_a_killed_process_loses_no_recorded_step_and_its_run_is_not_doubled(
    tracking_uri: str,
) -> None:
    code = (
        "import os, signal, sys\n"
        "from visage.tracking.runs import RunTiming, open_run\n"
        "slow = RunTiming(send_every_s=3600, sample_every_s=0)\n"
        "run = open_run(sys.argv[1], experiment='emotion', name='try', run_id='job', timing=slow)\n"
        "for step in range(20):\n"
        "    run.log_metrics({'train/loss': 1.0}, step=step)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tracking_uri], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    with reopen(tracking_uri, "job") as run:
        for step in range(15, 25):
            run.log_metrics({"train/loss": 1.0}, step=step)
    assert steps_of(tracking_uri, run) == list(range(25))
    client = connect(tracking_uri)
    experiment = client.get_experiment_by_name("emotion")
    assert len(client.search_runs([experiment.experiment_id])) == 1


def test_nan_is_a_value_like_any_other(tracking_uri: str) -> None:
    with reopen(tracking_uri, "job-1") as run:
        run.log_metrics({"train/loss": float("nan")}, step=1)
        run.log_metrics({"train/loss": float("inf")}, step=2)
    assert steps_of(tracking_uri, run) == [1, 2]


def test_a_server_that_is_not_there_delays_nothing_and_everything_waits_on_disk(
    tmp_path: Path,
) -> None:
    before = set(threading.enumerate())
    run = open_run(
        "http://127.0.0.1:9", experiment="e", name="n", run_id="k", spool_dir=tmp_path, timing=QUIET
    )
    run.log_metrics({"train/loss": 1.0}, step=1)
    run.finish()
    assert run.run_id == "k"
    assert not run.is_connected
    assert b"train/loss" in (tmp_path / "k.jsonl").read_bytes()
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "mlruns", "databricks", "ftp://x"])
def test_a_tracking_uri_of_another_kind_is_refused_with_what_to_write(
    uri: str, tmp_path: Path
) -> None:
    with pytest.raises(TrackingError, match="sqlite:///"):
        open_run(uri, experiment="e", name="n", spool_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_deleted_experiment_is_refused_at_the_start_and_leaves_no_spool(
    tracking_uri: str, tmp_path: Path
) -> None:
    client = connect(tracking_uri)
    client.delete_experiment(client.create_experiment("emotion"))
    with pytest.raises(TrackingError, match="bin"):
        reopen(tracking_uri, "job-1", spool_dir=tmp_path / "spool")
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize("key", ["../x", "a b", "", "x" * 200, "a'b"])
def test_a_key_that_could_be_a_path_or_a_filter_is_refused(
    tracking_uri: str, key: str, tmp_path: Path
) -> None:
    if key:
        with pytest.raises(TrackingError, match="run id"):
            reopen(tracking_uri, key)
    else:
        with reopen(tracking_uri, key) as run:  # no key is a new run
            pass
        assert len(run.run_id) == 32


def test_a_password_in_the_tracking_uri_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(TrackingError) as raised:
        open_run("ftp://me:secret@host", experiment="e", name="n", spool_dir=tmp_path)
    assert "secret" not in str(raised.value)


def test_nothing_is_printed(tracking_uri: str, capfd: pytest.CaptureFixture[str]) -> None:
    with reopen(tracking_uri, "job-1") as run:
        run.log_metrics({"train/loss": 1.0}, step=1)
    assert capfd.readouterr() == ("", "")


def test_importing_the_tracking_package_does_not_import_mlflow() -> None:
    code = (
        "import sys, visage.tracking.runs, visage.tracking.registry, visage.tracking.report\n"
        "sys.exit(any(name in sys.modules for name in ('mlflow', 'matplotlib', 'jinja2', 'ray')))"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )
