"""The two stores under one fixture: what one promises, both promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from s3_server import S3Server, raw_client

from visage.store.base import Store
from visage.store.local import LocalStore
from visage.store.s3 import S3Store


@pytest.fixture(scope="session")
def s3_client(s3_server: S3Server) -> Any:
    """One client for all tests, as making one costs more than a test."""
    return raw_client(s3_server.endpoint)


@pytest.fixture
def s3_store(s3_uri: str, s3_client: Any) -> S3Store:
    """An empty store on the S3 server."""
    bucket, _, prefix = s3_uri.removeprefix("s3://").partition("/")
    return S3Store(bucket, prefix, client=s3_client)


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store."""
    if request.param == "local":
        return LocalStore(tmp_path / "store")
    found: S3Store = request.getfixturevalue("s3_store")
    return found
