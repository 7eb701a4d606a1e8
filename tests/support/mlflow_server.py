"""A real MLflow server and a real PostgreSQL for tests, on loopback, ended by process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["MlflowProcess", "Postgres", "find_postgres", "free_port"]

START_LIMIT_S = 90.0
DATABASE = "mlflow"


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(slots=True)
class MlflowProcess:
    """`mlflow server` on a database; it can be killed and started again at the same port."""

    backend: str
    folder: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def uri(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        artifacts = self.folder / "artifacts"
        artifacts.mkdir(parents=True, exist_ok=True)
        words = ["server", "--backend-store-uri", self.backend, "--serve-artifacts"]
        words += ["--artifacts-destination", artifacts.as_uri(), "--host", "127.0.0.1"]
        words += ["--port", str(self.port), "--workers", "1"]
        words += ["--allowed-hosts", "127.0.0.1:*,localhost:*"]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *words],
                env={**os.environ, **quiet, "PYTHONWARNINGS": "ignore"},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._wait_until_ready()

    def kill(self) -> None:
        """SIGKILL to it and its workers, which are a process group of their own."""
        if self._process is not None:
            with suppress(ProcessLookupError):  # it died by itself
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=10)
            self._process = None

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        self.kill()
        tail = (self.folder / "server.log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"mlflow server did not start in {START_LIMIT_S:.0f} s:\n{tail}")


def find_postgres() -> Path | None:
    """The folder of PostgreSQL's programs; None if it is not installed."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(homes[-1]) if homes else shutil.which("initdb")
    return Path(found).parent if found else None


@dataclass(slots=True)
class Postgres:
    """A throw-away PostgreSQL over one folder that its own user must be able to reach."""

    programs: Path
    folder: Path
    port: int = field(default_factory=free_port)

    @property
    def uri(self) -> str:
        """Of its one database, with the driver named, as SQLAlchemy would choose another."""
        return f"postgresql+psycopg2://postgres@127.0.0.1:{self.port}/{DATABASE}"

    def start(self) -> None:
        """Make the cluster, start it, create the database."""
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres")  # PostgreSQL refuses to run as root
        data = self.folder / "data"
        self._run("initdb", "-D", str(data), "-A", "trust", "-U", "postgres", "--no-sync")
        flags = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        log = self.folder / "log"
        self._run("pg_ctl", "-D", str(data), "-o", flags, "-l", str(log), "-w", "start")
        at = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"]
        self._run("createdb", *at, DATABASE)

    def stop(self) -> None:
        """End it without waiting for its clients."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")

    def _run(self, program: str, *words: str) -> None:
        drop = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        done = subprocess.run(
            [*drop, str(self.programs / program), *words],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
            timeout=60,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr}")
