"""Measure and print; nothing is asserted.

    python -m tests.bench [--only NAME ...] [--out FILE] [--quick]
    python -m tests.bench --gpu [--device cpu] [--out FILE] [--quick]
    python -m tests.bench --table FILE.json

Every measurement runs in a process of its own with one thread a library. Exit 0: all was measured,
1: something failed, 2: it cannot run here.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.figures import read_figures, show, write_figures
from tests.bench.machine import load_average, machine_facts, pin_threads
from tests.bench.processes import DISTURBING_CORES, Neighbours
from tests.bench.published import markdown
from tests.bench.registry import MEASUREMENTS, NotHere
from tests.bench.report import default_path, part, write_report

REPOSITORY = Path(__file__).resolve().parents[2]
ERROR_LINES = 3
CANNOT_RUN = 2
SKIPPED = "skipped.txt"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; returns the exit code."""
    given = _parser().parse_args(arguments)
    pin_threads()
    if given.child:
        (name,) = given.only
        folder = given.child.parent / "work"  # removed by the parent, even if this is killed
        folder.mkdir()
        return _measure_here(name, given.child, folder, quick=given.quick)
    if given.table:
        try:
            print(markdown(given.table), end="")
        except ValueError as err:
            print(err, file=sys.stderr)
            return CANNOT_RUN
        return 0
    if given.gpu:
        from tests.bench.gpu import run_gpu

        out = given.out or default_path("gpu.json")
        return run_gpu(out, device=given.device, quick=given.quick)
    report = measure_all(given.only or list(MEASUREMENTS), quick=given.quick)
    out = given.out or default_path("bench.json")
    write_report(out, report)
    show(report)
    print(f"written to {out}")
    return 1 if any(one["failed"] for one in report["measurements"].values()) else 0


def measure_all(names: Sequence[str], *, quick: bool) -> dict[str, Any]:
    """The report of some measurements, one after the other."""
    start, before = time.perf_counter(), load_average()
    measurements = {}
    for name in names:
        print(f"▸ {name}: {MEASUREMENTS[name].about} …", file=sys.stderr, flush=True)
        measurements[name] = _measured(name, quick=quick)
        print(f"  {measurements[name]['wall_s']:.0f} s", file=sys.stderr, flush=True)
    return {
        "machine": machine_facts(),
        "quick": quick,
        "wall_s": round(time.perf_counter() - start, 1),
        "load_before": before,
        "load_after": load_average(),
        "measurements": measurements,
    }


def _measure_here(name: str, kept: Path, folder: Path, *, quick: bool) -> int:
    """The measurement itself, in the child."""
    try:
        figures = MEASUREMENTS[name].load(name)(folder, quick=quick)
    except NotHere as err:
        kept.with_name(SKIPPED).write_text(str(err))
        return 0
    write_figures(kept, figures)
    return 0


def _measured(name: str, *, quick: bool) -> dict[str, Any]:
    """One measurement in a child; what goes wrong there becomes a sentence here."""
    before, start = load_average(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="visage-bench-") as folder, Neighbours() as others:
        kept = Path(folder) / "figures.json"
        failed = _run_child(name, kept, quick=quick)
        figures = read_figures(kept) if kept.exists() else []  # it may have died afterwards
        why = kept.with_name(SKIPPED)
        skipped = why.read_text() if why.exists() else None
    return part(
        figures,
        skipped=skipped,
        failed=failed,
        wall_s=time.perf_counter() - start,
        load=(before, load_average()),
        others_cores=others.cores,
        disturbed=others.cores > DISTURBING_CORES,
    )


def _run_child(name: str, kept: Path, *, quick: bool) -> str | None:
    """None, or why there are no figures."""
    command = [sys.executable, "-m", "tests.bench", "--only", name, "--child", str(kept)]
    command += ["--quick"] if quick else []
    limit_s = MEASUREMENTS[name].limit_s
    errors = kept.with_name("errors.txt")
    with errors.open("w") as stderr:
        child = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=stderr, stderr=stderr, start_new_session=True
        )
        try:
            code = child.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            return f"not done after {limit_s:.0f} s"
        finally:
            _end(child)
    if code == 0:
        return None
    told = [line for line in errors.read_text(errors="replace").splitlines() if line.strip()]
    return f"exit {code}: {' | '.join(told[-ERROR_LINES:])}"


def _end(child: subprocess.Popen[bytes]) -> None:
    """Leave nothing of the child's process group behind, however it ended."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait(timeout=10.0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Measure speed and memory; nothing is asserted."
    )
    parser.add_argument(
        "--only", action="append", choices=list(MEASUREMENTS), help="only this; may be repeated"
    )
    parser.add_argument("--out", type=Path, help="JSON report  [bench.json in the workspace]")
    parser.add_argument(
        "--quick", action="store_true", help="fewest repeats: shows that it works, not to quote"
    )
    parser.add_argument("--gpu", action="store_true", help="train the presets on a GPU instead")
    parser.add_argument(
        "--device", default="cuda", help="of --gpu; cpu runs tiny networks to test the way"
    )
    parser.add_argument(
        "--table", type=Path, metavar="FILE", help="print a report as the tables of docs/bench.md"
    )
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
