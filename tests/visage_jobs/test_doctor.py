from __future__ import annotations

import email.utils
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_tracking import empty_database, tracking_uri
from typer.testing import CliRunner

from visage.errors import StoreError
from visage.store.base import Stat
from visage.store.local import LocalStore
from visage.tracking.backend import connect
from visage.tracking.heartbeat import HEARTBEAT_TAG, Heartbeat
from visage.tracking.runs import open_run
from visage_jobs import doctor
from visage_jobs.cli import app
from visage_jobs.doctor import machine, packages, run_doctor, services
from visage_jobs.doctor.check import Check, fail, guarded, ok, warn
from visage_jobs.workspace import Workspace

__all__ = ["empty_database", "tracking_uri"]


@pytest.mark.parametrize(
    ("capability", "built_for", "runs"),
    [
        ((7, 0), ["sm_50", "sm_70", "sm_80"], True),
        ((7, 0), ["sm_75", "sm_80", "sm_90"], False),
        ((8, 6), ["sm_80"], True),
        ((8, 0), ["sm_86"], False),
        ((9, 0), ["sm_90a"], True),
        ((9, 0), ["sm_70", "compute_70"], True),
        ((7, 0), ["compute_90"], False),
        ((12, 0), ["sm_120"], True),
        ((7, 0), [], False),
        ((7, 0), ["gfx906", "sm_", "nonsense"], False),
    ],
)
def test_a_gpu_runs_code_of_its_own_generation_or_older_ptx(
    capability: tuple[int, int], built_for: list[str], runs: bool
) -> None:
    assert machine.arch_runs(capability, built_for) is runs


def test_a_v100_that_torch_forgot_is_told_which_build_to_install() -> None:
    check = machine._check_gpu("gpu 0", "Tesla V100", (7, 0), ["sm_75", "sm_80"])
    assert check.status == "fail"
    assert "cu126" in check.advice


def test_packages_outside_their_range_or_missing_are_named() -> None:
    installed = {"torch": "2.11.0", "numpy": "2.4.6"}
    lines = ["torch<2.15,>=2.13", "numpy<3,>=2.4", "mlflow>=3", 'optuna>=5; extra == "tune"']
    check = packages.check_ranges(lines, installed.get)
    assert check.status == "fail"
    assert "torch is 2.11.0" in check.found
    assert "mlflow is missing" in check.found
    assert "numpy" not in check.found
    assert "optuna" not in check.found


def test_local_builds_and_prereleases_count_as_their_version() -> None:
    assert packages.check_ranges(["torch<2.15,>=2.13"], lambda _: "2.13.0+cpu").status == "ok"


def test_this_environment_is_the_one_the_package_states() -> None:
    assert packages.check_python().status == "ok"
    assert packages.check_versions().status == "ok"


@pytest.mark.parametrize(
    ("guards", "status", "said"),
    [
        (["limits", "no-network namespace", "system call filter"], "ok", ""),
        (["limits", "system call filter"], "ok", ""),
        (["limits", "no-network namespace"], "warn", "open files"),
        (["limits"], "warn", "reach the network"),
    ],
)
def test_a_weaker_media_sandbox_is_told_with_what_it_leaves_open(
    guards: list[str], status: str, said: str
) -> None:
    check = machine.check_sandbox(lambda: guards)
    assert check.status == status
    assert said in check.advice


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")
def test_the_media_sandbox_of_this_machine_is_asked() -> None:
    assert "limits" in machine.check_sandbox().found


@pytest.mark.parametrize(
    ("limit", "status"), [(-1, "ok"), (65536, "ok"), (1024, "warn"), (256, "fail")]
)
def test_a_low_limit_of_open_files_is_worth_a_word(limit: int, status: str) -> None:
    assert machine.check_files(lambda: limit).status == status


def test_a_clock_that_stands_in_the_past_or_jumps_is_noticed() -> None:
    now_s = 1_800_000_000.0
    steady = machine.check_clock(wall=lambda: now_s, monotonic=lambda: 5.0, sleep=lambda _: None)
    assert steady.status == "ok"
    past = machine.check_clock(wall=lambda: 1e6, monotonic=lambda: 5.0, sleep=lambda _: None)
    assert past.status == "fail"
    walls = iter([now_s, now_s + 3600])
    jumped = machine.check_clock(
        wall=lambda: next(walls), monotonic=lambda: 5.0, sleep=lambda _: None
    )
    assert jumped.status == "warn"


def test_a_folder_that_does_not_exist_yet_is_measured_where_it_will_be(tmp_path: Path) -> None:
    assert machine.check_disk(tmp_path / "a" / "b").status in ("ok", "warn")


def test_missing_shared_memory_is_a_warning_not_a_crash(tmp_path: Path) -> None:
    assert machine.check_shared_memory(tmp_path / "none").status == "warn"


