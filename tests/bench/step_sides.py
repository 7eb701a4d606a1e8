"""Both sides of R1: one training session under Ray Train, and the same session under torchrun.

    python -m tests.bench.step_sides ray CONFIG.json
    torchrun --nproc-per-node 2 -m tests.bench.step_sides torchrun CONFIG.json

Ray's side is `visage train` itself. After the warm-up every rank waits at the gate before each
block of steps until the block is called; rank 0 notes how long the block took.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

__all__ = ["BLOCK_STEPS", "CONFIG", "WARM_STEPS", "Gate", "ray_worker"]

CONFIG = "VISAGE_BENCH_STEPS"
"""Where a worker of Ray finds its configuration: in the environment that it inherits."""
WARM_STEPS = 10
BLOCK_STEPS = 40
POLL_S = 0.005
WAIT_LIMIT_S = 500.0


class Gate:
    """Where the ranks of one side wait between blocks; its signs are files in a folder."""

    def __init__(self, folder: Path, side: str) -> None:
        self._folder, self._side = folder, side
        self._began_s = 0.0

    def sign(self, word: str, block: int) -> Path:
        """`go` calls a block, `done` holds its seconds, `here` says that the ranks are warm."""
        return self._folder / f"{self._side}.{word}.{block}"

    def arrive(self, step: int, rank: int) -> None:
        """Before every step."""
        block, inside = divmod(step - WARM_STEPS, BLOCK_STEPS)
        if step < WARM_STEPS or inside:
            return
        if rank == 0:
            took_s = time.perf_counter() - self._began_s
            word = "done" if block else "here"
            _write(self.sign(word, max(0, block - 1)), str(took_s))
        await_file(self.sign("go", block))
        self._began_s = time.perf_counter()


def await_file(path: Path) -> str:
    """The file's text once it is there."""
    deadline = time.monotonic() + WAIT_LIMIT_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path.name} did not come within {WAIT_LIMIT_S:.0f} s")
        time.sleep(POLL_S)
    return path.read_text()


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    partial = path.with_suffix(f".{os.getpid()}.part")
    partial.write_text(text)
    partial.replace(path)


def ray_worker(config: dict[str, Any]) -> None:
    """The product's worker with a gate before its steps."""
    from visage.training.host import GroupHost
    from visage_jobs.train_worker import train_worker

    gate = Gate(Path(json.loads(os.environ[CONFIG])["gates"]), "ray")
    note = GroupHost.note

    def noted(self: GroupHost, step: int, phase: str) -> None:
        if phase == "begin":
            gate.arrive(step, self.rank)
        note(self, step, phase)

    with patch.object(GroupHost, "note", noted):
        train_worker(config)


def _under_ray(config: Mapping[str, Any]) -> None:
    from visage.specs.train import EmotionTrainSpec
    from visage_jobs.cluster import ray_session, usable_cpus
    from visage_jobs.train import TrainJob, run_train

    os.environ[CONFIG] = json.dumps(config)
    job = TrainJob(
        recipe="emotion",
        spec=EmotionTrainSpec.parse(config["spec"]),
        data_uri=config["data"],
        run_uri=f"{config['runs']}/ray",
        tracking_uri=config["tracking"],
        workers=2,
    )
    with (
        ray_session(cpus=max(4, usable_cpus())),  # it must be set up before Ray is imported
        patch("visage_jobs.train_worker.train_worker", ray_worker),
    ):
        run_train(job)


def _under_torchrun(config: Mapping[str, Any]) -> None:
    import torch
    import torch.distributed as dist

    from visage.specs.train import EmotionTrainSpec
    from visage.training.host import GroupHost
    from visage.training.session import run_training

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    gate = Gate(Path(config["gates"]), "torchrun")
    rank = dist.get_rank()

    def note(step: int, phase: str) -> None:
        if phase == "begin":
            gate.arrive(step, rank)

    run_training(
        run_uri=f"{config['runs']}/torchrun",
        spec=EmotionTrainSpec.parse(config["spec"]),
        recipe_name="emotion",
        data_uri=config["data"],
        host=GroupHost(note=note),
    )
    dist.destroy_process_group()


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[2]).read_text())
    {"ray": _under_ray, "torchrun": _under_torchrun}[sys.argv[1]](given)
