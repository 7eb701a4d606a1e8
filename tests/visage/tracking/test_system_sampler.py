from __future__ import annotations

from pathlib import Path

import pytest

from visage.tracking.names import METRICS
from visage.tracking.system import SystemSampler


def write_proc(proc: Path, *, busy: int, idle: int) -> None:
    (proc / "self").mkdir(parents=True, exist_ok=True)
    (proc / "stat").write_text(f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\n")
    (proc / "meminfo").write_text("MemTotal: 4194304 kB\nMemAvailable: 1048576 kB\n")
    (proc / "self" / "statm").write_text("99 1024 1 1 0 1 0\n")


def test_load_is_the_busy_share_since_the_sample_before(tmp_path: Path) -> None:
    write_proc(tmp_path, busy=100, idle=100)
    sampler = SystemSampler(proc=tmp_path)
    write_proc(tmp_path, busy=130, idle=110)
    sample = sampler.sample()
    assert sample["system/cpu_percent"] == pytest.approx(75.0)
    assert sample["system/memory_gib"] == pytest.approx(3.0)
    assert sample["system/process_memory_gib"] > 0


def test_every_name_sampled_here_is_in_the_closed_list() -> None:
    sampler = SystemSampler()
    assert sampler.sample().keys() <= METRICS.keys()


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    assert SystemSampler(proc=tmp_path / "none").sample().keys() <= {
        "system/gpu_percent",
        "system/gpu_memory_gib",
    }
