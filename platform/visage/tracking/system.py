"""Load of this host and its GPUs, from /proc and nvidia-smi; the unreadable is left out."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

__all__ = ["SystemSampler"]

GPU_QUERY_TIMEOUT_S = 3.0
_KIB_PER_GIB = 2**20
_MIB_PER_GIB = 2**10


class SystemSampler:
    """Takes one sample of the host at a time; CPU load is the mean since the sample before."""

    def __init__(self, *, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._gpu_tool = shutil.which("nvidia-smi")
        self._busy_before, self._total_before = self._cpu_ticks()

    def sample(self) -> dict[str, float]:
        """Metric names of `names.METRICS` with their values now."""
        return {**self._cpu(), **self._memory(), **self._gpus()}

    def _cpu(self) -> dict[str, float]:
        busy, total = self._cpu_ticks()
        passed = total - self._total_before
        share = (busy - self._busy_before) / passed if passed > 0 else None
        self._busy_before, self._total_before = busy, total
        return {} if share is None else {"system/cpu_percent": 100 * share}

    def _cpu_ticks(self) -> tuple[int, int]:
        try:
            first = (self._proc / "stat").read_text().splitlines()[0]
            ticks = [int(field) for field in first.split()[1:9]]
        except (OSError, ValueError, IndexError):
            return 0, 0
        idle = sum(ticks[3:5])  # idle and waiting for a disk
        return sum(ticks) - idle, sum(ticks)

    def _memory(self) -> dict[str, float]:
        found: dict[str, float] = {}
        try:
            text = (self._proc / "meminfo").read_text()
            kib = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()}
            found["system/memory_gib"] = (kib["MemTotal"] - kib["MemAvailable"]) / _KIB_PER_GIB
            pages = int((self._proc / "self" / "statm").read_text().split()[1])
            found["system/process_memory_gib"] = pages * os.sysconf("SC_PAGE_SIZE") / 2**30
        except (OSError, ValueError, IndexError, KeyError):
            return found
        return found

    def _gpus(self) -> dict[str, float]:
        if self._gpu_tool is None:
            return {}
        query = ["--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
        try:
            done = subprocess.run(
                [self._gpu_tool, *query],
                capture_output=True,
                text=True,
                timeout=GPU_QUERY_TIMEOUT_S,
                check=True,
            )
            rows = [
                [float(field) for field in line.split(",")] for line in done.stdout.splitlines()
            ]
        except (OSError, ValueError, subprocess.SubprocessError):
            self._gpu_tool = None  # a host whose driver fails once is not asked every ten seconds
            return {}
        if not rows:
            return {}
        return {
            "system/gpu_percent": sum(row[0] for row in rows) / len(rows),
            "system/gpu_memory_gib": sum(row[1] for row in rows) / _MIB_PER_GIB,
        }
