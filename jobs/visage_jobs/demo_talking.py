"""The talking half of `visage demo`: people who speak, drawn or given, to a video of an unseen one.

clips → prepare → audio-encoder → motion → style-mapping → generator → assemble → transfer-style →
animate. Every stage is the real verb's own code, and resumable on its own. The portrait is of a
person, and the sound of a clip, that nothing was trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.progress import Progress

from visage.data.readers import read_corpus
from visage.data.records import Corpus, Record
from visage.data.shards import ShardRows, load_manifest
from visage.errors import DataError
from visage.media.audio_writer import write_sound
from visage.media.sandbox import MediaSandbox
from visage.rendering.provenance import file_digest
from visage.rendering.sound import TRACK_HZ
from visage.specs.prepare import ClipPrepareSpec
from visage.specs.render import RenderSpec
from visage.synth.spec import VoxCeleb2Spec
from visage.synth.takes import takes_of
from visage.synth.voxceleb2 import write_take, write_voxceleb2
from visage.tracking.gates import GateResult
from visage.tracking.head_evaluation import HeadEvaluation
from visage.training.recipes import spec_class
from visage_jobs.animate import Animated, AnimateJob, run_animate
from visage_jobs.assemble import Assembled, AssembleJob, run_assemble
from visage_jobs.cli.console import Stages, say
from visage_jobs.cli.train import Watcher
from visage_jobs.evaluate_heads import HeadEvaluationJob, evaluate_head
from visage_jobs.parts import fitted
from visage_jobs.prepare import PrepareJob, run_prepare
from visage_jobs.presets import find_preset
from visage_jobs.train import TrainJob, TrainResult, default_run_name, run_train
from visage_jobs.transfer_style import TransferJob, Transferred, run_transfer
from visage_jobs.workspace import Workspace

__all__ = ["TalkingDemo", "TalkingJob", "head_gates", "run_talking"]

Bars = Callable[[], AbstractContextManager[Progress]]
PICTURE_PX = 256
"""Side of the stored pictures; the small presets need no more."""
STYLE = "rap"
"""Which style of the drawn people is taught from a clip of a test person, where there is one."""
TAUGHT = "from-a-clip"
STYLE_CLIP_S = 12.0
"""Of the drawn clip that teaches it: long enough for its end to be held out."""
LEAST_OPENING_R = 0.6
MOST_SAID_S = 10.0
"""A longer sound is cut there, so that any clip is said in a moment and an endpoint takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkingJob:
    """What to show, on what."""

    workspace: Workspace
    clips: Path | None = None
    """Real clips in a known layout; None draws people."""
    people: int = 12
    """Drawn ones; two of them are for the test."""
    effort: float = 1.0
    """Share of the small presets' steps."""
    workers: int = 2
    seed: int = 0
    assignments: dict[str, tuple[str, ...]] | None = None
    """Further spec keys by recipe, for tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkingDemo:
    """What the half made."""

    data_uri: str
    assembled: Assembled
    trained: dict[str, TrainResult]
    """By recipe."""
    transferred: Transferred
    video: Animated
    scores: HeadEvaluation
    """On the clips of people whom nothing was trained on, beside a frozen face and the mean."""
    portrait: Path
    audio: Path


def run_talking(job: TalkingJob, stages: Stages, *, bars: Bars) -> TalkingDemo:
    """Run every stage; raises what the stages raise, and a second run continues."""
    corpus = _corpus(job, stages, bars)
    with stages.stage("prepare clips"):
        data_uri = _prepare(job, corpus, bars)
    shown = _test_clips(corpus, data_uri)
    trained = _train_parts(job, data_uri, stages, bars)
    with stages.stage("assemble"):
        assembled = run_assemble(
            AssembleJob(
                workspace=job.workspace,
                motion=trained["motion"].run_uri,
                generator=trained["generator"].run_uri,
                data=data_uri,
            )
        )
        say(f"  {assembled.version.name}@{assembled.alias}: styles {', '.join(assembled.styles)}")
    with stages.stage("transfer a style"):
        transferred = _transfer(job, _style_clip(job, shown), assembled.digest, bars)
    portrait = _portrait(job, data_uri)
    audio = _said(job, Path(corpus.root) / shown[-1].path)
    with stages.stage("animate"):
        video = _animate(job, portrait, audio, bars)
    with stages.stage("compare with the truth"):
        scores = _score(job, data_uri, bars)
        for gate in head_gates(scores):
            say(f"  {'passed' if gate.passed else 'FAILED'}  {gate.name}: {gate.sentence}")
    return TalkingDemo(
        data_uri=data_uri,
        assembled=assembled,
        trained=trained,
        transferred=transferred,
        video=video,
        scores=scores,
        portrait=portrait,
        audio=audio,
    )


def _corpus(job: TalkingJob, stages: Stages, bars: Bars) -> Corpus:
    if job.clips is not None:
        return read_corpus(job.clips)
    root = Path(job.workspace.root) / "talking"
    with stages.stage("draw people who speak"), bars() as progress:
        spec = VoxCeleb2Spec(identities=job.people, seed=job.seed)
        task = progress.add_task("drawing", total=spec.total())
        write_voxceleb2(root, spec, progress=lambda at, _: progress.update(task, completed=at))
    return read_corpus(root)


def _prepare(job: TalkingJob, corpus: Corpus, bars: Bars) -> str:
    uri = job.workspace.data(f"talking-{Path(corpus.root).name}")
    with bars() as progress:
        task = progress.add_task("preparing", total=len(corpus.records))
        done = run_prepare(
            PrepareJob(
                corpus=corpus,
                out=uri,
                spec=ClipPrepareSpec(size=PICTURE_PX, seed=job.seed, rows_per_shard=4),
            ),
            progress=lambda at, total: progress.update(task, completed=at, total=total),
        )
    return done.uri


def _train_parts(
    job: TalkingJob, data_uri: str, stages: Stages, bars: Bars
) -> dict[str, TrainResult]:
    """Each part hears or sees through the ones before it."""
    trained: dict[str, TrainResult] = {}

    def train(recipe: str, *assignments: str) -> None:
        with stages.stage(f"train {recipe}"):
            trained[recipe] = _train(job, recipe, data_uri, assignments, bars)

    train("audio-encoder")
    train("motion", f"audio_encoder={trained['audio-encoder'].model_uri}")
    train("style-mapping")
    train("generator", f"style_mapping={trained['style-mapping'].model_uri}")
    return trained


def _train(
    job: TalkingJob, recipe: str, data_uri: str, assignments: Sequence[str], bars: Bars
) -> TrainResult:
    preset, kind = find_preset(f"{recipe}-small"), spec_class(recipe)
    steps = kind.load(preset).max_steps or 1
    texts = [
        f"max_steps={max(2, round(job.effort * steps))}",
        *assignments,
        *(job.assignments or {}).get(recipe, ()),
    ]
    spec = fitted(kind.load(preset, assignments=texts), texts)
    with bars() as progress:
        return run_train(
            TrainJob(
                recipe=recipe,
                spec=spec,
                data_uri=data_uri,
                run_uri=job.workspace.run(default_run_name(recipe, spec, data_uri)),
                tracking_uri=job.workspace.tracking_uri(),
                experiment=recipe,
                workers=job.workers,
            ),
            watch=Watcher(progress, label=recipe),
        )


def _test_clips(corpus: Corpus, data_uri: str) -> list[Record]:
    """Clips of people whom nothing is trained on, without those that could not be prepared.

    Raises:
        DataError: there is none; told before hours of training.
    """
    for_test = [record for record in corpus.records if record.split == "test"]
    if not for_test:
        raise DataError(f"{corpus.root}: no clip is for the test; nobody would be unseen")
    manifest, store = load_manifest(data_uri)
    rows = ShardRows(manifest, store, "test")
    prepared = set(rows.column("clip")) if len(rows) else set()
    found = [record for record in for_test if record.key in prepared]
    if not found:
        raise DataError(f"{data_uri}: every test clip was rejected; nobody is unseen")
    return found


def _style_clip(job: TalkingJob, shown: Sequence[Record]) -> Path:
    """A clip of a person whom nothing was trained on, in the style to teach if there is one."""
    if job.clips is not None:
        styled = (record for record in shown if record.style == STYLE)
        return job.clips / next(styled, shown[0]).path
    spec = VoxCeleb2Spec(identities=job.people, seed=job.seed, seconds=STYLE_CLIP_S)
    unseen = next(one for one in takes_of(spec) if one.part == "test" and one.style == STYLE)
    take = replace(unseen, number=spec.clips + 1)  # one that the corpus does not hold
    root = Path(job.workspace.root) / "style-clip"
    write_take(root, spec, take)
    return root / take.path


def _transfer(job: TalkingJob, clip: Path, model_digest: str, bars: Bars) -> Transferred:
    preset = find_preset("style-transfer-small")
    made_of = hashlib.sha256(f"{model_digest}:{file_digest(clip)}:{job.effort}".encode())
    steps = spec_class("style-transfer").load(preset, motion="-", style_clips="-").max_steps or 1
    with bars() as progress:
        return run_transfer(
            TransferJob(
                workspace=job.workspace,
                clip=clip,
                name=f"{TAUGHT}-{made_of.hexdigest()[:6]}",  # a name is of one style for ever
                assignments=(
                    f"max_steps={max(2, round(job.effort * steps))}",
                    *(job.assignments or {}).get("style-transfer", ()),
                ),
            ),
            watch=Watcher(progress, label="transfer", first="reading the clip"),
            note=lambda text: say(f"  {text}"),
        )


def _portrait(job: TalkingJob, data_uri: str) -> Path:
    """A picture of a test person at rest."""
    manifest, store = load_manifest(data_uri)
    rows = ShardRows(manifest, store, "test")
    portrait = Path(job.workspace.root) / "portrait.jpg"
    portrait.write_bytes(rows.row(0, ("references",))["references"][0])
    return portrait


def _said(job: TalkingJob, clip: Path) -> Path:
    """A clip whose sound is said; of a long one the beginning of its sound."""
    with MediaSandbox() as sandbox:
        sound = sandbox.decode_audio(clip, sample_rate=TRACK_HZ)
    if len(sound) <= MOST_SAID_S * TRACK_HZ:
        return clip
    cut = Path(job.workspace.root) / "said.m4a"
    write_sound(cut, sound[: round(MOST_SAID_S * TRACK_HZ)], TRACK_HZ, kind="m4a", bit_rate=128_000)
    return cut


def _score(job: TalkingJob, data_uri: str, bars: Bars) -> HeadEvaluation:
    with bars() as progress:
        task = progress.add_task("comparing", total=None)
        return evaluate_head(
            HeadEvaluationJob(workspace=job.workspace, data_uri=data_uri),
            progress=lambda at, total: progress.update(task, completed=at, total=total),
        )


def _animate(job: TalkingJob, portrait: Path, audio: Path, bars: Bars) -> Animated:
    with bars() as progress:
        task = progress.add_task("rendering", total=None)
        return run_animate(
            AnimateJob(
                workspace=job.workspace,
                portrait=portrait,
                audio=audio,
                out=Path(job.workspace.root) / "talking-head.mp4",
                spec=RenderSpec(fps=25, seed=job.seed),
            ),
            progress=lambda at, total: progress.update(task, completed=at, total=total),
        )


def head_gates(found: HeadEvaluation) -> tuple[GateResult, ...]:
    """What a model that heard nothing, or moved no mouth, would fail."""
    made = found.subjects["generated"]
    gates = []
    for name, title in (("lmd", "LMD"), ("d_a", "D-A")):
        others = {one: found.subjects[one][name].mean for one in ("frozen", "mean")}
        gates.append(
            GateResult(
                name=f"{title} below both stills",
                passed=made[name].mean < min(others.values()),
                measured=made[name].mean,
                required=min(others.values()),
                sentence=f"{made[name].mean:.2f}; frozen face {others['frozen']:.2f}, mean motion "
                f"{others['mean']:.2f}",
            )
        )
    opening = made["opening_r"].mean
    gates.append(
        GateResult(
            name="mouths open with the truth",
            passed=opening >= LEAST_OPENING_R,
            measured=opening,
            required=LEAST_OPENING_R,
            sentence=f"r {opening:.2f}, at least {LEAST_OPENING_R}",
        )
    )
    return tuple(gates)
