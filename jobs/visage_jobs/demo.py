"""`visage demo`: the whole life of the emotion model on one corpus, every stage by its real verb.

corpus (drawn, or given) → audit → prepare → train → evaluate → promote → serve → ask → report.
Each stage is resumable on its own, so a broken demo continues, and a second one only asks again.
"""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.progress import Progress

from visage.data.audit import AuditReport, audit_corpus
from visage.data.leaks import without_leaks
from visage.data.ncaers import build_ncaers
from visage.data.readers import read_corpus
from visage.data.records import Corpus, Record
from visage.faces.provider import Box
from visage.media.image import image_size
from visage.specs.prepare import EmotionPrepareSpec
from visage.specs.serve import ServeSpec
from visage.specs.train import EmotionTrainSpec
from visage.synth.caer_s import write_caer_s
from visage.synth.spec import CaerSSpec
from visage.tracking.evaluation import Evaluation
from visage.tracking.gates import GatePolicy
from visage.tracking.report.content import EndpointAnswer
from visage_jobs.cli.console import Stages, say
from visage_jobs.cli.train import Watcher
from visage_jobs.cluster import ray_session
from visage_jobs.evaluation_report import Evaluator, curves_of_run
from visage_jobs.prepare import PrepareJob, PrepareResult, run_prepare
from visage_jobs.presets import find_preset
from visage_jobs.promote import PromoteJob, Promotion, run_promote
from visage_jobs.serve import serving
from visage_jobs.train import TrainJob, TrainResult, default_run_name, run_train
from visage_jobs.workspace import Workspace
from visage_serve.client import EmotionClient
from visage_serve.wire import EmotionReply

__all__ = ["DemoJob", "DemoResult", "run_demo"]

CHANCE_FACTOR = 1.5
"""The demo's model is promoted if even the low end of its interval beats chance so clearly."""
PICTURES = 3
Bars = Callable[[], AbstractContextManager[Progress]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoJob:
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
class DemoResult:
    """Where everything is and how well it went."""

    evaluation: Evaluation
    report: str
    stages_s: dict[str, float]
    promotion: Promotion
    train: TrainResult
    leaks_dropped: int
    answers: tuple[EndpointAnswer, ...]


def run_demo(job: DemoJob, *, bars: Bars) -> DemoResult:
    """Run every stage; raises what the stages raise, and a second run continues."""
    stages = Stages()
    corpus = _corpus(job, stages, bars)
    with stages.stage("audit"):
        audit = _audit(corpus, bars)
        corpus, dropped = without_leaks(corpus, audit)
        say(f"  {_told(audit)}; {dropped} training pictures left out")
    with stages.stage("start Ray"):
        session = ray_session(cpus=max(4, job.workers + 2))
        session.__enter__()
    try:
        return _on_ray(job, corpus, dropped, stages, bars)
    finally:
        session.__exit__(None, None, None)


def _on_ray(job: DemoJob, corpus: Corpus, dropped: int, stages: Stages, bars: Bars) -> DemoResult:
    with stages.stage("prepare"):
        prepared = _prepare(job, corpus, bars)
    with stages.stage("train"):
        trained = _train(job, corpus, prepared.uri, bars)
    evaluator = Evaluator(job.workspace, data_uri=prepared.uri, split="test")
    with stages.stage("evaluate"):
        found = _evaluate(evaluator, trained, bars)
    with stages.stage("promote"):
        promotion = _promote(job, found)
    spec = ServeSpec(tracking_uri=job.workspace.tracking_uri(), port=_free_port())
    with stages.stage("serve"):
        endpoint = serving(spec)
        running = endpoint.__enter__()
    try:
        with stages.stage("ask"):
            answers = _ask(running.url, corpus)
    finally:
        endpoint.__exit__(None, None, None)
    with stages.stage("report"):
        report = replace(
            evaluator.report(found),
            title=f"Visage demo: {corpus.layout}",
            curves=curves_of_run(trained.run_uri),
            stages_s=stages.seconds,
            answers=answers,
        )
        page = evaluator.write(report, found)
        evaluator.track(found)
    return DemoResult(
        evaluation=found,
        report=page,
        stages_s=stages.seconds,
        promotion=promotion,
        train=trained,
        leaks_dropped=dropped,
        answers=tuple(answers),
    )


def _corpus(job: DemoJob, stages: Stages, bars: Bars) -> Corpus:
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


def _prepare(job: DemoJob, corpus: Corpus, bars: Bars) -> PrepareResult:
    out = job.workspace.data(Path(corpus.root).name)
    with bars() as progress:
        task = progress.add_task("preparing", total=len(corpus.records))
        return run_prepare(
            PrepareJob(
                corpus=corpus, out=out, spec=EmotionPrepareSpec(seed=job.seed, rows_per_shard=128)
            ),
            progress=lambda at, total: progress.update(task, completed=at, total=total),
        )


def _train(job: DemoJob, corpus: Corpus, data_uri: str, bars: Bars) -> TrainResult:
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


def _promote(job: DemoJob, found: Evaluation) -> Promotion:
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


def _ask(url: str, corpus: Corpus) -> list[EndpointAnswer]:
    answers = []
    with EmotionClient(url) as client:
        for record in _chosen(corpus):
            body = (Path(corpus.root) / record.path).read_bytes()
            boxes = _boxes(record, body)
            start = time.perf_counter()
            reply = client.ask([body], boxes, overlay=True)
            latency_ms = (time.perf_counter() - start) * 1000
            answers.append(_answer(record, reply, latency_ms))
            say(f"  {record.key}: {_read(reply)}  ({latency_ms:.0f} ms)")
    return answers


def _chosen(corpus: Corpus) -> list[Record]:
    """A few test pictures of different classes."""
    tested = [record for record in corpus.records if record.split == "test"]
    by_label = {record.label: record for record in reversed(tested)}
    labels = sorted(by_label, key=str)[:: max(1, len(by_label) // PICTURES)]
    return [by_label[label] for label in labels[:PICTURES]]


def _boxes(record: Record, body: bytes) -> list[list[Box]] | None:
    """Boxes are sent only for face crops, in which no detector could find a face."""
    if not record.is_face_crop:
        return None
    width, height = image_size(body)
    return [[(0, 0, width, height)]]


def _read(reply: EmotionReply) -> str:
    faces = reply.images[0].faces
    told = [f"{face.label} {max(face.probabilities.values()):.0%}" for face in faces]
    return ", ".join(told) or (reply.images[0].note or "no face")


def _answer(record: Record, reply: EmotionReply, latency_ms: float) -> EndpointAnswer:
    image = reply.images[0]
    shown = image.model_dump(mode="json", exclude={"overlay_jpeg": True, "error": True})
    for face in shown["faces"]:
        face["attention"] = f"{len(face['attention'])} rows"
        face["probabilities"] = {name: round(p, 4) for name, p in face["probabilities"].items()}
    return EndpointAnswer(
        request=f"POST /v1/emotion  {record.key} (truth: {record.label})",
        status=200,
        latency_ms=latency_ms,
        body=json.dumps(shown, indent=2),
        jpeg=base64.b64decode(image.overlay_jpeg) if image.overlay_jpeg else None,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
