"""`visage prepare` on Ray Data: chunks of records in, published shards out, a manifest at the end.

What travels through Ray are references (a chunk) and counts; pictures never leave the
actor that decodes them, so memory does not grow with the corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from visage.data.chunks import Chunk, ChunkDone, prepare_chunk
from visage.data.clip_builder import ClipRowMaker
from visage.data.corpus_files import open_files
from visage.data.emotion_builder import EmotionRowMaker
from visage.data.manifest import Manifest
from visage.data.prepare import Plan, assemble, plan_chunks, settings_digest
from visage.data.readers import carve_validation
from visage.data.records import Corpus
from visage.data.row_maker import RowMaker
from visage.data.speech_builder import SpeechRowMaker
from visage.errors import SpecError
from visage.faces import open_provider
from visage.faces.mapper import open_region_mapper
from visage.media.sandbox import MediaSandbox
from visage.specs.prepare import (
    PREPARE_SPECS,
    ClipPrepareSpec,
    EmotionPrepareSpec,
    PrepareSpec,
    SpeechPrepareSpec,
)
from visage.store.open import open_store
from visage_jobs.actor_pool import over_actors

__all__ = ["PrepareJob", "PrepareResult", "plan_prepare", "run_prepare", "spec_for"]

Progress = Callable[[int, int], None]
"""Called with records done and records in all."""
GO_ON = "What was prepared is kept; run the same command again to go on"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareJob:
    """A corpus, where its shards go, and how."""

    corpus: Corpus
    out: str
    spec: PrepareSpec
    weights_dir: Path | None = None
    """Of the `fan` provider."""
    parser_weights: Path | None = None
    """BiSeNet weights; with them a parser labels the regions, else the landmarks do."""
    address: str | None = None
    """Ray cluster; None starts one on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareResult:
    """What a prepare job did."""

    manifest: Manifest
    uri: str
    reused_records: int
    prepared_records: int
    wall_s: float
    stage_s: dict[str, float]
    """CPU seconds by stage, of workers and their decoders."""
    media_s: float
    """Seconds of sound or moving picture in the rows that were prepared; 0 for pictures."""
    provider: str

    def media_per_core_s(self) -> float:
        """Seconds of sound or moving picture that one core prepares in a second; above 1 is faster
        than real time. Time spent on rejected records counts, their length does not."""
        spent = sum(self.stage_s.values())
        return self.media_s / spent if spent > 0 else 0.0

    def records_per_core_s(self) -> dict[str, float]:
        """Pictures or clips per second of one core, by stage."""
        done = self.prepared_records
        return {name: done / spent for name, spent in self.stage_s.items() if spent > 0}


def spec_for(corpus: Corpus, rows: str = "auto") -> type[PrepareSpec]:
    """The spec class for a kind of rows; `auto` goes by what the corpus states.

    Raises:
        SpecError: no such kind.
    """
    if rows == "auto":
        kinds = {record.kind for record in corpus.records}
        name = next((name for name, spec in PREPARE_SPECS.items() if kinds <= {*spec.accepts}), "")
        rows = "emotion" if corpus.classes or not name else name
    if rows not in PREPARE_SPECS:
        raise SpecError(f"rows {rows!r}: choose auto or one of {', '.join(PREPARE_SPECS)}")
    return PREPARE_SPECS[rows]


def plan_prepare(job: PrepareJob) -> tuple[PrepareJob, Plan, str]:
    """The job with its validation split, what is to do, and the settings' digest."""
    corpus = job.corpus
    if not any(record.split == "val" for record in corpus.records) and job.spec.val_fraction:
        corpus = carve_validation(corpus, job.spec.val_fraction, job.spec.seed)
    job = replace(job, corpus=corpus)
    provider = open_provider(job.spec.faces, weights_dir=job.weights_dir)
    regions = open_region_mapper(job.parser_weights)
    settings = settings_digest(job.spec, provider=provider.name, regions=regions.name)
    plan = plan_chunks(corpus, open_store(job.out), job.spec, settings=settings)
    return job, plan, settings


