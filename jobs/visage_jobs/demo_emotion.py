"""The emotion half of `visage demo`: corpus (drawn, or given) → audit → prepare → train → evaluate
→ promote. Every stage is the real verb's own code, and resumable on its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.progress import Progress

from visage.data.audit import AuditReport, audit_corpus
from visage.data.leaks import without_leaks
from visage.data.ncaers import build_ncaers
from visage.data.readers import read_corpus
from visage.data.records import Corpus
from visage.specs.prepare import EmotionPrepareSpec
from visage.specs.train import EmotionTrainSpec
from visage.synth.caer_s import write_caer_s
from visage.synth.spec import CaerSSpec
from visage.tracking.evaluation import Evaluation
from visage.tracking.gates import GatePolicy
from visage_jobs.cli.console import Stages, say
from visage_jobs.cli.train import Watcher
from visage_jobs.evaluation_report import Evaluator
from visage_jobs.prepare import PrepareJob, PrepareResult, run_prepare
from visage_jobs.presets import find_preset
from visage_jobs.promote import PromoteJob, Promotion, run_promote
from visage_jobs.train import TrainJob, TrainResult, default_run_name, run_train
from visage_jobs.workspace import Workspace

__all__ = ["EmotionDemo", "EmotionJob", "find_corpus", "run_emotion"]

CHANCE_FACTOR = 1.5
"""The demo's model is promoted if even the low end of its interval beats chance so clearly."""
Bars = Callable[[], AbstractContextManager[Progress]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionJob:
    """What to show, on what."""

    workspace: Workspace
    corpus: Path | None = None
    """A corpus in one of the known layouts; None draws a synthetic one."""
    per_class: int = 240
    """Pictures of each class of the drawn corpus."""
    preset: str = "emotion-small"
    assignments: tuple[str, ...] = ()
    workers: int = 2
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionDemo:
    """What the half made."""

    corpus: Corpus
    evaluator: Evaluator
    evaluation: Evaluation
    promotion: Promotion
    train: TrainResult
    leaks_dropped: int


def find_corpus(job: EmotionJob, stages: Stages, *, bars: Bars) -> tuple[Corpus, int]:
    """The corpus without leaks between its splits, and how many pictures that left out."""
    corpus = _corpus(job, stages, bars)
    with stages.stage("audit"):
        audit = _audit(corpus, bars)
        corpus, dropped = without_leaks(corpus, audit)
        say(f"  {_told(audit)}; {dropped} training pictures left out")
    return corpus, dropped


def run_emotion(
    job: EmotionJob, corpus: Corpus, dropped: int, stages: Stages, *, bars: Bars
) -> EmotionDemo:
    """Prepare, train, evaluate and promote, on a Ray that runs; a second run continues."""
    with stages.stage("prepare"):
        prepared = _prepare(job, corpus, bars)
    with stages.stage("train"):
        trained = _train(job, corpus, prepared.uri, bars)
    evaluator = Evaluator(job.workspace, data_uri=prepared.uri, split="test")
    with stages.stage("evaluate"):
        found = _evaluate(evaluator, trained, bars)
    with stages.stage("promote"):
        promotion = _promote(job, found)
    return EmotionDemo(
        corpus=corpus,
        evaluator=evaluator,
        evaluation=found,
        promotion=promotion,
        train=trained,
        leaks_dropped=dropped,
    )


def _corpus(job: EmotionJob, stages: Stages, bars: Bars) -> Corpus:
    if job.corpus is None:
        root = Path(job.workspace.root) / "corpus"
        with stages.stage("draw a corpus"), bars() as progress:
            spec = CaerSSpec(per_class=job.per_class, seed=job.seed)
            task = progress.add_task("drawing", total=spec.total())
            write_caer_s(root, spec, progress=lambda at, total: progress.update(task, completed=at))
        return read_corpus(root)
    corpus = read_corpus(job.corpus)
    if not any(record.kind == "video" for record in corpus.records):
        return corpus
    stills = Path(job.workspace.root) / "stills"
    with stages.stage("draw stills from clips"), bars() as progress:
        task = progress.add_task("clips", total=len(corpus.records))
        build_ncaers(
            corpus,
            stills,
            seed=job.seed,
            progress=lambda at, _: progress.update(task, completed=at),
        )
    return read_corpus(stills)


def _audit(corpus: Corpus, bars: Bars) -> AuditReport:
    with bars() as progress:
        task = progress.add_task("auditing", total=len(corpus.records))
        return audit_corpus(
            corpus,
            progress=lambda stage, at, count: progress.update(
                task, description=stage, completed=at, total=count
            ),
        )


def _told(audit: AuditReport) -> str:
    return (
        f"{audit.files.num_rows} pictures, {audit.duplicates.num_rows} duplicate pairs, "
        f"{audit.leaks.num_rows} leaks between splits"
    )


def _prepare(job: EmotionJob, corpus: Corpus, bars: Bars) -> PrepareResult:
    out = job.workspace.data(Path(corpus.root).name)
    with bars() as progress:
        task = progress.add_task("preparing", total=len(corpus.records))
        return run_prepare(
            PrepareJob(
                corpus=corpus, out=out, spec=EmotionPrepareSpec(seed=job.seed, rows_per_shard=128)
            ),
            progress=lambda at, total: progress.update(task, completed=at, total=total),
        )


def _train(job: EmotionJob, corpus: Corpus, data_uri: str, bars: Bars) -> TrainResult:
    assignments = list(job.assignments)
    if all(record.is_face_crop for record in corpus.records):
        say("  the pictures are face crops: the model reads faces only (inputs F)")
        assignments.append("model.inputs=F")
    spec = EmotionTrainSpec.load(find_preset(job.preset), assignments=assignments)
    run_uri = job.workspace.run(default_run_name("emotion", spec, data_uri))
    with bars() as progress:
        return run_train(
            TrainJob(
                recipe="emotion",
                spec=spec,
                data_uri=data_uri,
                run_uri=run_uri,
                tracking_uri=job.workspace.tracking_uri(),
                workers=job.workers,
            ),
            watch=Watcher(progress),
        )


def _evaluate(evaluator: Evaluator, trained: TrainResult, bars: Bars) -> Evaluation:
    with bars() as progress:
        task = progress.add_task("predicting", total=None)
        found, _ = evaluator.evaluate(
            trained.model_uri,
            progress=lambda at, total: progress.update(task, completed=at, total=total),
            with_report=False,
        )
        return found


def _promote(job: EmotionJob, found: Evaluation) -> Promotion:
    chance = 1 / max(1, sum(one.support > 0 for one in found.per_class))
    policy = GatePolicy(accuracy_floor=CHANCE_FACTOR * chance, recall_floor=0.0)
    target = PromoteJob(target=found.uri, workspace=job.workspace, policy=policy)
    promotion = run_promote(target)
    for gate in promotion.gates:
        say(f"  {'passed' if gate.passed else 'FAILED'}  {gate.name}: {gate.sentence}")
    if not promotion.passed:
        say("  no gate is bypassed for a model that is used; the demo serves this one to show how")
        return run_promote(replace(target, force=True))
    return promotion
