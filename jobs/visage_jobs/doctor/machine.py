"""Does this machine have GPUs that torch knows, a sandbox, memory, disk, files and a clock?"""

from __future__ import annotations

import datetime
import resource
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from visage_jobs.doctor.check import Check, fail, ok, warn

__all__ = [
    "arch_runs",
    "check_clock",
    "check_disk",
    "check_files",
    "check_gpus",
    "check_sandbox",
    "check_shared_memory",
]

GIB = 2**30
SHARED_MEMORY_WANTED_GIB = 1.0
DISK_WANTED_GIB = 20.0
DISK_NEEDED_GIB = 2.0
FILES_WANTED = 4096
FILES_NEEDED = 512
EARLIEST_YEAR = 2025
CLOCK_SAMPLE_S = 0.02
CLOCK_DRIFT_S = 0.01


def check_gpus() -> list[Check]:
    """Every GPU here is one that this build of torch has kernels for."""
    import torch

    if not torch.cuda.is_available():
        if shutil.which("nvidia-smi") and torch.version.cuda is None:
            advice = "install the CUDA build of torch to use it (for a V100 the cu126 build)"
            return [warn("gpu", "a GPU, but torch is built for the CPU only", advice)]
        return [ok("gpu", "none; everything runs on the CPU")]
    built_for = torch.cuda.get_arch_list()
    return [
        _check_gpu(
            f"gpu {index}",
            torch.cuda.get_device_name(index),
            torch.cuda.get_device_capability(index),
            built_for,
        )
        for index in range(torch.cuda.device_count())
    ]


def _check_gpu(
    name: str, model: str, capability: tuple[int, int], built_for: Iterable[str]
) -> Check:
    known = list(built_for)
    arch = f"sm_{capability[0]}{capability[1]}"
    if arch_runs(capability, known):
        return ok(name, f"{model}, {arch}")
    advice = "install a torch build for it"
    if capability == (7, 0):
        advice = (
            "install torch 2.13 or 2.14 from the cu126 index; other builds have dropped the V100"
        )
    return fail(name, f"{model} is {arch}, torch is built for {', '.join(known)}", advice)


def arch_runs(capability: tuple[int, int], built_for: Iterable[str]) -> bool:
    """Whether code of `sm_70`-like names runs: same major and no newer minor, or PTX no newer."""
    for name in built_for:
        kind, _, digits = name.partition("_")
        digits = digits.rstrip("af")
        if not digits.isdigit():
            continue
        built = (int(digits[:-1]), int(digits[-1]))
        if kind == "sm" and built[0] == capability[0] and built[1] <= capability[1]:
            return True
        if kind == "compute" and built <= capability:
            return True
    return False


def check_sandbox(guards: Callable[[], Iterable[str]] | None = None) -> Check:
    """Untrusted media are decoded in a process without network, files or children."""
    active = list((guards or _sandbox_guards)())
    found = ", ".join(active)
    if "system call filter" in active:
        return ok("media sandbox", found)
    without = "it can open files that this user can read"
    if "no-network namespace" not in active:
        without += " and reach the network"
    advice = (
        f"a decoder that was taken over is held by less: {without}; allow seccomp filters "
        "(Linux on x86_64 or aarch64, a container runtime that does not forbid prctl)"
    )
    return warn("media sandbox", found, advice)


def check_shared_memory(folder: Path = Path("/dev/shm")) -> Check:
    """Ray's object store fits into shared memory."""
    try:
        size_gib = shutil.disk_usage(folder).total / GIB
    except OSError:
        return warn("shared memory", f"no {folder}", "Ray will use the disk instead, which is slow")
    if size_gib >= SHARED_MEMORY_WANTED_GIB:
        return ok("shared memory", f"{size_gib:.1f} GiB")
    return warn(
        "shared memory",
        f"{size_gib * 1024:.0f} MiB",
        "give the container more: docker run --shm-size=4g, or an emptyDir of medium Memory",
    )


def check_disk(folder: Path) -> Check:
    """Enough room where data, checkpoints and caches go."""
    at = folder
    while not at.exists():
        at = at.parent
    free_gib = shutil.disk_usage(at).free / GIB
    found = f"{free_gib:.1f} GiB free at {folder}"
    if free_gib >= DISK_WANTED_GIB:
        return ok("disk", found)
    if free_gib >= DISK_NEEDED_GIB:
        return warn(
            "disk", found, "enough for the demo; prepare large corpora elsewhere (--workspace)"
        )
    return fail("disk", found, "free some space, or name another folder with --workspace")


def check_files(limit: Callable[[], int] | None = None) -> Check:
    """Ray opens thousands of files and sockets."""
    allowed = (limit or _soft_file_limit)()
    found = "no limit" if allowed < 0 else f"{allowed} open files"
    if allowed < 0 or allowed >= FILES_WANTED:
        return ok("file limit", found)
    advice = "raise it before starting: ulimit -n 65536"
    return (warn if allowed >= FILES_NEEDED else fail)("file limit", found, advice)


def check_clock(
    *,
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Check:
    """The wall clock is set, and runs as fast as the monotonic one."""
    wall_start, start = wall(), monotonic()
    sleep(CLOCK_SAMPLE_S)
    drift_s = abs((wall() - wall_start) - (monotonic() - start))
    year = datetime.datetime.fromtimestamp(wall_start, datetime.UTC).year
    if year < EARLIEST_YEAR:
        return fail("clock", f"says {year}", "set the clock (chrony or systemd-timesyncd)")
    if drift_s > CLOCK_DRIFT_S:
        found = f"jumped by {drift_s * 1000:.0f} ms while watched"
        return warn("clock", found, "let chrony or systemd-timesyncd slew it instead of stepping")
    return ok("clock", "set, and steady")


def _soft_file_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _sandbox_guards() -> Iterable[str]:
    from visage.media.sandbox import MediaSandbox

    with MediaSandbox() as sandbox:
        return sandbox.guards()
