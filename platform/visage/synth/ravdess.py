"""Draws a corpus in the layout of RAVDESS: one person, a plain wall, a spoken sentence with sound.

<root>/Actor_AA/01-01-EE-II-SS-RR-AA.mp4 <root>/truth.jsonl synth.json
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from visage.errors import DataError
from visage.faces.provider import Image
from visage.media.video import write_video
from visage.seeds import rng_of
from visage.synth.caer import frame_truth
from visage.synth.expression import Expression, emotion_expression, jittered, mixed
from visage.synth.face import Person, draw_person
from visage.synth.identity import draw_identity
from visage.synth.motion import Motion, draw_motion
from visage.synth.production import (
    Progress,
    Stopwatch,
    SynthReport,
    claim,
    produce,
    size_of,
    write_truth,
)
from visage.synth.relief import Light, Pose
from visage.synth.scene import TRUTH_SCHEMA, ScenePlan, moved
from visage.synth.spec import RavdessSpec
from visage.synth.voice import SENTENCES, Utterance, speak

__all__ = ["Take", "take_frames", "takes_of", "write_ravdess"]

FPS = Fraction(30000, 1001)
SAMPLE_RATE = 48_000

_EMOTIONS: tuple[tuple[str, str, float], ...] = (
    ("neutral", "Neutral", 0.25),
    ("calm", "Neutral", 0.2),
    ("happy", "Happy", 0.8),
    ("sad", "Sad", 0.3),
    ("angry", "Anger", 1.0),
    ("fearful", "Fear", 0.8),
    ("disgust", "Disgust", 0.6),
    ("surprised", "Surprise", 0.9),
)
"""Name, expression and energy of the voice for the codes 01 to 08."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """One clip: who says what, how, and for the how-manieth time."""

    emotion: int
    """1 to 8 as in the names of RAVDESS."""
    intensity: int
    statement: int
    repetition: int
    actor: int

    @property
    def path(self) -> str:
        """Relative to the root; sound and picture (01), speech (01)."""
        numbers = (1, 1, self.emotion, self.intensity, self.statement, self.repetition, self.actor)
        name = "-".join(f"{number:02d}" for number in numbers)
        return f"Actor_{self.actor:02d}/{name}.mp4"


@dataclass(frozen=True, slots=True)
class _Job:
    root: str
    spec: RavdessSpec
    take: Take


def write_ravdess(
    out: str | Path,
    spec: RavdessSpec | None = None,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> SynthReport:
    """Draw the clips into the folder `out`, keeping what an earlier run of the same spec has made.

    Args:
        out: The root of the corpus; created if absent.
        spec: What to draw; the defaults of RavdessSpec if not given.
        workers: Processes; one a core by default.
        progress: Called with clips done and clips in all.

    Raises:
        DataError: the folder holds something else, or cannot be written.
    """
    chosen, root, watch = spec or RavdessSpec(), Path(out), Stopwatch()
    claim(root, chosen)
    takes = takes_of(chosen)
    jobs = [_Job(str(root), chosen, take) for take in takes]
    written, kept = produce(jobs, _draw, workers=workers, progress=progress)
    write_truth(root, (_truth(chosen, take) for take in takes))
    counts: dict[str, dict[str, int]] = {}
    for take in takes:
        row = counts.setdefault(f"Actor_{take.actor:02d}", {})
        name = _EMOTIONS[take.emotion - 1][0]
        row[name] = row.get(name, 0) + 1
    return SynthReport(
        root=root,
        layout=chosen.layout,
        written=written,
        kept=kept,
        size_bytes=size_of(root, (take.path for take in takes)),
        seconds=watch.seconds(),
        counts=counts,
    )


def takes_of(spec: RavdessSpec) -> list[Take]:
    """All takes, sorted by path; neutral has no strong intensity."""
    takes = [
        Take(
            emotion=emotion,
            intensity=intensity,
            statement=statement,
            repetition=repetition,
            actor=actor,
        )
        for actor in range(1, spec.actors + 1)
        for emotion in range(1, len(_EMOTIONS) + 1)
        for intensity in ((1,) if emotion == 1 else (1, 2))
        for statement in range(1, spec.statements + 1)
        for repetition in range(1, spec.repetitions + 1)
    ]
    return sorted(takes, key=lambda take: take.path)


def take_frames(spec: RavdessSpec, take: Take) -> Iterator[Image]:
    """The frames of a take, RGB (height, width, 3)."""
    x = np.linspace(-1, 1, spec.width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, spec.height, dtype=np.float32)[:, None]
    wall = 232 - 26 * (x * x + (y - 0.1) ** 2)
    blank = np.repeat(wall[..., None], 3, axis=2).astype(np.uint8)
    for plan in _plans(spec, take, _utterance(spec, take)):
        image = blank.copy()
        draw_person(image, plan.person)
        yield image


def _rng(spec: RavdessSpec, take: Take, purpose: str) -> np.random.Generator:
    return rng_of(spec.seed, purpose, take.path)


def _target(spec: RavdessSpec, take: Take) -> Expression:
    code, strength = take.emotion, 1.05 if take.intensity == 2 else 0.72
    target = emotion_expression(_EMOTIONS[code - 1][1], intensity=strength)
    if code == 2:  # calm: a trace of a smile, softer eyes
        target = mixed(Expression(), emotion_expression("Happy"), weight=0.1 * take.intensity)
    return jittered(target, _rng(spec, take, "face"))


def _utterance(spec: RavdessSpec, take: Take) -> Utterance:
    energy = _EMOTIONS[take.emotion - 1][2] * (1.0 if take.intensity == 2 else 0.75)
    base_hz = 118.0 if take.actor % 2 else 205.0
    return speak(
        SENTENCES[take.statement],
        duration_s=spec.duration_s,
        sample_rate=SAMPLE_RATE,
        pitch_hz=base_hz * (0.9 + 0.35 * energy),
        energy=energy,
        rng=_rng(spec, take, "voice"),
    )


def _plans(spec: RavdessSpec, take: Take, utterance: Utterance) -> Iterator[ScenePlan]:
    target, name = _target(spec, take), _EMOTIONS[take.emotion - 1][1]
    motion: Motion = draw_motion(
        target, Pose(), duration_s=spec.duration_s, rng=_rng(spec, take, "motion")
    )
    face_width = 0.31 * spec.height
    person = Person(
        identity=draw_identity(take.actor, seed=spec.seed),
        light=Light(x=-0.35, y=-0.45),
        x=spec.width / 2,
        y=0.40 * spec.height,
        face_width=face_width,
    )
    scene = ScenePlan(
        label=name,
        shown_expression=name,
        shown_setting="",
        blend=0.0,
        intensity=1.0,
        person=person,
        setting_seed=0,
        width=spec.width,
        height=spec.height,
    )
    for index in range(max(2, round(spec.duration_s * FPS))):
        time_s = float(index / FPS)
        opening, spread = utterance.mouth(time_s)
        moment = motion.at(time_s, opening=opening, spread=spread)
        yield moved(
            scene,
            expression=moment.expression,
            pose=moment.pose,
            dx=moment.dx * face_width,
            dy=moment.dy * face_width,
        )


def _truth(spec: RavdessSpec, take: Take) -> dict[str, object]:
    name, label, _ = _EMOTIONS[take.emotion - 1]
    return {
        "schema": TRUTH_SCHEMA,
        "path": take.path,
        "group": f"Actor_{take.actor:02d}",
        "emotion": name,
        "label": label if name != "calm" else None,
        "intensity": take.intensity,
        "statement": take.statement,
        "repetition": take.repetition,
        "fps": float(FPS),
        "width": spec.width,
        "height": spec.height,
        "frames": frame_truth(_plans(spec, take, _utterance(spec, take))),
    }


def _draw(job: _Job) -> bool:
    """Write one clip unless it is there; clips only get their name when whole."""
    path = Path(job.root) / job.take.path
    if path.is_file() and path.stat().st_size > 0:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(
            path,
            take_frames(job.spec, job.take),
            fps=FPS,
            audio=_utterance(job.spec, job.take).samples,
            audio_rate=SAMPLE_RATE,
        )
    except OSError as err:
        raise DataError(f"{path}: cannot be written: {err}") from None
    return True
