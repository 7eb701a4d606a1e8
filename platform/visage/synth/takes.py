"""One clip of a talking person, from numbers to pictures, sound and truth.

Invariant: a take is a function of the spec and its place in it; drawing adds nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.data.clip_truth import ClipTruth
from visage.faces.pose import angles_of
from visage.faces.provider import Image
from visage.seeds import rng_of, seed_of
from visage.specs.emotion import EMOTIONS
from visage.synth.face import Person, placed_points
from visage.synth.film import Film
from visage.synth.geometry import Features, features_of
from visage.synth.identity import draw_identity, dressed
from visage.synth.performance import Performance, perform
from visage.synth.relief import Light, Pose
from visage.synth.settings import draw_setting
from visage.synth.spec import VoxCeleb2Spec
from visage.synth.speech import speak, voice_of
from visage.synth.styles import style_of
from visage.synth.utterance import Utterance, compose

__all__ = ["Shot", "Take", "shoot", "takes_of"]

_FACE_WIDTH, _EYE_LINE = 0.47, 0.43  # shares of the picture: tight, as a tracker's crop is
_SOFT = 0.018  # how far the backdrop is out of focus, share of the picture
_MIRROR = np.diag([1.0, 1.0, -1.0])  # the drawing's z points to the viewer, the truth's away


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """One clip: who speaks in which style, in which recording, for the how-manieth time."""

    person: int
    style: str
    video: str
    """Eleven letters that name the recording; a person and a style share one."""
    number: int
    part: str
    """dev or test."""

    @property
    def name(self) -> str:
        """`idNNNNN/<video>/NNNNN`, the same in every tree of the corpus."""
        return f"id{self.person:05d}/{self.video}/{self.number:05d}"

    @property
    def path(self) -> str:
        """Of the clip, relative to the root."""
        return f"{self.part}/mp4/{self.name}.mp4"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shot:
    """A take, ready to be drawn."""

    utterance: Utterance
    sound: NDArray[np.float32]
    people: tuple[tuple[Person, Features], ...]
    """The person in each frame."""
    truth: ClipTruth
    film: Film

    def frames(self) -> Iterator[Image]:
        """The pictures, RGB (size, size, 3)."""
        return (self.film.frame(person, features) for person, features in self.people)


def takes_of(spec: VoxCeleb2Spec) -> list[Take]:
    """All takes, sorted by path."""
    takes = []
    for person in range(1, spec.identities + 1):
        part = "test" if person > spec.identities - spec.test_identities else "dev"
        for index in range(spec.clips):
            style = spec.styles[index % len(spec.styles)]
            takes.append(
                Take(
                    person=person,
                    style=style,
                    video=_video_name(spec.seed, person, style),
                    number=index // len(spec.styles) + 1,
                    part=part,
                )
            )
    return sorted(takes, key=lambda take: take.path)


def shoot(spec: VoxCeleb2Spec, take: Take) -> Shot:
    """Say, act and set up a take; pictures are drawn when they are asked for."""
    identity = draw_identity(take.person, seed=spec.seed)
    seed = seed_of(spec.seed, "take", take.name)
    frames = max(2, round(spec.seconds * spec.fps))
    utterance = compose(
        style_of(take.style), duration_s=frames / spec.fps, rng=rng_of(seed, "words")
    )
    voice = voice_of(take.person, is_female=identity.is_female, seed=spec.seed)
    sound = speak(utterance, voice, sample_rate=spec.sample_rate, rng=rng_of(seed, "noise"))
    acted = perform(utterance, frames=frames, fps=spec.fps, seed=seed)
    film = _film(spec, take)
    people = tuple(
        (person, features_of(person.identity, person.expression))
        for person in (
            film.person_at(expression, pose, (float(shift[0]), float(shift[1])))
            for expression, pose, shift in zip(
                acted.expressions, acted.poses, acted.shifts, strict=True
            )
        )
    )
    truth = _truth(spec, take, people, acted, utterance)
    return Shot(utterance=utterance, sound=sound, people=people, truth=truth, film=film)


def _film(spec: VoxCeleb2Spec, take: Take) -> Film:
    """Clothes, light and backdrop belong to the recording, not to the clip."""
    rng = rng_of(spec.seed, "recording", take.video)
    size = spec.size
    setting = draw_setting(EMOTIONS[int(rng.integers(len(EMOTIONS)))], rng, width=size, height=size)
    backdrop = np.asarray(cv2.GaussianBlur(setting, (0, 0), _SOFT * size), np.uint8)
    person = Person(
        identity=dressed(draw_identity(take.person, seed=spec.seed), rng),
        expression=style_of(take.style).face,
        light=Light(
            x=float(rng.choice([-1.0, 1.0]) * rng.uniform(0.15, 0.55)),
            y=float(rng.uniform(-0.65, -0.3)),
            contrast=float(rng.uniform(0.85, 1.1)),
        ),
        x=size * float(rng.uniform(0.485, 0.515)),
        y=size * float(rng.uniform(_EYE_LINE - 0.01, _EYE_LINE + 0.01)),
        face_width=size * float(rng.uniform(_FACE_WIDTH - 0.02, _FACE_WIDTH + 0.02)),
    )
    return Film(person, backdrop)


def _truth(
    spec: VoxCeleb2Spec,
    take: Take,
    people: tuple[tuple[Person, Features], ...],
    acted: Performance,
    utterance: Utterance,
) -> ClipTruth:
    placed = [placed_points(person, features) for person, features in people]
    shape = np.stack([shape for _, shape in placed])
    return ClipTruth(
        fps=float(spec.fps),
        width=spec.size,
        height=spec.size,
        style=take.style,
        points=np.stack([points for points, _ in placed]),
        shape=(shape * np.array([1.0, 1.0, -1.0])).astype(np.float32),
        pose=np.array([_angles(person.pose) for person, _ in people], np.float32),
        mouth=acted.mouth.astype(np.float32),
        phones=utterance.phones,
    )


def _angles(pose: Pose) -> tuple[float, float, float]:
    """Pitch, yaw and roll as everything outside of the drawing states them."""
    turn = _MIRROR @ pose.matrix().astype(np.float64) @ _MIRROR
    yaw, pitch, roll = angles_of(turn)
    return pitch, yaw, roll


def _video_name(seed: int, person: int, style: str) -> str:
    """Eleven characters as of the site that the real clips come from."""
    digest = hashlib.sha256(f"{seed}/{person}/{style}".encode()).digest()
    return base64.urlsafe_b64encode(digest[:9]).decode()[:11]