def run_prepare(job: PrepareJob, *, progress: Progress | None = None) -> PrepareResult:
    """Prepare what is missing and write the manifest.

    Raises:
        DataError: the corpus holds clips, too much was rejected, or an outcome is missing.
        ClusterError: Ray failed, or a chunk kills whoever prepares it.
    """
    start = perf_counter()
    job, plan, settings = plan_prepare(job)
    provider = open_provider(job.spec.faces, weights_dir=job.weights_dir).name
    done_records = plan.standing_records
    report = progress or (lambda done, total: None)
    report(done_records, plan.records)
    seconds: dict[str, float] = {}
    prepared, media_s = 0, 0.0
    if plan.chunks:
        sizes = {chunk.key: len(chunk.records) for chunk in plan.chunks}
        for done in _on_ray(job, plan.chunks, settings):
            prepared += done.prepared + done.rejected if done.seconds else 0
            media_s += done.media_s
            for name, spent in done.seconds.items():
                seconds[name] = seconds.get(name, 0.0) + spent
            done_records += sizes[done.key]
            report(done_records, plan.records)
    keys = [*plan.standing, *(chunk.key for chunk in plan.chunks)]
    manifest = assemble(keys, job.corpus, open_store(job.out), job.spec, provider=provider)
    return PrepareResult(
        manifest=manifest,
        uri=job.out,
        reused_records=plan.records - prepared,
        prepared_records=prepared,
        wall_s=perf_counter() - start,
        stage_s=seconds,
        media_s=media_s,
        provider=provider,
    )


class ChunkWorker:
    """What an actor holds: a face provider and a decoder; turns chunks into shards."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        import cv2

        cv2.setNumThreads(1)  # one actor is one core; more threads only contend
        self._maker = _open_maker(settings)
        self._store = open_store(settings["out"])
        self._files = open_files(settings["root"])
        self._digest: str = settings["digest"]

    def __call__(self, chunk: Chunk) -> ChunkDone:
        """One chunk; the result is small."""
        paths = [record.path for record in chunk.records] if chunk.keep_of is None else []
        with self._files.at_hand(paths) as root:
            return prepare_chunk(
                chunk, self._maker, root=root, store=self._store, settings=self._digest
            )


def _open_maker(settings: Mapping[str, Any]) -> RowMaker:
    """The tools of one kind of rows; they decode one file at a time."""
    spec: PrepareSpec = settings["spec"]
    sandbox = MediaSandbox()
    if isinstance(spec, SpeechPrepareSpec):
        return SpeechRowMaker(spec=spec, sandbox=sandbox)
    provider = open_provider(spec.faces, weights_dir=settings["weights_dir"])
    if isinstance(spec, EmotionPrepareSpec):
        return EmotionRowMaker(
            classes=tuple(settings["classes"]),
            spec=spec,
            provider=provider,
            sandbox=sandbox,
            regions=open_region_mapper(settings["parser_weights"]),
        )
    if isinstance(spec, ClipPrepareSpec):
        return ClipRowMaker(spec=spec, provider=provider, sandbox=sandbox)
    raise SpecError(f"no rows can be made of {type(spec).__name__}")


def _on_ray(job: PrepareJob, chunks: tuple[Chunk, ...], settings: str) -> Iterator[ChunkDone]:
    return over_actors(
        chunks,
        ChunkWorker,
        {
            "spec": job.spec,
            "weights_dir": job.weights_dir,
            "parser_weights": job.parser_weights,
            "out": job.out,
            "root": job.corpus.root,
            "classes": job.corpus.classes,
            "digest": settings,
        },
        name=lambda chunk: f"chunk {chunk.key} (from {chunk.records[0].key} on)",
        address=job.address,
        go_on=GO_ON,
    )
