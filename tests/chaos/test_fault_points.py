"""Killed at every named fault point, continued, and judged by a checker that shares no code."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from invariants import check_evaluation, check_run, check_shards, check_tracking
from life import ALIAS, RUN, LifeServer, Lived, expected_keys

from visage.faultpoints import FAULT_POINTS

KILLED = -signal.SIGKILL


def problems_of(workspace: Path) -> list[str]:
    """Everything that is wrong with a finished life."""
    return [
        *check_shards(workspace / "data" / "made", expected_keys()),
        *check_run(workspace / "runs" / RUN),
        *check_evaluation(workspace / "evaluations" / "one", expected_keys()["test"]),
        *check_tracking(workspace / "mlflow.db", {RUN}, alias=ALIAS),
    ]


def model_digest(workspace: Path) -> str:
    """Checksum of the exported weights."""
    marker = json.loads((workspace / "runs" / RUN / "model" / "COMMIT").read_text())
    digest: str = marker["parts"]["model.safetensors"]["sha256"]
    return digest


def test_every_fault_point_is_visited_by_one_life(unbroken: tuple[Path, Lived]) -> None:
    _, lived = unbroken
    assert sorted(lived.visits) == sorted(FAULT_POINTS)


def test_a_life_that_nothing_disturbs_leaves_nothing_wrong(unbroken: tuple[Path, Lived]) -> None:
    workspace, _ = unbroken
    assert problems_of(workspace) == []


def test_one_life_killed_at_every_fault_point_in_turn_still_comes_out_whole(
    lives: LifeServer, unbroken: tuple[Path, Lived], tmp_path: Path
) -> None:
    for name in FAULT_POINTS:
        lived = lives.live(tmp_path, fault=name)
        assert lived.status == KILLED, f"{name}: {lived.status} {lived.said}"
        if (tmp_path / "runs" / RUN / "checkpoints").exists():
            wrong = check_run(tmp_path / "runs" / RUN, is_finished=False)
            assert set(wrong) <= {"no checkpoint at all"}, f"{name}: {wrong}"
    lived = lives.live(tmp_path)
    assert lived.status == 0, lived.said
    assert problems_of(tmp_path) == []
    assert model_digest(tmp_path) == model_digest(unbroken[0])


@pytest.mark.chaos
@pytest.mark.parametrize("name", FAULT_POINTS)
def test_a_life_killed_early_midway_or_late_at_one_fault_point_comes_out_whole(
    name: str, lives: LifeServer, unbroken: tuple[Path, Lived], tmp_path: Path
) -> None:
    workspace, lived = unbroken
    visits = lived.visits[name]
    for visit in sorted({1, (visits + 1) // 2, visits}):
        place = tmp_path / str(visit)
        place.mkdir()
        lived = lives.live(place, fault=f"{name}@{visit}")
        assert lived.status == KILLED, f"@{visit}: {lived.status} {lived.said}"
        lived = lives.live(place)
        assert lived.status == 0, f"@{visit}: {lived.said}"
        assert problems_of(place) == [], f"@{visit}"
        assert model_digest(place) == model_digest(workspace)


def test_a_driver_killed_after_the_model_was_published_leaves_no_run_that_looks_alive(
    lives: LifeServer, unbroken: tuple[Path, Lived], tmp_path: Path
) -> None:
    _, lived = unbroken
    last = lived.visits["commit.after_marker"]
    assert lives.live(tmp_path, fault=f"commit.after_marker@{last}").status == KILLED
    assert (tmp_path / "runs" / RUN / "model" / "COMMIT").exists()
    lived = lives.live(tmp_path)
    assert lived.status == 0, lived.said
    assert problems_of(tmp_path) == []
