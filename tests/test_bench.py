"""The benches run, and what they leave is a report; no figure is judged here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from tests.bench.corpora import draw
from tests.bench.feed_files import Sides, compare
from tests.bench.figures import figure, paired
from tests.bench.file_loader import FileLoader, Kind
from tests.bench.published import markdown
from tests.bench.report import part, write_report
from tests.bench.save_stall import WARM_STEPS, Run, percentile

from visage.data.shards import load_manifest

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


def test_without_the_peers_r3_is_skipped_with_a_sentence_and_nothing_fails(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    absent = {"VISAGE_BENCH_PYTHON": str(tmp_path / "python")}
    done = bench("--only", "feed_peers", "--quick", "--out", str(out), **absent)
    assert done.returncode == 0, done.stderr
    part = json.loads(out.read_text())["measurements"]["feed_peers"]
    assert (part["figures"], part["failed"]) == ([], None)
    assert "not installed" in part["skipped"]
    assert "make bench-extras" in done.stdout


def test_the_index_at_scale_is_measured_and_printed_as_a_table(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    done = bench("--only", "huge_corpus", "--quick", "--out", str(out))
    assert done.returncode == 0, done.stderr
    printed = bench("--table", str(out))
    assert printed.returncode == 0
    figures = json.loads(out.read_text())["measurements"]["huge_corpus"]["figures"]
    assert len(figures) == 6
    for one in figures:
        assert f"| huge_corpus | {one['name']} |" in printed.stdout
    assert "too few repeats to quote" in printed.stdout


def test_the_table_has_the_ratios_first_and_marks_what_was_disturbed(tmp_path: Path) -> None:
    figures = [
        asdict(figure("steps", [3.0], "steps/s", how="counted")),
        asdict(paired("ours by theirs", [2.0, 3.0], [1.0, 1.0], how="h", goal=">= 1", ratio="R1")),
    ]
    facts = part(figures=[], failed=None, wall_s=1.0, load=([0.1], [0.2]), others_cores=0.5,
                 disturbed=True)  # fmt: skip
    machine = {"cores": 2, "processor": "P", "memory_gib": 8, "python": "3.11", "commit": "c" * 40,
               "date": "2026-01-01", "versions": {"torch": "2"}}  # fmt: skip
    out = tmp_path / "bench.json"
    run = {"quick": False, "wall_s": 9.0, "load_before": [0.1], "load_after": [0.2]}
    write_report(
        out, {"machine": machine, **run, "measurements": {"m": {**facts, "figures": figures}}}
    )
    lines = markdown(out).splitlines()
    assert "| R1 | ours by theirs | 2.5* | x | 2 to 3 | 2 | >= 1 |" in lines
    assert lines.index("| m | steps | 3* | steps/s |  | 1 |  |") > lines.index(
        "| R1 | ours by theirs | 2.5* | x | 2 to 3 | 2 | >= 1 |"
    )
    assert "not to be quoted" in lines[-1]


@pytest.mark.parametrize("body", ["", "{}", '{"schema": "other/1"}'])
def test_a_file_that_is_no_report_is_refused_in_one_line(body: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(body)
    done = bench("--table", str(tmp_path / "x.json"))
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


def test_files_hold_the_bytes_of_the_shards_and_another_byte_is_noticed(tmp_path: Path) -> None:
    sides = Sides(tmp_path, draw(21), 64)
    rows = sides.rows(*load_manifest(sides.uri))
    steps = range(sides.steps)

    def run() -> None:
        kinds: tuple[Kind, ...] = ("crops", "pictures")
        loaders = {kind: FileLoader(sides.files(kind), workers=0) for kind in kinds}
        compare(sides, lambda: sides.ours(rows, steps), loaders, steps)

    run()
    first, second, *_ = sorted(tmp_path.glob("crops/*/*.face.jpg"))
    first.write_bytes(second.read_bytes())
    with pytest.raises(AssertionError, match="other bytes than the shards"):
        run()


def test_only_the_steps_beside_a_write_count_as_steps_during_a_save() -> None:
    began_s = [float(at) for at in range(WARM_STEPS + 7)]
    start = WARM_STEPS + 1.5
    run = Run(began_s=began_s, writes=[(start, start + 2.0)])
    assert len(run.steps_ms) == 6
    assert run.during_ms() == [1000.0] * 3  # the one it began in, one, the one it ended in
    assert run.wall_s == 6.0


@pytest.mark.parametrize(("count", "place"), [(1, 0), (50, 49), (100, 98), (200, 197)])
def test_a_percentile_is_a_value_that_was_measured(count: int, place: int) -> None:
    assert percentile([float(one) for one in reversed(range(count))], 0.99) == place


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
