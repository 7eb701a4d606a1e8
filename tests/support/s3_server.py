"""A real S3 server for tests: SeaweedFS from PyPI, on loopback, ended by its process id."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["BUCKET", "S3Server", "find_weed", "raw_client", "s3_environment"]

BUCKET = "test"
START_LIMIT_S = 30.0
GRPC_OFFSET = 10_000  # weed puts the gRPC port of every service there


@dataclass(slots=True)
class S3Server:
    """One server over one folder."""

    folder: Path
    port: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until the bucket answers."""
        weed = find_weed()
        assert weed is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        master, volume, filer, admin, self.port = _free_ports(5)
        flags = {
            "dir": self.folder, "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "admin.ui": "false",
            "webdav": "false", "master.port": master, "volume.port": volume, "filer.port": filer,
            "admin.port": admin, "s3.port": self.port, "s3.port.iceberg": 0, "s3.port.lance": 0,
            "bucket": BUCKET,
        }  # fmt: skip
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [weed, "-logtostderr=true", "mini", *(f"-{k}={v}" for k, v in flags.items())],
                env={**os.environ, **s3_environment(self.endpoint)},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._wait_until_ready()

    def stop(self) -> None:
        """End the process started here, and no other; nobody needs its farewell."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)
            self._process = None

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_LIMIT_S
        client = raw_client(self.endpoint)
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if _bucket_answers(client):
                return
            time.sleep(0.05)
        self.stop()
        tail = (self.folder / "server.log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"weed did not start within {START_LIMIT_S:.0f} s:\n{tail}")


def find_weed() -> str | None:
    """The server's binary beside this Python or on the path; None if it is not installed."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.is_file() else shutil.which("weed")


def s3_environment(endpoint: str) -> Mapping[str, str]:
    """What a client needs in its environment."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testkey",
        "AWS_SECRET_ACCESS_KEY": "testsecret123",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def raw_client(endpoint: str) -> Any:
    """A boto3 client of the server that tries once; independent of the environment."""
    import boto3
    from botocore.config import Config

    values = s3_environment(endpoint)
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=values["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
        region_name=values["AWS_DEFAULT_REGION"],
        config=Config(
            retries={"total_max_attempts": 1},
            connect_timeout=2,
            read_timeout=10,
            s3={"addressing_style": "path"},
            max_pool_connections=32,
        ),
    )


def _bucket_answers(client: Any) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client.put_object(Bucket=BUCKET, Key="ready", Body=b"yes")
    except (BotoCoreError, ClientError):
        return False
    return True


def _free_ports(count: int) -> list[int]:
    """Ports that are free together with their gRPC twins."""
    ports: list[int] = []
    while len(ports) < count:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1] % 30_000 + 15_000  # its twin stays below 65 536
        if port not in ports and _is_free(port) and _is_free(port + GRPC_OFFSET):
            ports.append(port)
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
