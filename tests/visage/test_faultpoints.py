"""Fault points: every name in use is listed, every listed name is in use, and they kill on time."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import visage
import visage_jobs
import visage_serve
from visage.faultpoints import FAULT_POINTS, fault_point

ROOTS = [Path(package.__path__[0]) for package in (visage, visage_jobs, visage_serve)]


def _names_in_use() -> set[str]:
    names = set()
    for path in (path for root in ROOTS for path in root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "fault_point":
                (name,) = node.args
                assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: not a plain name"
                names.add(name.value)
    return names


def test_the_names_in_use_are_the_names_listed() -> None:
    assert _names_in_use() == set(FAULT_POINTS)
    assert len(set(FAULT_POINTS)) == len(FAULT_POINTS)


def test_nothing_happens_where_nothing_is_armed() -> None:
    for name in FAULT_POINTS:
        fault_point(name)


VISITS = """
from visage.faultpoints import fault_point
for number in range(5):
    print(number, flush=True)
    fault_point("commit.before_marker")
    fault_point("commit.after_marker")
"""


def _visit(**environment: str) -> tuple[int, list[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", VISITS], env={**os.environ, **environment}, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.split(), done.stderr


@pytest.mark.parametrize(("armed", "visits"), [("", 1), ("@1", 1), ("@3", 3), ("@5", 5)])
def test_the_process_dies_at_the_visit_asked_for(armed: str, visits: int) -> None:
    code, printed, _ = _visit(VISAGE_FAULT_POINT=f"commit.after_marker{armed}")
    assert code == -signal.SIGKILL
    assert len(printed) == visits


def test_a_visit_that_never_comes_kills_nobody() -> None:
    assert _visit(VISAGE_FAULT_POINT="commit.after_marker@6")[0] == 0
    assert _visit(VISAGE_FAULT_POINT="train.before_step")[0] == 0


@pytest.mark.parametrize("armed", ["commit.nowhere", "commit", "commit.after_marker@x",
                                   "commit.after_marker@0"])  # fmt: skip
def test_an_unknown_point_or_visit_is_refused_by_name(armed: str) -> None:
    code, _, told = _visit(VISAGE_FAULT_POINT=armed)
    assert code == 1
    assert f"VISAGE_FAULT_POINT={armed!r}" in told


def test_the_once_file_lets_the_next_process_live(tmp_path: Path) -> None:
    once = {
        "VISAGE_FAULT_POINT": "commit.after_marker@2",
        "VISAGE_FAULT_ONCE": str(tmp_path / "once"),
    }
    assert _visit(**once)[0] == -signal.SIGKILL
    assert (tmp_path / "once").exists()
    assert _visit(**once)[0] == 0
