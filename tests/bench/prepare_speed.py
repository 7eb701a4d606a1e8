"""`visage prepare`: pictures per second by stage, and memory at two corpus sizes.

Each job runs in a process and a Ray of its own, small and large corpus in turns. Shards hold 32
rows in both, so that only the number of pictures differs.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.bench.figures import Figure, figure
from tests.bench.processes import PeakMemory

from visage.data.readers import read_corpus
from visage.data.records import Corpus
from visage.specs.emotion import EMOTIONS
from visage.specs.prepare import EmotionPrepareSpec
from visage.synth.caer_s import write_caer_s
from visage.synth.spec import CaerSSpec

__all__ = ["measure"]

STAGES = ("decode", "faces", "masks", "write")
ROWS_PER_SHARD = 32
LIMIT_S = 240.0
ROLES = {"worker": "MapWorker", "decoder": "visage.media.sandbox.child", "driver": "spawn_main"}
"""Processes of a job, and what stands in the command of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One prepare job and what it took."""

    pictures: int
    wall_s: float
    ray_start_s: float
    again_s: float
    stage_s: dict[str, float]
    peak_mib: dict[str, float] = field(default_factory=dict)
    """By role; the largest process of a role counts."""


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """Draw one corpus, prepare a quarter and all of it in turns, then find faces in some."""
    per_class = 8 if quick else 80
    start = time.perf_counter()
    drawn = write_caer_s(folder / "corpus", CaerSSpec(per_class=per_class, identities=24))
    draw_s = time.perf_counter() - start
    corpus = read_corpus(folder / "corpus")
    part = replace(corpus, records=corpus.records[:: 4 if per_class > 8 else 2])
    small, large = [], []
    for turn in range(1 if quick else 2):
        small.append(_measured(part, folder / f"small{turn}"))
        large.append(_measured(corpus, folder / f"large{turn}"))
    rate = figure(
        "pictures drawn", [drawn.written / draw_s], "1/s", how="write_caer_s, all cores, 533x400"
    )
    return [rate, *_speed(large), *_memory(small, large), *_found(corpus, quick=quick)]


def _measured(corpus: Corpus, out: Path) -> _Job:
    context = multiprocessing.get_context("spawn")
    texts = ROLES.values()
    with PeakMemory(*texts) as memory, ProcessPoolExecutor(1, mp_context=context) as pool:
        job = pool.submit(_prepare, corpus, str(out)).result(timeout=LIMIT_S)
    return replace(job, peak_mib={role: memory.peak_mib[text] for role, text in ROLES.items()})


def _prepare(corpus: Corpus, out: str) -> _Job:
    """In a process of its own: start Ray, prepare, and ask once more."""
    from visage_jobs.cluster import ray_session
    from visage_jobs.prepare import PrepareJob, run_prepare

    spec = EmotionPrepareSpec(faces="dlib68", rows_per_shard=ROWS_PER_SHARD)
    job = PrepareJob(corpus=corpus, out=out, spec=spec)
    start = time.perf_counter()
    with ray_session():
        ray_start_s = time.perf_counter() - start
        done = run_prepare(job)
        again = run_prepare(job)
    return _Job(
        pictures=done.prepared_records,
        wall_s=done.wall_s,
        ray_start_s=ray_start_s,
        again_s=again.wall_s,
        stage_s=done.stage_s,
    )


def _speed(jobs: Sequence[_Job]) -> list[Figure]:
    size = jobs[0].pictures
    how = f"visage prepare on Ray, {size} pictures of 533x400 with stated boxes, dlib68"
    figures = [
        figure(
            f"prepare: {stage}",
            [job.pictures / job.stage_s[stage] for job in jobs],
            "1/s per core",
            how=f"{how}; pictures by CPU time of worker and decoder in this stage",
        )
        for stage in STAGES
    ]
    all_stages = [job.pictures / sum(job.stage_s.values()) for job in jobs]
    return [
        *figures,
        figure("prepare: all stages", all_stages, "1/s per core", how=f"{how}; sum of stages"),
        figure(
            "prepare: the job",
            [job.pictures / (job.wall_s + job.ray_start_s) for job in jobs],
            "1/s",
            how=f"{how}; whole job by the clock, Ray's start included",
        ),
        figure("prepare: Ray's start", [job.ray_start_s for job in jobs], "s", how=how),
        figure(
            "prepare: run again",
            [job.again_s for job in jobs],
            "s",
            how=f"{how}; every shard stands already, the manifest is written again",
        ),
    ]


def _memory(small: Sequence[_Job], large: Sequence[_Job]) -> list[Figure]:
    few, many = small[0].pictures, large[0].pictures
    how = (
        f"high-water resident memory (VmHWM), shared pages included; {ROWS_PER_SHARD} rows a shard"
    )
    figures = []
    for role in ROLES:
        peaks = [[job.peak_mib[role] for job in jobs] for jobs in (small, large)]
        if not all(peaks[0]):
            continue  # no such process was seen
        for pictures, found in ((few, peaks[0]), (many, peaks[1])):
            figures.append(figure(f"{role} peak, {pictures} pictures", found, "MiB", how=how))
        ratios = [big / one for one, big in zip(*peaks, strict=True)]
        paired, flat = f"{how}; {many} pictures by {few}, paired", "1: flat in corpus size"
        figures.append(figure(f"{role} peak, ratio", ratios, "x", how=paired, goal=flat))
    return figures


def _found(corpus: Corpus, *, quick: bool) -> list[Figure]:
    """The price of boxes that are not stated: the detector, in this process."""
    import cv2

    from visage.faces import open_provider
    from visage.media.image import decode_image

    cv2.setNumThreads(1)
    provider = open_provider("dlib68")
    stated: list[float] = []
    found: list[float] = []
    step = max(1, len(corpus.records) // (len(EMOTIONS) * (1 if quick else 4)))
    for record in corpus.records[::step]:
        image = decode_image((Path(corpus.root) / record.path).read_bytes())
        if record.box is None:
            continue
        start = time.perf_counter()
        provider.landmarks(image, record.box)
        located = time.perf_counter()
        boxes = [face.box for face in provider.detect(image)]
        provider.landmarks(image, boxes[0] if boxes else record.box)
        stated.append(1.0 / (located - start))
        found.append(1.0 / (time.perf_counter() - located))
    how = "single pictures of 533x400 in one process, both ways in turns, dlib68"
    return [
        figure("faces, box stated", stated, "1/s per core", how=f"{how}: landmarks alone"),
        figure("faces, found", found, "1/s per core", how=f"{how}: detector and landmarks"),
    ]