@pytest.mark.parametrize(
    ("skew_s", "status"), [(0, "ok"), (20, "ok"), (-60, "warn"), (60, "warn"), (-900, "fail")]
)
def test_the_clock_of_the_s3_server_is_compared(skew_s: float, status: str) -> None:
    now_s = 1_800_000_000.0
    stated = email.utils.formatdate(now_s - skew_s, usegmt=True)
    check = services.check_skew("http://s3", ask=lambda _: stated, wall=lambda: now_s)
    assert check.status == status


def test_an_endpoint_that_says_nothing_is_a_warning() -> None:
    assert services.check_skew("http://127.0.0.1:9").status == "warn"


def test_a_healthy_store_is_exercised_and_left_as_it_was(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("mine", b"x")
    check = services.check_store(store, with_multipart=True)
    assert check.status == "ok"
    assert "put-if-absent" in check.found
    assert [stat.key for stat in store.list()] == ["mine"]


class Careless(LocalStore):
    """A store that overwrites, as servers without conditional writes do."""

    def put(self, key: str, body: bytes) -> None:
        self.replace(key, body)


class ReadOnly(LocalStore):
    """A store whose policy forbids writing."""

    def put(self, key: str, body: bytes) -> None:
        raise StoreError(f"put {key}: access denied")


class Clinging(LocalStore):
    """A store whose policy forbids deleting."""

    def delete(self, key: str) -> None:
        raise StoreError(f"delete {key}: access denied")


class Blind(LocalStore):
    """A store whose policy forbids listing."""

    def list(self, prefix: str = "") -> Iterator[Stat]:
        raise StoreError("list: access denied")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Careless, "put-if-absent"),
        (ReadOnly, "access denied"),
        (Clinging, "delete"),
        (Blind, "list: access denied"),
    ],
)
def test_a_store_that_lacks_a_right_or_a_promise_fails_and_says_which(
    tmp_path: Path, kind: type[LocalStore], words: str
) -> None:
    check = services.check_store(kind(tmp_path), with_multipart=False)
    assert check.status == "fail"
    assert words in check.found
    assert check.advice


def test_a_tracking_database_that_exists_answers_and_one_that_does_not_is_not_made(
    tracking_uri: str, tmp_path: Path
) -> None:
    assert services.check_tracking(tracking_uri).status == "ok"
    absent = tmp_path / "new" / "mlflow.db"
    assert services.check_tracking(f"sqlite:///{absent}").status == "ok"
    assert not absent.parent.exists()


def test_the_look_at_the_tracking_server_ends_runs_of_dead_processes(tracking_uri: str) -> None:
    with open_run(tracking_uri, experiment="emotion", name="n", run_id="k") as run:
        pass
    client = connect(tracking_uri)
    client.set_tag(
        run.run_id, HEARTBEAT_TAG, Heartbeat(machine="", pid=1, started="", time_s=1000.0).to_text()
    )
    client.update_run(run.run_id, status="RUNNING")
    assert "1 runs of dead processes ended" in services.check_tracking(tracking_uri).found
    assert client.get_run(run.run_id).info.status == "KILLED"


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "file:///nowhere"])
def test_a_tracking_server_that_is_not_there_fails_with_what_to_check(uri: str) -> None:
    check = services.check_tracking(uri)
    assert check.status == "fail"
    assert "MLFLOW_TRACKING_URI" in check.advice


def test_a_check_that_breaks_is_a_failed_check_and_the_others_still_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> list[Check]:
        raise RuntimeError("surprise")

    groups = [("one", broken), ("two", lambda: [ok("two", "fine")])]
    monkeypatch.setattr(doctor, "_groups", lambda workspace: groups)
    found = run_doctor(Workspace("w"))
    assert [(check.name, check.status) for check in found] == [("one", "fail"), ("two", "ok")]
    assert "surprise" in found[0].found
    assert guarded("x", lambda: [ok("x", "")])[0].status == "ok"


@pytest.mark.parametrize(
    ("checks", "code"),
    [
        ([ok("a", "x")], 0),
        ([ok("a", "x"), warn("b", "y", "do")], 0),
        ([warn("b", "y", "do"), fail("c", "[z]", "do [this]")], 1),
    ],
)
def test_the_verb_exits_with_1_exactly_if_something_failed(
    monkeypatch: pytest.MonkeyPatch, checks: list[Check], code: int
) -> None:
    monkeypatch.setattr(doctor, "run_doctor", lambda workspace: checks)
    printed = CliRunner().invoke(app, ["doctor", "--json"])
    assert printed.exit_code == code
    assert [check["status"] for check in json.loads(printed.stdout)["checks"]] == [
        check.status for check in checks
    ]
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == code
    for check in checks:
        assert check.found in shown.stdout
        assert check.advice in shown.stdout


def test_importing_the_verb_imports_nothing_heavy() -> None:
    import subprocess

    code = (
        "import sys, visage_jobs.cli.doctor, visage_jobs.cli.promote\n"
        "sys.exit(any(n in sys.modules for n in ('torch', 'ray', 'mlflow', 'numpy', 'rich')))"
    )
    started = time.monotonic()
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
    assert time.monotonic() - started < 30
