"""The JSON that a run leaves: machine, load, and every figure with unit and how it was measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench.figures import Figure

from visage_jobs.workspace import DEFAULT_ROOT, Workspace

__all__ = ["REPORT_SCHEMA", "default_path", "part", "write_report"]

REPORT_SCHEMA = "visage.bench/1"


def default_path(name: str) -> Path:
    """A file in the workspace; in ./workspace if the workspace is not a folder of this machine."""
    workspace = Workspace.open(None)
    return Path(workspace.root if workspace.is_local else DEFAULT_ROOT) / name


def part(
    figures: Sequence[Figure],
    *,
    failed: str | None,
    wall_s: float,
    load: tuple[list[float], list[float]],
    others_cores: float,
    disturbed: bool,
    skipped: str | None = None,
) -> dict[str, Any]:
    """What one measurement gave, with the load around it."""
    return {
        "figures": [asdict(one) for one in figures],
        "failed": failed,
        "skipped": skipped,
        "wall_s": round(wall_s, 1),
        "load_before": load[0],
        "load_after": load[1],
        "others_cores": round(others_cores, 2),
        "disturbed": disturbed,
    }


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write the report whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps({"schema": REPORT_SCHEMA, **report}, indent=1, allow_nan=False))
    partial.replace(path)
