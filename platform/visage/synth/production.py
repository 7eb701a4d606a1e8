"""Makes a corpus on disk: many files in parallel, each whole or absent, and the truth beside them.

`synth.json` states the resolved spec and is written first, so a folder belongs to one spec; a
file that is already there whole was made by it and is kept. `truth.jsonl` comes last.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2

from visage.errors import DataError, VisageError
from visage.synth.spec import CorpusSpec

__all__ = [
    "Progress",
    "Stopwatch",
    "SynthReport",
    "claim",
    "produce",
    "size_of",
    "write_atomically",
    "write_truth",
]

SETTINGS_FILE = "synth.json"
TRUTH_FILE = "truth.jsonl"
SCHEMA = "visage.synth/1"

J = TypeVar("J")
Progress = Callable[[int, int], None]
"""Called with files done and files in all, from the calling process."""

BATCH = 8  # pictures that travel to a worker together
_STALL_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthReport:
    """What was made."""

    root: Path
    layout: str
    written: int
    """Files drawn in this run."""
    kept: int
    """Files that an earlier run had made."""
    size_bytes: int
    seconds: float
    counts: dict[str, dict[str, int]]
    """Pictures or clips by split (or actor) and class."""


def claim(root: Path, spec: CorpusSpec) -> None:
    """Mark a folder as holding the corpus of one spec; raises DataError if it holds another.

    Raises:
        DataError: the folder holds something else, or a corpus with other settings.
    """
    marker = root / SETTINGS_FILE
    stated = {"schema": SCHEMA, "digest": spec.digest(), "spec": spec.model_dump(mode="json")}
    try:
        root.mkdir(parents=True, exist_ok=True)
        held = json.loads(marker.read_text()) if marker.is_file() else None
        names = sorted(entry.name for entry in root.iterdir())
        strangers = [] if held else [name for name in names if not name.startswith(".")]
    except (OSError, ValueError) as err:
        raise DataError(f"{root}: cannot hold a corpus: {err}; choose another folder") from None
    if strangers:
        raise DataError(
            f"{root}: holds other things ({strangers[0]}, …) and no {SETTINGS_FILE}; "
            "choose an empty folder"
        )
    if held is None:
        write_atomically(marker, json.dumps(stated, indent=1).encode())
    elif held.get("schema") != SCHEMA or held.get("digest") != spec.digest():
        raise DataError(f"{root}: holds a corpus with other settings{_differences(held, spec)}")


def produce(
    jobs: Sequence[J],
    work: Callable[[J], bool],
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    batch: int = BATCH,
) -> tuple[int, int]:
    """Run `work` on all jobs, in processes; returns how many it did and how many were done before.

    Args:
        jobs: Small and picklable.
        work: A module-level function that says whether it wrote anything.
        workers: Processes; one a core by default; 1 stays in this process.
        progress: Told how far it is.
        batch: Jobs that travel to a process together; 1 where each takes long.
    """
    count = min(workers or _cores(), max(1, len(jobs) // batch))
    tell = progress or (lambda done, total: None)
    tell(0, len(jobs))
    outcomes = (
        _serial(jobs, work) if count == 1 else _parallel(jobs, work, workers=count, batch=batch)
    )
    done = written = 0
    for results in outcomes:
        done += len(results)
        written += sum(results)
        tell(done, len(jobs))
    return written, done - written


def write_atomically(path: Path, body: bytes) -> None:
    """Put bytes under a name all at once; raises DataError if the disk refuses."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(body)
        partial.replace(path)
    except OSError as err:
        raise DataError(f"{path}: cannot be written: {err}") from None
    finally:
        with suppress(OSError):  # the error above says more than this one could
            partial.unlink(missing_ok=True)


def write_truth(root: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write `truth.jsonl`, one line for each picture or clip, in the given order."""
    lines = (json.dumps(row, separators=(",", ":")) for row in rows)
    write_atomically(root / TRUTH_FILE, ("\n".join(lines) + "\n").encode())


def size_of(root: Path, paths: Iterable[str]) -> int:
    """Bytes of some files of the corpus."""
    return sum((root / path).stat().st_size for path in paths)


def _serial(jobs: Sequence[J], work: Callable[[J], bool]) -> Iterable[list[bool]]:
    for job in jobs:
        yield [work(job)]


def _parallel(
    jobs: Sequence[J], work: Callable[[J], bool], *, workers: int, batch: int
) -> Iterable[list[bool]]:
    """Batches through a pool with a bounded number in flight; a lost worker is a DataError."""
    batches = iter([jobs[at : at + batch] for at in range(0, len(jobs), batch)])
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_single_threaded)
    pending: set[Future[list[bool]]] = set()
    try:
        while True:
            for part in batches:
                pending.add(pool.submit(_run_batch, work, part))
                if len(pending) >= 3 * workers:
                    break
            if not pending:
                break
            finished, pending = wait(pending, timeout=_STALL_S, return_when=FIRST_COMPLETED)
            if not finished:
                raise DataError(f"no picture was finished in {_STALL_S:.0f} s; is the disk full?")
            for future in finished:
                yield _result(future)
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _result(future: Future[list[bool]]) -> list[bool]:
    try:
        return future.result(timeout=_STALL_S)
    except VisageError:
        raise
    except (OSError, RuntimeError) as err:  # a pool that lost a process is a RuntimeError
        raise DataError(f"a drawing process failed: {err}; run the same command again") from err


def _run_batch(work: Callable[[J], bool], batch: Sequence[J]) -> list[bool]:
    return [work(job) for job in batch]


def _single_threaded() -> None:
    """Processes share the cores already; threads inside of them would only fight."""
    cv2.setNumThreads(1)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _differences(held: Mapping[str, Any], spec: CorpusSpec) -> str:
    here, asked = held.get("spec", {}), spec.model_dump(mode="json")
    names = [name for name in asked if here.get(name) != asked[name]]
    told = ", ".join(f"{name} {here.get(name)} there, {asked[name]} asked" for name in names[:3])
    return f" ({told}); choose another folder, or the same settings to continue it"


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start counting."""
        self._clock, self._start = clock, clock()

    def seconds(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start
