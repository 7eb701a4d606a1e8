"""What a whole run of two workers does while a server that it needs is away, or its keys expire.

Every run is the command that a person would type, against real servers.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_proxy import FaultProxy
from mlflow_server import MlflowProcess, Postgres, find_postgres
from s3_server import S3Server
from train_site import Site
from watched import await_true, begin

from visage.store.open import open_store
from visage.tracking.backend import connect
from visage.training.checkpoint import restore
from visage.training.verify import verify_run

pytestmark = [pytest.mark.ray, pytest.mark.chaos, pytest.mark.timeout(1200)]


def _tell(what: str, value: object) -> None:
    print(f"\nFIGURE {what}: {value}")


@pytest.fixture
def remote(
    s3_server: S3Server, s3_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tuple[Site, FaultProxy]]:
    """A workspace on s3:// behind a proxy; everything else is on this machine."""
    with FaultProxy(s3_server.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
        site = Site(tmp_path, s3_uri)
        yield site, proxy
        site.close()


AGE_LIMIT_S = 20.0
OFTEN = ("checkpoint_every_steps=null", "checkpoint_every_s=2",
         f"checkpoint_age_limit_s={AGE_LIMIT_S:.0f}", "validate_every_epochs=50")  # fmt: skip


def test_a_store_away_beyond_the_limit_loses_no_step_and_the_same_command_goes_on(
    remote: tuple[Site, FaultProxy], tmp_path: Path
) -> None:
    site, proxy = remote
    assign = [*OFTEN, "epochs=2000"]
    watched = begin(
        lambda: site.start("away", preset="long", assign=assign),
        lambda: site.newest_step("away") > 0,
    )
    newest, down = site.newest_step("away"), time.monotonic()
    proxy.faults.is_down = True
    code, ended = watched.end()
    assert code == 75, watched.said
    assert ended - down >= AGE_LIMIT_S, "it gave up before its limit"
    assert "worker group restarts" not in watched.said
    found = re.search(r"checkpoint of step (\d+) was not published .* it is kept on", watched.said)
    assert found, watched.said
    rescued = int(found.group(1))
    _tell("store down until exit 75", f"{ended - down:.0f} s")
    _tell("steps trained while it was down", rescued - newest)
    assert rescued > newest
    proxy.faults.is_down = False
    again = begin(
        lambda: site.start("away", preset="long", assign=assign),
        lambda: site.newest_step("away") > rescued,
    )
    assert re.search(rf"continuing after step {rescued}\b", again.said), again.said
    again.process.send_signal(signal.SIGTERM)
    assert again.end()[0] == 75, again.said
    assert f"{rescued:010d}" in again.said
    assert "was kept on this machine; it is used" in again.said
    assert verify_run(site.run_uri("away")).is_exact
    assert not list((tmp_path / "state" / "visage" / "rescue").iterdir())


class _Keys:
    """Session tokens that live a minute, say so, and are refused once two newer ones are out."""

    def __init__(self, folder: Path, proxy: FaultProxy, *, every_s: float) -> None:
        self._file, self._proxy, self._every_s = folder / "token.json", proxy, every_s
        self.made = 0
        self._over = threading.Event()
        self._issue()
        (folder / "config").write_text(f"[default]\ncredential_process = /bin/cat {self._file}\n")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Issue no more."""
        self._over.set()
        self._thread.join(timeout=30.0)

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            self._issue()

    def _issue(self) -> None:
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60.0))
        arriving = self._file.with_suffix(".arriving")
        arriving.write_text(
            json.dumps({
                "Version": 1, "AccessKeyId": "testkey", "SecretAccessKey": "testsecret123",
                "SessionToken": f"token-{self.made}", "Expiration": ends,
            })
        )  # fmt: skip
        arriving.replace(self._file)
        self._proxy.faults.refuses_all_tokens_but = {f"token-{self.made}", f"token-{self.made - 1}"}
        self.made += 1


def test_keys_that_live_a_minute_are_renewed_in_the_middle_of_a_run_without_a_restart(
    remote: tuple[Site, FaultProxy], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site, proxy = remote
    keys = _Keys(tmp_path, proxy, every_s=8.0)
    try:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        assign = ["checkpoint_every_steps=null", "checkpoint_every_s=2", "epochs=2000"]
        watched = begin(
            lambda: site.start("keys", preset="long", assign=assign),
            lambda: site.newest_step("keys") > 0,
        )
        first, made = site.newest_step("keys"), keys.made
        await_true(lambda: keys.made >= made + 4, watched)
        last = site.newest_step("keys")
        await_true(lambda: site.newest_step("keys") > last > first, watched)
        watched.process.send_signal(signal.SIGTERM)
        assert watched.end()[0] == 75, watched.said
        assert "state saved" in watched.said
        assert "restarts" not in watched.said
        assert "not published" not in watched.said
        assert verify_run(site.run_uri("keys")).is_exact
        _tell("sets of keys that one run outlived", keys.made - made)
    finally:
        keys.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MlflowProcess]:
    """A real MLflow server on either database."""
    if request.param == "sqlite":
        made = MlflowProcess(f"sqlite:///{tmp_path / 'server.db'}", tmp_path)
        made.start()
        yield made
        made.kill()
        return
    programs = find_postgres()
    if programs is None:
        pytest.skip("no PostgreSQL: initdb is not installed (Debian: postgresql-15)")
    pytest.importorskip("psycopg2", reason="no PostgreSQL driver: psycopg2-binary")
    folder = Path(tempfile.mkdtemp(prefix="visage-pg-"))
    postgres = Postgres(programs, folder)
    postgres.start()
    made = MlflowProcess(postgres.uri, tmp_path)
    made.start()
    yield made
    made.kill()
    postgres.stop()
    shutil.rmtree(folder)


def test_a_run_trains_on_while_its_tracking_server_is_dead_and_every_point_arrives_once(
    server: MlflowProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    site = Site(tmp_path / "site")
    try:
        watched = begin(
            lambda: site.start("tracked", preset="long", assign=["epochs=80"]),
            lambda: site.newest_step("tracked") > 0,
        )
        server.kill()
        at = site.newest_step("tracked")
        await_true(lambda: site.newest_step("tracked") >= at + 18, watched)
        server.start()
        back = site.newest_step("tracked")
        await_true(lambda: site.newest_step("tracked") > back, watched)
        code, _ = watched.end()
        assert code == 0, watched.said
        assert "restarts" not in watched.said
        client = connect(server.uri)
        experiment = client.get_experiment_by_name("emotion")
        (run,) = client.search_runs([experiment.experiment_id])
        assert run.info.status == "FINISHED"
        newest = restore(open_store(site.run_uri("tracked")))
        assert newest is not None
        validated = [one.step for one in newest.state.validations]
        history = client.get_metric_history(run.info.run_id, "val/accuracy")
        assert [point.step for point in history] == validated
        losses = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
        assert len(losses) == len(set(losses))
        assert losses == sorted(losses)
        assert max(losses) == newest.state.step
        _tell("points of val/accuracy, of steps", f"{len(history)}, {newest.state.step}")
    finally:
        site.close()
