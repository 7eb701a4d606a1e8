"""How long `visage --help` takes, beside a bare Python in turns."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.figures import Figure, figure

__all__ = ["measure"]

LIMIT_S = 60.0
VISAGE = [sys.executable, "-c", "from visage_jobs.cli import main; main()", "--help"]
BARE = [sys.executable, "-c", "pass"]
HOW = "wall time of a fresh process that runs what the console script runs, output discarded"


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """The first start alone, then both commands in turns."""
    script = Path(sys.executable).with_name("visage")
    command = [str(script), "--help"] if script.is_file() else VISAGE
    first_s = _seconds(command)
    helped, bare, busy = [], [], []
    for _ in range(2 if quick else 15):
        before_s = _children_cpu_s()
        helped.append(_seconds(command))
        busy.append(_children_cpu_s() - before_s)
        bare.append(_seconds(BARE))
    return [
        figure("visage --help, first", [first_s], "s", how=f"{HOW}; files may not be cached yet"),
        figure("visage --help", helped, "s", how=HOW, goal="< 0.3 s"),
        figure("visage --help, CPU", busy, "s", how="CPU time of the same processes"),
        figure("python -c pass", bare, "s", how="the same for a Python that does nothing"),
    ]


def _seconds(command: list[str]) -> float:
    environment = {**os.environ, "COLUMNS": "100"}
    start = time.perf_counter()
    subprocess.run(command, check=True, timeout=LIMIT_S, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _children_cpu_s() -> float:
    """Of all children that have ended; less disturbed by other processes than the clock is."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
