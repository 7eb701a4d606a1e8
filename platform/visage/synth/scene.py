"""One scene: a person within a setting, planned from numbers first, drawn when wanted.

Invariant: a plan is a function of the corpus spec and the picture's place in it, and holds the
whole truth; drawing adds nothing. So truth can be written, and a broken run continued, without
drawing again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from visage.faces.provider import Image
from visage.seeds import rng_of, seed_of
from visage.specs.emotion import EMOTIONS
from visage.synth.cues import CONFUSIONS, CueSpec, face_table, setting_table
from visage.synth.expression import Expression, emotion_expression, jittered, mixed
from visage.synth.face import Person, draw_person, person_landmarks, tight_box
from visage.synth.identity import Colour, draw_identity, dressed
from visage.synth.relief import Light, Pose
from visage.synth.settings import draw_setting

__all__ = [
    "TRUTH_SCHEMA",
    "ScenePlan",
    "draw_scene",
    "moved",
    "plan_scene",
    "scene_box",
    "truth_row",
]

TRUTH_SCHEMA = "visage.synth-truth/1"

_REFERENCE_HEIGHT = 400  # face widths are stated for pictures of this height
_LIGHTS: tuple[tuple[Colour, Colour], ...] = (
    ((1.0, 0.98, 0.95), (0.66, 0.64, 0.66)),
    ((1.0, 0.94, 0.84), (0.62, 0.58, 0.60)),
    ((0.94, 0.97, 1.0), (0.58, 0.62, 0.68)),
    ((1.0, 0.97, 0.90), (0.56, 0.56, 0.62)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenePlan:
    """All that is shown in one picture."""

    label: str
    """What the picture is filed under."""
    shown_expression: str
    shown_setting: str
    blend: float
    """Share of the most confusable expression that is mixed in."""
    intensity: float
    person: Person
    setting_seed: int
    width: int
    height: int


def plan_scene(
    label: str,
    *,
    seed: int,
    place: str,
    identities: range,
    cues: CueSpec,
    width: int,
    height: int,
    face_widths: tuple[float, float] = (60.0, 140.0),
) -> ScenePlan:
    """Draw by lot what the picture at `place` (its path, say) shows.

    Args:
        label: One of EMOTIONS.
        seed: Of the corpus.
        place: Names the picture; another place is another draw.
        identities: Numbers of the people who may appear.
        cues: How reliable face and setting are.
        width: Of the picture, pixels.
        height: Of the picture, pixels.
        face_widths: Bounds of the face's width at a picture height of 400 pixels.
    """
    rng = rng_of(seed, "scene", place)
    row = EMOTIONS.index(label)
    shown = EMOTIONS[int(rng.choice(len(EMOTIONS), p=face_table(cues)[row]))]
    setting = EMOTIONS[int(rng.choice(len(EMOTIONS), p=setting_table(cues)[row]))]
    intensity = float(rng.uniform(0.75, 1.1))
    blend = float(rng.uniform(0.15, 0.35)) if rng.random() < cues.blend else 0.0
    number = identities[int(rng.integers(len(identities)))]
    scale = height / _REFERENCE_HEIGHT
    face_width = float(rng.uniform(*face_widths)) * scale
    person = Person(
        identity=dressed(draw_identity(number, seed=seed), rng),
        expression=_expression(shown, intensity=intensity, blend=blend, rng=rng),
        pose=Pose(
            yaw_deg=_limited(rng, 9.0, 22.0),
            pitch_deg=_limited(rng, 4.5, 12.0),
            roll_deg=_limited(rng, 4.0, 12.0),
        ),
        light=_light(rng),
        face_width=face_width,
        lean=float(rng.normal(0.0, 0.12)),
        **_position(rng, face_width=face_width, width=width, height=height),
    )
    return ScenePlan(
        label=label,
        shown_expression=shown,
        shown_setting=setting,
        blend=blend,
        intensity=intensity,
        person=person,
        setting_seed=seed_of(seed, "setting", place),
        width=width,
        height=height,
    )


def draw_scene(plan: ScenePlan) -> Image:
    """The picture of a plan, RGB (height, width, 3)."""
    rng = rng_of(plan.setting_seed)
    image = draw_setting(plan.shown_setting, rng, width=plan.width, height=plan.height)
    draw_person(image, plan.person)
    return image


def truth_row(plan: ScenePlan, *, path: str, split: str, group: str) -> Mapping[str, object]:
    """What is known about the picture, as plain values for one line of `truth.jsonl`."""
    person = plan.person
    points = person_landmarks(person)
    return {
        "schema": TRUTH_SCHEMA,
        "path": path,
        "split": split,
        "group": group,
        "label": plan.label,
        "shown_expression": plan.shown_expression,
        "shown_setting": plan.shown_setting,
        "blend": round(plan.blend, 4),
        "intensity": round(plan.intensity, 4),
        "identity": person.identity.number,
        "width": plan.width,
        "height": plan.height,
        "box": list(scene_box(plan)),
        "landmarks": np.round(points.astype(float), 2).tolist(),
        "pose": {name: round(value, 3) for name, value in asdict(person.pose).items()},
        "expression": {name: round(value, 4) for name, value in asdict(person.expression).items()},
    }


def scene_box(plan: ScenePlan) -> tuple[int, int, int, int]:
    """The face box, within the picture."""
    x1, y1, x2, y2 = tight_box(person_landmarks(plan.person))
    return max(x1, 0), max(y1, 0), min(x2, plan.width), min(y2, plan.height)


def moved(
    plan: ScenePlan, *, expression: Expression, pose: Pose, dx: float, dy: float
) -> ScenePlan:
    """The same scene a moment later: another expression and pose, the head shifted by pixels."""
    person = replace(
        plan.person, expression=expression, pose=pose, x=plan.person.x + dx, y=plan.person.y + dy
    )
    return replace(plan, person=person)


def _expression(
    shown: str, *, intensity: float, blend: float, rng: np.random.Generator
) -> Expression:
    """An emotion as this person shows it, with a share of what it is most confused with."""
    partner = max(CONFUSIONS[shown], key=CONFUSIONS[shown].__getitem__)
    pure = emotion_expression(shown, intensity=intensity)
    return jittered(mixed(pure, emotion_expression(partner), weight=blend), rng)


def _limited(rng: np.random.Generator, spread: float, limit: float) -> float:
    return float(np.clip(rng.normal(0.0, spread), -limit, limit))


def _light(rng: np.random.Generator) -> Light:
    """The light does not depend on the setting: else a face crop would betray the second cue."""
    key, ambient = _LIGHTS[int(rng.integers(len(_LIGHTS)))]
    return Light(
        x=float(rng.choice([-1.0, 1.0]) * rng.uniform(0.15, 0.6)),
        y=float(rng.uniform(-0.7, -0.3)),
        key=key,
        ambient=ambient,
        contrast=float(rng.uniform(0.85, 1.15)),
    )


def _position(
    rng: np.random.Generator, *, face_width: float, width: int, height: int
) -> dict[str, float]:
    """Where the eyes lie: the face inside, the picture's edge somewhere across chest or belly."""
    side = min(0.85 * face_width, width / 2)
    bottom = max(height - 1.15 * face_width, height * 0.4)
    top = min(max(0.72 * face_width, height - 2.8 * face_width), bottom - 1.0)
    x = float(np.clip(width * (0.5 + rng.normal(0, 0.18)), side, max(width - side, side)))
    return {"x": x, "y": float(top + (bottom - top) * rng.beta(2.0, 2.6))}
