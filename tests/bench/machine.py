"""What the figures were measured on: processor, memory, versions, commit, load."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from visage.tracking.environment import git_commit

__all__ = ["PINNED", "load_average", "machine_facts", "pin_threads"]

PINNED = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)
PACKAGES = ("visage", "torch", "ray", "numpy", "opencv-python-headless", "pillow", "pyarrow", "av")


def pin_threads() -> None:
    """One thread for every library that would take all cores; before any of them is imported."""
    for name in PINNED:
        os.environ[name] = "1"


def load_average() -> list[float]:
    """Of the last 1, 5 and 15 minutes."""
    return [round(one, 2) for one in os.getloadavg()]


def machine_facts() -> dict[str, Any]:
    """Plain values for the report; no host name, since reports are published."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": git_commit(Path(__file__).resolve().parent),
        "processor": _first("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(_memory_kib() / 2**20, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "threads_per_library": 1,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _memory_kib() -> int:
    found = _first("/proc/meminfo", "MemTotal")
    return int(found.split()[0]) if found else 0


def _first(path: str, key: str) -> str | None:
    """The value of the first `key: value` line."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)
