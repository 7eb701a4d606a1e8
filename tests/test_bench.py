"""The benches run, and what they leave is a report; no figure is judged here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def bench(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m tests.bench`."""
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_cheapest_measurement_leaves_a_whole_report(tmp_path: Path) -> None:
    out = tmp_path / "new" / "bench.json"
    done = bench("--only", "help_time", "--quick", "--out", str(out))
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert report["schema"] == "visage.bench/1"
    assert report["quick"]
    assert report["machine"]["cores"] >= 1
    assert report["machine"]["versions"]["torch"]
    assert len(report["load_before"]) == len(report["load_after"]) == 3
    part = report["measurements"]["help_time"]
    assert part["failed"] is None
    figures = {one["name"]: one for one in part["figures"]}
    helped, bare = figures["visage --help"], figures["python -c pass"]
    assert 0 < helped["low"] <= helped["median"] <= helped["high"]
    assert helped["low"] > bare["low"]
    assert (helped["unit"], helped["count"]) == ("s", 2)
    assert helped["how"]
    assert "visage --help" in done.stdout
    assert "do not quote" in done.stdout or "too few repeats to quote" in done.stdout


def test_a_measurement_that_is_killed_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    names = ("--only", "train_memory", "--only", "help_time")
    killed = {"VISAGE_FAULT_POINT": "train.before_step"}
    done = bench(*names, "--quick", "--out", str(out), **killed)
    assert done.returncode == 1, done.stderr
    parts = json.loads(out.read_text())["measurements"]
    assert parts["train_memory"]["figures"] == []
    assert "exit -9" in parts["train_memory"]["failed"]
    assert parts["help_time"]["failed"] is None
    assert "train_memory failed: exit -9" in done.stdout


def test_a_measurement_that_does_not_exist_is_refused_with_the_names_there_are() -> None:
    done = bench("--only", "everything")
    assert done.returncode == 2
    assert "help_time" in done.stderr


def test_without_a_gpu_one_line_says_so_and_the_exit_code_is_2(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = bench("--gpu", "--out", str(tmp_path / "gpu.json"))
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "no CUDA device" in done.stderr
    assert not (tmp_path / "gpu.json").exists()
