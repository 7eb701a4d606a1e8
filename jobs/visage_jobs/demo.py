"""`visage demo`: the whole life of both models, every stage by its real verb's own code.

    pictures → audit → prepare → train → evaluate → promote          (visage_jobs.demo_emotion)
    clips → prepare → five recipes → assemble → style → video        (visage_jobs.demo_talking)
    both → serve → ask → one report

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
from typing import Literal

from rich.progress import Progress

from visage.data.records import Corpus, Record
from visage.errors import SpecError
from visage.faces.provider import Box
from visage.media.image import image_size
from visage.specs.serve import ServeSpec
from visage.tracking.report import write_report
from visage.tracking.report.content import EndpointAnswer, EvaluationReport
from visage_jobs.cli.console import Stages, say
from visage_jobs.cluster import ray_session
from visage_jobs.demo_emotion import EmotionDemo, EmotionJob, find_corpus, run_emotion
from visage_jobs.demo_report import talking_part
from visage_jobs.demo_talking import TalkingDemo, TalkingJob, run_talking
from visage_jobs.evaluation_report import curves_of_run
from visage_jobs.serve import serving
from visage_jobs.workspace import Workspace
from visage_serve.client import EmotionClient, TalkingHeadClient
from visage_serve.wire import EmotionReply

__all__ = ["HALVES", "DemoJob", "DemoResult", "Half", "run_demo"]

PICTURES = 3
REPORT = "report.html"
Bars = Callable[[], AbstractContextManager[Progress]]
Half = Literal["emotion", "talking-head"]
HALVES: tuple[Half, ...] = ("emotion", "talking-head")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoJob:
    """What to show, on what."""

    workspace: Workspace
    halves: tuple[Half, ...] = HALVES
    corpus: Path | None = None
    """Pictures in one of the known layouts; None draws a synthetic corpus."""
    clips: Path | None = None
    """Clips of people who speak; None draws them."""
    per_class: int = 240
    """Pictures of each class of the drawn corpus."""
    people: int = 12
    """Drawn people who speak."""
    effort: float = 1.0
    """Share of the steps that the talking head's parts are trained for."""
    preset: str = "emotion-small"
    assignments: tuple[str, ...] = ()
    """Spec keys of the emotion model."""
    workers: int = 2
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Where everything is and how well it went."""

    report: str
    stages_s: dict[str, float]
    emotion: EmotionDemo | None
    talking: TalkingDemo | None
    answers: tuple[EndpointAnswer, ...]


def run_demo(job: DemoJob, *, bars: Bars) -> DemoResult:
    """Run every stage; raises what the stages raise, and a second run continues."""
    if not job.workspace.is_local:
        raise SpecError(
            f"{job.workspace.root}: the demo shows itself on this machine; name a folder"
        )
    stages = Stages()
    emotion_job = EmotionJob(
        workspace=job.workspace, corpus=job.corpus, per_class=job.per_class, preset=job.preset,
        assignments=job.assignments, workers=job.workers, seed=job.seed,
    )  # fmt: skip
    pictures = find_corpus(emotion_job, stages, bars=bars) if "emotion" in job.halves else None
    with stages.stage("start Ray"):
        session = ray_session(cpus=max(4, job.workers + 2))
        session.__enter__()
    try:
        emotion = talking = None
        if pictures is not None:
            emotion = run_emotion(emotion_job, *pictures, stages, bars=bars)
        if "talking-head" in job.halves:
            talking = run_talking(_talking_job(job), stages, bars=bars)
        answers = _served(job, emotion, talking, stages)
    finally:
        session.__exit__(None, None, None)
    with stages.stage("report"):
        page = _report(job, emotion, talking, answers, stages)
    return DemoResult(
        report=page, stages_s=stages.seconds, emotion=emotion, talking=talking, answers=answers
    )


def _talking_job(job: DemoJob) -> TalkingJob:
    return TalkingJob(
        workspace=job.workspace,
        clips=job.clips,
        people=job.people,
        effort=job.effort,
        workers=job.workers,
        seed=job.seed,
    )


def _served(
    job: DemoJob, emotion: EmotionDemo | None, talking: TalkingDemo | None, stages: Stages
) -> tuple[EndpointAnswer, ...]:
    """What the endpoints say to pictures, and to a portrait with a sound, nobody was trained on."""
    spec = ServeSpec(
        model=None if emotion is None else "emotion@champion",
        talking_head=None if talking is None else "talking-head@champion",
        tracking_uri=job.workspace.tracking_uri(),
        port=_free_port(),
    )
    with stages.stage("serve"):
        endpoint = serving(spec)
        running = endpoint.__enter__()
    try:
        with stages.stage("ask"):
            answers: list[EndpointAnswer] = []
            if emotion is not None:
                answers += _ask(running.url, emotion.corpus)
            if talking is not None:
                answers.append(_ask_to_speak(running.url, talking))
    finally:
        endpoint.__exit__(None, None, None)
    return tuple(answers)


def _report(
    job: DemoJob,
    emotion: EmotionDemo | None,
    talking: TalkingDemo | None,
    answers: tuple[EndpointAnswer, ...],
    stages: Stages,
) -> str:
    report = EvaluationReport(title="Visage demo")
    if emotion is not None:
        evaluator, found = emotion.evaluator, emotion.evaluation
        report = replace(
            evaluator.report(found),
            title=f"Visage demo: {emotion.corpus.layout}",
            curves=curves_of_run(emotion.train.run_uri),
        )
        evaluator.write(report, found)
        evaluator.track(found)
    report = replace(
        report,
        talking=None if talking is None else talking_part(talking),
        stages_s=stages.seconds,
        answers=answers,
    )
    return str(write_report(Path(job.workspace.root) / REPORT, report))


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


def _ask_to_speak(url: str, talking: TalkingDemo) -> EndpointAnswer:
    """The unseen portrait and sound, over HTTP."""
    with TalkingHeadClient(url) as client:
        start = time.perf_counter()
        clip = client.animate(talking.portrait.read_bytes(), talking.audio.read_bytes(), fps=25)
        latency_ms = (time.perf_counter() - start) * 1000
    told = {
        "content-type": "video/mp4",
        "bytes": len(clip.video),
        "frames": clip.frames,
        "style": clip.style,
        "model": clip.model,
        "note": clip.note,
    }
    say(
        f"  a video of {clip.frames} frames, {len(clip.video) / 1024:.0f} KiB ({latency_ms:.0f} ms)"
    )
    return EndpointAnswer(
        request=f"POST /v1/talking-head  {talking.portrait.name} + {talking.audio.name}",
        status=200,
        latency_ms=latency_ms,
        body=json.dumps(told, indent=2),
        jpeg=talking.portrait.read_bytes(),
    )


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
