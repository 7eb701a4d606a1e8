"""The whole life of a model with everything on s3://, by the commands a person types.

All requests pass a proxy that refuses one in twenty, and is down for 20 s while two workers train.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from corpora import SMALL_INPUT, small_train_spec
from fault_proxy import FaultProxy
from s3_server import S3Server

from visage.media.image import encode_jpeg
from visage.seeds import rng_of
from visage.store.open import open_store
from visage.tracking.backend import connect
from visage.training.checkpoint import list_checkpoints

pytestmark = [pytest.mark.chaos, pytest.mark.ray, pytest.mark.timeout(900)]
LIMIT_S = 300.0
OUTAGE_S = 20.0


@dataclass(frozen=True, slots=True)
class Life:
    """A corpus and a workspace on s3://, and a folder for what is not there."""

    root: str
    folder: Path
    proxy: FaultProxy

    @property
    def tracking_uri(self) -> str:
        """A database of this test."""
        return f"sqlite:///{self.folder / 'mlflow' / 'mlflow.db'}"

    def start(self, *words: str) -> subprocess.Popen[str]:
        """One verb in a process of its own, with its own Ray."""
        environment = {
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "VISAGE_WORKSPACE": f"{self.root}/work",
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "RAY_AUTH_MODE": "disabled",
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.Popen(
            [sys.executable, "-c", "from visage_jobs.cli import main; main()", *words],
            env={**os.environ, **environment}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *words: str) -> dict[str, Any]:
        """One verb to its end; what it printed as JSON."""
        return self.end(self.start(*words, "--json"))

    def end(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """Wait for a verb that must succeed."""
        said, errors = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, said + errors
        result: dict[str, Any] = json.loads(said)
        return result


@pytest.fixture
def life(
    s3_server: S3Server, s3_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Life]:
    """Faces of 48 pixels under s3://…/corpus, in the layout of FER2013."""
    store = open_store(f"{s3_uri}/corpus")
    for split in ("train", "test"):
        for index in range(24):
            rng = rng_of("life", split, index)
            picture = rng.integers(0, 256, (48, 48, 3), np.uint8)
            word = ("happy", "sad")[index % 2]
            store.put(f"{split}/{word}/{index:03d}.jpg", encode_jpeg(picture))
    with FaultProxy(s3_server.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        proxy.faults.refused_share = 0.05
        yield Life(s3_uri, tmp_path, proxy)


def _prepare(life: Life) -> dict[str, Any]:
    sizes = [f"--set=input.{key}={value}" for key, value in SMALL_INPUT.model_dump().items()]
    return life.run("prepare", f"{life.root}/corpus", "--set=rows_per_shard=8", *sizes)


def _train_words(life: Life, name: str, *, epochs: float) -> list[str]:
    preset = life.folder / f"{name}.yaml"
    spec = small_train_spec(epochs=epochs, checkpoint_every_steps=20).model_dump(mode="json")
    preset.write_text(yaml.safe_dump(spec))
    return ["train", "emotion", "--data", "corpus", "--name", name, "--preset", str(preset)]


def _await(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.1)


def test_prepare_train_evaluate_and_promote_on_s3_through_refusals_and_an_outage(
    life: Life,
) -> None:
    prepared = _prepare(life)
    assert sum(sum(row.values()) for row in prepared["counts"].values()) == 48
    assert _prepare(life)["reused"] == 48
    training = life.start(*_train_words(life, "run", epochs=60.0), "--json")
    run = f"{life.root}/work/runs/run"
    _await(lambda: list_checkpoints(open_store(run)), training)
    life.proxy.faults.is_down = True
    back = threading.Timer(OUTAGE_S, lambda: setattr(life.proxy.faults, "is_down", False))
    back.start()
    trained = life.end(training)
    back.join()
    assert life.proxy.count(0) > 0, "nothing was asked of the server while it was down"
    assert life.proxy.count(503) > 0
    assert trained["run"] == run
    assert life.run("verify-resume", "run")["exact"]
    evaluated = life.run("evaluate", "emotion", "--data", "corpus", "--model", "run")
    assert evaluated["rows"] == 24
    assert b"<html" in open_store(run.replace("runs/run", "")).get(
        evaluated["report"].removeprefix(f"{life.root}/work/")
    )
    promoted = life.run("promote", "run", "--force")
    assert promoted["moved"]
    client = connect(life.tracking_uri)
    tracked = client.get_run(trained["mlflow_run"])
    assert tracked.info.status == "FINISHED"
    assert tracked.data.metrics["train/store_retries"] > 0


def test_the_run_of_a_killed_driver_is_ended_by_the_doctor_and_taken_up_by_its_own_command(
    life: Life,
) -> None:
    _prepare(life)
    words = [*_train_words(life, "killed", epochs=60.0), "--json"]
    training = life.start(*words)
    run = f"{life.root}/work/runs/killed"
    _await(lambda: list_checkpoints(open_store(run)), training)
    os.kill(training.pid, signal.SIGKILL)
    training.communicate(timeout=LIMIT_S)
    client = connect(life.tracking_uri)
    experiment = client.get_experiment_by_name("emotion")

    def statuses() -> list[str]:
        return [one.info.status for one in client.search_runs([experiment.experiment_id])]

    assert statuses() == ["RUNNING"]
    life.start("doctor", "--json").communicate(timeout=LIMIT_S)
    assert statuses() == ["KILLED"]
    assert life.end(life.start(*words))["run"] == run
    assert statuses() == ["FINISHED"]
    assert life.run("verify-resume", "killed")["exact"]
