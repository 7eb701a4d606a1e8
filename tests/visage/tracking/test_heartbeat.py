"""A run whose process died ends as KILLED; one whose process lives, however silent, does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from visage.tracking.backend import connect
from visage.tracking.heartbeat import HEARTBEAT_TAG, Heartbeat, reap_dead_runs
from visage.tracking.runs import RunTiming, TrackedRun, open_run

QUIET = RunTiming(sample_every_s=0)
WRITER = """
import sys, time
from visage.tracking.runs import RunTiming, open_run
timing = RunTiming(send_every_s=0.05, beat_every_s=0.1, sample_every_s=0)
run = open_run(sys.argv[1], experiment="emotion", name="writer", run_id="writer", timing=timing)
run.log_metrics({"train/loss": 1.0}, step=1)
run.flush()
print(run.run_id, flush=True)
time.sleep(120)
"""


def _open(tracking_uri: str, key: str, timing: RunTiming = QUIET) -> TrackedRun:
    return open_run(tracking_uri, experiment="emotion", name=key, run_id=key, timing=timing)


def _info(tracking_uri: str, run_id: str) -> Any:
    return connect(tracking_uri).get_run(run_id).info


def _beat(tracking_uri: str, run_id: str) -> Heartbeat:
    found = Heartbeat.from_text(connect(tracking_uri).get_run(run_id).data.tags[HEARTBEAT_TAG])
    assert found is not None
    return found


def test_a_running_process_is_alive_however_long_it_was_silent() -> None:
    beat = Heartbeat.now(1000.0)
    assert not beat.is_dead(1000.0 + 1e6)
    assert Heartbeat.from_text(beat.to_text()) == beat


def test_a_process_id_that_now_belongs_to_another_process_is_a_death() -> None:
    assert replace(Heartbeat.now(1000.0), started="1").is_dead(1000.0)


def test_a_process_that_ended_is_dead_at_once_also_while_nobody_took_its_status() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    stat = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    beat = replace(Heartbeat.now(1000.0), pid=child.pid, started=stat[19])
    assert not beat.is_dead(1000.0)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
    assert beat.is_dead(1000.0)
    child.communicate()
    assert beat.is_dead(1000.0)


def test_on_another_machine_only_long_silence_is_a_death() -> None:
    beat = replace(Heartbeat.now(1000.0), machine="elsewhere")
    assert not beat.is_dead(1000.0 + 899)
    assert beat.is_dead(1000.0 + 901)


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"pid": 1}'])
def test_what_is_no_sign_of_life_is_none(text: str) -> None:
    assert Heartbeat.from_text(text) is None


def test_the_run_of_a_killed_process_is_ended_by_the_next_job_and_by_nothing_else(
    tracking_uri: str,
) -> None:
    """Ends at its last sign of life; a run without one, of other software, stays as it is."""
    client = connect(tracking_uri)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, tracking_uri], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    run_id = writer.stdout.readline().strip()
    experiment = client.get_experiment_by_name("emotion")
    foreign = client.create_run(experiment.experiment_id).info.run_id
    assert reap_dead_runs(tracking_uri, "emotion") == []
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate(timeout=20)
    beat = _beat(tracking_uri, run_id)
    with _open(tracking_uri, "next") as following:
        assert _info(tracking_uri, run_id).status == "KILLED"
        assert _info(tracking_uri, run_id).end_time == int(beat.time_s * 1000)
        assert _info(tracking_uri, foreign).status == "RUNNING"
        assert _info(tracking_uri, following.run_id).status == "RUNNING"


def test_the_resubmitted_command_takes_its_own_dead_run_up_again(tracking_uri: str) -> None:
    with _open(tracking_uri, "job") as first:
        pass
    client = connect(tracking_uri)
    dead = replace(Heartbeat.now(time.time()), started="1")
    client.set_tag(first.run_id, HEARTBEAT_TAG, dead.to_text())
    client.update_run(first.run_id, status="RUNNING")
    with _open(tracking_uri, "job") as again:
        assert again.run_id == first.run_id
        assert reap_dead_runs(tracking_uri, "emotion") == []
        assert _info(tracking_uri, again.run_id).status == "RUNNING"
    assert _info(tracking_uri, again.run_id).status == "FINISHED"


def test_signs_of_life_go_on_while_nothing_is_logged(tracking_uri: str) -> None:
    clock = [100.0]
    timing = RunTiming(
        sample_every_s=0, send_every_s=3600, clock=lambda: clock[0], wall_clock=lambda: clock[0]
    )
    with _open(tracking_uri, "job", timing) as run:
        for now_s in (131.0, 162.0):
            clock[0] = now_s
            run.flush()
            assert _beat(tracking_uri, run.run_id).time_s == now_s


def test_a_run_ended_while_its_server_was_out_of_reach_runs_again_when_it_is_back(
    tracking_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    timing = RunTiming(sample_every_s=0, send_every_s=3600)
    with _open(tracking_uri, "job", timing) as run:
        client = connect(tracking_uri)
        with monkeypatch.context() as away:
            away.setattr(type(client), "log_batch", _unreachable)
            run.log_metrics({"train/loss": 1.0}, step=1)
            assert not run.flush(force=True)
        client.set_terminated(run.run_id, "KILLED")
        assert run.flush(force=True)
        assert _info(tracking_uri, run.run_id).status == "RUNNING"
    assert _info(tracking_uri, run.run_id).status == "FINISHED"


def _unreachable(*_: object, **__: object) -> None:
    raise ConnectionError("no route")


def test_an_experiment_that_does_not_exist_has_no_dead_runs(tracking_uri: str) -> None:
    assert reap_dead_runs(tracking_uri, "never") == []
