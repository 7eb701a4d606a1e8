"""The boto3 client behind an S3 store, its time limits, and how it comes to fresh credentials.

boto3 refreshes credentials that say when they expire. Those that do not say it (a key file that
somebody rewrites, a revoked session, a clock that is wrong) are noticed only when the server
refuses them; the whole credential chain is then read anew.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from visage.errors import SpecError

__all__ = ["EXPIRED", "Connection", "make_client"]

EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0


class Connection:
    """One client for all threads, replaced when its credentials were refused as expired."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._client = make()

    @property
    def client(self) -> Any:
        """The client to use for the next request."""
        return self._client

    def renew(self, worn: Any) -> None:
        """Read the credential chain anew, unless another thread did so since `worn` was used."""
        with self._lock:
            if self._client is worn:
                self._client = self._make()


def make_client(
    *, connect_timeout_s: float = CONNECT_TIMEOUT_S, read_timeout_s: float = READ_TIMEOUT_S
) -> Any:
    """A client from the environment; the limits hold for each block sent or read, not in all.

    Raises:
        SpecError: AWS_* settings that no client can be made of.
    """
    config = Config(
        retries={"total_max_attempts": 1},  # one more would hide that a lost answer was ours
        connect_timeout=connect_timeout_s,
        read_timeout=read_timeout_s,
        s3={"addressing_style": "path"} if os.environ.get("AWS_ENDPOINT_URL") else {},
    )
    try:
        return boto3.session.Session().client("s3", config=config)
    except (BotoCoreError, ValueError) as err:
        raise SpecError(
            f"s3://: {err}; check AWS_ENDPOINT_URL and the other AWS_* settings"
        ) from err
