"""A real MLflow server that is killed in mid-run, and a real PostgreSQL under the registry."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow_server import MlflowProcess, Postgres, find_postgres

from visage.errors import TrackingError
from visage.store.commit import commit
from visage.store.local import LocalStore
from visage.tracking.backend import connect
from visage.tracking.registry import Registry
from visage.tracking.runs import RunTiming, open_run

TIMING = RunTiming(send_every_s=0.05, first_retry_s=0.1, last_retry_s=0.5, sample_every_s=0)
LIMIT_S = 30.0


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL with an empty database; in a folder that its own user can reach."""
    programs = find_postgres()
    if programs is None:
        pytest.skip("no PostgreSQL: initdb is not installed (Debian: postgresql-15)")
    pytest.importorskip("psycopg2", reason="no PostgreSQL driver: psycopg2-binary")
    folder = Path(tempfile.mkdtemp(prefix="visage-pg-"))
    made = Postgres(programs, folder)
    made.start()
    yield made
    made.stop()
    shutil.rmtree(folder)


def _killed_in_mid_run(server: MlflowProcess, folder: Path) -> None:
    """Metrics before, during and after an outage: each point once, the run FINISHED."""
    run = open_run(
        server.uri, experiment="emotion", name="try", run_id="job", spool_dir=folder, timing=TIMING
    )
    page = folder / "page.html"
    page.write_text("<p>")
    for step in range(30):
        if step == 10:
            run.flush(force=True)
            server.kill()
        if step == 20:
            _await(lambda: not run.is_connected)
            run.log_artifact(page, "pages")
            server.start()
        run.log_metrics({"train/loss": float(step), "val/accuracy": 0.5}, step=step)
    run.finish()
    client = connect(server.uri)
    stored = client.get_run(run.run_id)
    assert stored.info.status == "FINISHED"
    for name in ("train/loss", "val/accuracy"):
        history = client.get_metric_history(run.run_id, name)
        assert [point.step for point in history] == list(range(30))
    assert [file.path for file in client.list_artifacts(run.run_id, "pages")] == ["pages/page.html"]
    assert not list(folder.glob("*.jsonl"))
    found = client.search_runs([stored.info.experiment_id])
    assert [one.info.run_id for one in found] == [run.run_id]


def _await(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        threading.Event().wait(0.02)


def test_a_server_on_sqlite_killed_in_mid_run_has_every_point_once_in_the_end(
    empty_database: Path, tmp_path: Path
) -> None:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    server = MlflowProcess(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    server.start()
    try:
        _killed_in_mid_run(server, tmp_path / "spool")
    finally:
        server.kill()


@pytest.mark.chaos
def test_a_server_on_postgresql_killed_in_mid_run_has_every_point_once_in_the_end(
    postgres: Postgres, tmp_path: Path
) -> None:
    server = MlflowProcess(postgres.uri, tmp_path)
    server.start()
    try:
        _killed_in_mid_run(server, tmp_path / "spool")
        _compare_and_set(server.uri, tmp_path, name="through-a-server")
    finally:
        server.kill()


def test_the_registry_on_postgresql_keeps_versions_and_moves_aliases_by_compare_and_set(
    postgres: Postgres, tmp_path: Path
) -> None:
    _compare_and_set(postgres.uri, tmp_path, name="emotion")


def _compare_and_set(tracking_uri: str, folder: Path, *, name: str) -> None:
    registry = Registry(tracking_uri)
    store = LocalStore(folder / "models")
    made = []
    for number in range(2):
        prefix = f"{name}/{number}"
        digest = commit(store, prefix, {"model.bin": f"{number}".encode()}).digest()
        uri = f"{store.uri}/{prefix}"
        made.append(registry.register(name, uri=uri, digest=digest))
        assert registry.register(name, uri=uri, digest=digest).version == made[-1].version
    assert [one.version for one in registry.versions(name)] == ["2", "1"]
    registry.set_alias(name, "champion", "1", expected=None)
    with pytest.raises(TrackingError, match="somebody moved it"):
        registry.set_alias(name, "champion", "2", expected=None)
    assert registry.resolve(f"{name}@champion").digest == made[0].digest
    _race(tracking_uri, name)


def _race(tracking_uri: str, name: str) -> None:
    """Several promote from the same champion at once: one wins, the others are told."""
    outcomes: list[str] = []
    barrier = threading.Barrier(3)

    def promote(alias_version: str) -> None:
        registry: Any = Registry(tracking_uri)
        barrier.wait(10)
        try:
            registry.set_alias(name, "racing", alias_version, expected=None)
            outcomes.append(alias_version)
        except TrackingError:
            outcomes.append("lost")

    threads = [threading.Thread(target=promote, args=(v,)) for v in ("1", "2", "1")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    standing = Registry(tracking_uri).alias(name, "racing")
    assert standing in ("1", "2")
    assert set(outcomes) <= {standing, "lost"}
    assert "lost" in outcomes
