"""The emotion presets on one GPU, fp32 and fp16, channels last, by the real training session.

Runs without Ray: torch, numpy, pyarrow, safetensors, pydantic, PyYAML, OpenCV and Pillow are all it
needs. With `--device cpu` tiny networks of five convolutions take the same way; that says nothing
about speed.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.figures import show
from tests.bench.machine import load_average, machine_facts
from tests.bench.processes import DISTURBING_CORES, Neighbours
from tests.bench.report import part, write_report

if TYPE_CHECKING:
    import torch
    from tests.bench.corpora import Drawing
    from tests.bench.figures import Figure
    from tests.bench.gpu_preset import Scale

__all__ = ["run_gpu"]

NEEDED = ("torch", "numpy", "pyarrow", "safetensors", "pydantic", "yaml", "cv2", "PIL")
PRESETS = ("emotion-small", "emotion-modern", "emotion-resnet18")
CPU_PRESETS = PRESETS[:2]
"""A CPU computes fp16 by emulation: minutes for one step of a ResNet."""
CANNOT_RUN = 2
QUERY_LIMIT_S = 20.0
GPU_WINDOW_S = 15.0
"""Between two saves; a GPU is lent for minutes."""


def run_gpu(out: Path, *, device: str, quick: bool) -> int:
    """Measure all presets, write the JSON after each, print the table; returns the exit code."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(f"the GPU bench needs {', '.join(missing)}: not installed here", file=sys.stderr)
        return CANNOT_RUN
    problem = _problem(device)
    if problem:
        print(problem, file=sys.stderr)
        return CANNOT_RUN
    from tests.bench.corpora import draw
    from tests.bench.gpu_preset import Scale

    is_cpu = device.partition(":")[0] == "cpu"
    scale = Scale.tiny() if is_cpu else Scale.full(quick=quick)
    start = time.perf_counter()
    report: dict[str, Any] = {
        "machine": machine_facts(),
        "device": _device_facts(device),
        "quick": quick or is_cpu,
        "load_before": load_average(),
        "measurements": {},
        "curves": {},
    }
    drawings = draw(scale.pictures)
    for name in CPU_PRESETS if is_cpu else PRESETS:
        print(f"▸ {name} on {report['device']['name']} …", file=sys.stderr, flush=True)
        _add_preset(report, name, drawings, device=device, scale=scale)
        report["wall_s"] = round(time.perf_counter() - start, 1)
        report["load_after"] = load_average()
        write_report(out, report)  # a lease that ends early leaves what is done
    _add_loop(report, device=device, quick=report["quick"])
    report["wall_s"] = round(time.perf_counter() - start, 1)
    report["load_after"] = load_average()
    write_report(out, report)
    print("  ".join(f"{key} {value}" for key, value in report["device"].items() if value))
    show(report)
    print(f"written to {out}")
    return 1 if any(one["failed"] for one in report["measurements"].values()) else 0


def _add_preset(
    report: dict[str, Any], name: str, drawings: Sequence[Drawing], *, device: str, scale: Scale
) -> None:
    from tests.bench.gpu_preset import measure_preset

    before, start = load_average(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="visage-gpu-") as folder, Neighbours() as others:
        found = measure_preset(name, drawings, Path(folder), device=device, scale=scale)
    report["curves"][name] = found.curves
    report["measurements"][name] = part(
        found.figures,
        failed="; ".join(found.failures) or None,
        wall_s=time.perf_counter() - start,
        load=(before, load_average()),
        others_cores=others.cores,
        disturbed=others.cores > DISTURBING_CORES,
    )


def _add_loop(report: dict[str, Any], *, device: str, quick: bool) -> None:
    """R4, R6 and R7 on the device, around steps that are no model's."""
    from tests.bench.data_wait import measure_on as wait_on
    from tests.bench.save_stall import measure_on as stall_on

    from visage.errors import VisageError

    parts: dict[str, Callable[[Path], list[Figure]]] = {
        "data_wait": lambda folder: wait_on(device, folder, quick=quick),
        "save_stall": lambda folder: stall_on(device, folder, quick=quick, window_s=GPU_WINDOW_S),
    }
    for name, measure in parts.items():
        print(f"▸ {name} on {report['device']['name']} …", file=sys.stderr, flush=True)
        before, start, failed = load_average(), time.perf_counter(), None
        figures: list[Figure] = []
        with tempfile.TemporaryDirectory(prefix="visage-gpu-") as folder, Neighbours() as others:
            try:
                figures = measure(Path(folder))
            except VisageError as err:
                failed = str(err)
        report["measurements"][name] = part(
            figures,
            failed=failed,
            wall_s=time.perf_counter() - start,
            load=(before, load_average()),
            others_cores=others.cores,
            disturbed=others.cores > DISTURBING_CORES,
        )


def _problem(device: str) -> str | None:
    """Why nothing can be measured, in one line."""
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError:
        return f"--device {device}: use cuda, cuda:N or cpu"
    if kind == "cuda" and not torch.cuda.is_available():
        built = torch.version.cuda or "none"
        return (
            "no GPU: torch sees no CUDA device here, so nothing was measured "
            f"(torch {torch.__version__}, built for CUDA {built})"
        )
    return None


def _device_facts(device: str) -> dict[str, Any]:
    """Name, driver and versions, without which no GPU figure may be quoted."""
    import torch

    facts: dict[str, Any] = {"device": device, "torch": torch.__version__}
    if torch.device(device).type != "cuda":
        return {**facts, "name": "cpu", "driver": None}
    seen: torch._C._CudaDeviceProperties = torch.cuda.get_device_properties(device)
    return {
        **facts,
        "name": seen.name,
        "memory_gib": round(seen.total_memory / 2**30, 1),
        "capability": f"{seen.major}.{seen.minor}",
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "cudnn": _cudnn(),
    }


def _cudnn() -> int | None:
    import torch

    version: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]  # torch's
    return version


def _driver() -> str | None:
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=QUERY_LIMIT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.split()), None)
