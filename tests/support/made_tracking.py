"""An empty tracking database: making its tables takes seconds, a copy does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from visage.tracking.backend import connect


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database every test copies."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def tracking_uri(empty_database: Path, tmp_path: Path) -> str:
    """A fresh database of the test's own."""
    folder = tmp_path / "tracking"
    folder.mkdir()
    shutil.copyfile(empty_database, folder / "mlflow.db")
    return f"sqlite:///{folder / 'mlflow.db'}"
