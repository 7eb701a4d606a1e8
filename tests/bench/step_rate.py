"""R1: steps per second under Ray Train with two gloo workers, against torchrun on the same session.

Both groups are started, warmed up and then called in turns for 40 steps at a time, so that whatever
else the machine does meets both. One torch thread a worker on both sides.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.bench.corpora import draw, write_shards
from tests.bench.figures import Figure, figure, paired
from tests.bench.step_sides import BLOCK_STEPS, WARM_STEPS, Gate, await_file

from visage.specs.train import EmotionTrainSpec
from visage.store.open import open_store
from visage.training.checkpoint import restore
from visage.training.run_dir import ledger_chain
from visage_jobs.presets import find_preset

__all__ = ["measure"]

PRESET = "emotion-small"
WIDTHS = (8, 16, 16, 32, 32)
BATCH = 16
SIDES = ("ray", "torchrun")
REPOSITORY = Path(__file__).resolve().parents[2]
END_LIMIT_S = 120.0


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """Losses of both sides are compared after the clock ran: the same steps were taken."""
    blocks = 1 if quick else 5
    spec = _spec(blocks)
    config: dict[str, Any] = {
        "spec": spec.model_dump(mode="json"),
        "data": write_shards(folder / "data", draw(21 if quick else 70), spec.model.input,
                             train=560),
        "runs": str(folder / "runs"),
        "gates": str(folder / "gates"),
        "tracking": f"sqlite:///{folder}/mlflow.db",
    }  # fmt: skip
    (folder / "gates").mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    gates = {side: Gate(folder / "gates", side) for side in SIDES}
    taken: dict[str, list[float]] = {side: [] for side in SIDES}
    with ExitStack() as stack:
        for side, gate in gates.items():
            stack.enter_context(_started(side, folder / "config.json"))
            await_file(gate.sign("here", 0))
        for block in range(blocks):
            for side, gate in gates.items():
                gate.sign("go", block).touch()
                taken[side].append(float(await_file(gate.sign("done", block))))
        for gate in gates.values():
            gate.sign("go", blocks).touch()  # to the end of the run
    _compare(folder / "runs")
    how = (
        f"{PRESET} with widths {WIDTHS}, global batch {BATCH}, 2 gloo workers of one thread; "
        f"{blocks} blocks of {BLOCK_STEPS} steps in turns after {WARM_STEPS} to warm up; losses "
        "compared step by step"
    )
    rates = {side: [BLOCK_STEPS / one for one in spent] for side, spent in taken.items()}
    return [
        figure("steps under Ray Train", rates["ray"], "steps/s", how=how),
        figure("steps under torchrun", rates["torchrun"], "steps/s", how=how),
        paired("step rate, Ray Train by torchrun", rates["ray"], rates["torchrun"], how=how,
               goal=">= 0.97", ratio="R1"),
    ]  # fmt: skip


def _spec(blocks: int) -> EmotionTrainSpec:
    preset = EmotionTrainSpec.load(find_preset(PRESET))
    return preset.model_copy(
        update={
            "model": preset.model.model_copy(update={"widths": WIDTHS}),
            "global_batch": BATCH,
            "micro_batch": BATCH,
            "epochs": 10_000.0,
            "max_steps": WARM_STEPS + blocks * BLOCK_STEPS + 1,
            "checkpoint_every_s": 900.0,
            "stall_limit_s": 600.0,
        }
    )


@contextmanager
def _started(side: str, config: Path) -> Iterator[None]:
    """One side's processes; waits for their end, and ends them if something went wrong."""
    module = ["-m", "tests.bench.step_sides", side, str(config)]
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command = [sys.executable, *(launcher if side == "torchrun" else []), *module]
    paths = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]).rstrip(":")
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": paths}, stdout=sys.stderr
    )
    try:
        yield
        code = process.wait(timeout=END_LIMIT_S)
        if code:
            raise RuntimeError(f"the side {side} ended with exit {code}")
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=END_LIMIT_S)


def _compare(runs: Path) -> None:
    losses = []
    for side in SIDES:
        store = open_store(str(runs / side))
        found = restore(store)
        assert found is not None
        rows = ledger_chain(store, found.state.ledger)
        losses.append([(row.step, row.rank, row.ids, row.loss) for row in rows])
    if losses[0] != losses[1]:
        raise AssertionError("the two sides did not take the same steps")
