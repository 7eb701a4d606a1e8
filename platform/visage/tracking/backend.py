"""The one place that imports MLflow: quiet, without telemetry, and never waiting long for a server.

MLflow takes more than a second to import, so nothing here happens before the first connection.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from visage.errors import TrackingError
from visage.tracking.filelock import file_lock

__all__ = [
    "RefusedError",
    "UnavailableError",
    "artifact_root",
    "classify",
    "connect",
    "local_folder",
]

REQUEST_TIMEOUT_S = 5
REQUEST_RETRIES = 1
REASON_CHARACTERS = 160
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_REFUSALS = frozenset(
    {
        "BAD_REQUEST",
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "PERMISSION_DENIED",
        "RESOURCE_ALREADY_EXISTS",
        "RESOURCE_DOES_NOT_EXIST",
        "UNAUTHENTICATED",
        "ENDPOINT_NOT_FOUND",
    }
)


class UnavailableError(TrackingError):
    """The server did not answer in time, or failed; the same call may succeed later."""


class RefusedError(TrackingError):
    """The server understood and said no; the same call will never succeed."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


def local_folder(tracking_uri: str) -> Path | None:
    """The folder that holds a sqlite database, or None for any other tracking URI."""
    if not tracking_uri.startswith("sqlite:///"):
        return None
    return Path(tracking_uri.removeprefix("sqlite:///")).resolve().parent


def artifact_root(tracking_uri: str, experiment: str) -> str | None:
    """Where artefacts of a local database lie (beside it); None lets the server decide."""
    folder = local_folder(tracking_uri)
    return None if folder is None else (folder / "mlartifacts" / experiment).as_uri()


def connect(tracking_uri: str) -> Any:
    """An MLflow client of tracking and registry at one URI.

    Raises:
        TrackingError: the URI names no database and no server.
        UnavailableError: the database cannot be opened now.
    """
    _check_scheme(tracking_uri)
    folder = local_folder(tracking_uri)
    _tame()
    try:
        if folder is None:
            return _quiet_client(tracking_uri)
        folder.mkdir(parents=True, exist_ok=True)
        # two processes that create the tables of one new database at once break it for both
        with file_lock(folder / "tracking.lock", what="the tracking database"):
            return _quiet_client(tracking_uri)
    except Exception as err:
        raise classify(err, tracking_uri) from err


def classify(err: Exception, what: str) -> TrackingError:
    """The error a caller can act on: refused for good, or not available now."""
    if isinstance(err, TrackingError):
        return err
    code = str(getattr(err, "error_code", ""))
    lines = str(err).strip().splitlines()
    reason = _shown(lines[0] if lines else type(err).__name__)
    what = _shown(what)
    if code in _REFUSALS:
        return RefusedError(f"{what}: the tracking server refused: {reason}", code)
    return UnavailableError(f"{what}: the tracking server did not answer: {reason}")


def _shown(text: str) -> str:
    """Short, and without the password a URI may carry."""
    safe = re.sub(r"//[^/@\s]+@", "//…@", text)
    return safe if len(safe) <= REASON_CHARACTERS else f"{safe[:REASON_CHARACTERS]}…"


def _check_scheme(tracking_uri: str) -> None:
    scheme = urlsplit(tracking_uri).scheme.partition("+")[0]
    if scheme in ("http", "https") or scheme in _DATABASES:
        return
    raise TrackingError(
        f"tracking URI {_shown(tracking_uri)!r}: use sqlite:///folder/mlflow.db on one machine, "
        "or http(s)://… of a tracking server; folders of runs are not supported by MLflow any more"
    )


def _tame() -> None:
    """MLflow's own defaults wait for many minutes, call home and print on stdout."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(REQUEST_TIMEOUT_S))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(REQUEST_RETRIES))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


def _quiet_client(tracking_uri: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside MLflow's own database layer
        from mlflow import MlflowClient

        # MLflow sets its levels at import: ours come after
        for noisy in ("mlflow", "alembic", "urllib3.connectionpool"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        return MlflowClient(tracking_uri, registry_uri=tracking_uri)
