"""Which frames of a clip show how this person speaks: the style reference images (models.md A.6).

Four key motion templates stand for a way of speaking: the resting mouth (None), lips pressed for
m, b, p (M), a small round opening (R) and a large round one (O). Every frame is described by the
opening h between the inner lips, the width W of the mouth and the thickness p of the lips, with
the pose of the head undone, and compared with the templates:

    score = |z(h, W / W̄, p / p̄) - z(template)| + 0.1 · |turn of the head, degrees| + blink

where z divides by the spread within the clip, and a template is a band for each measure (an O is
open at least so far, and at most so wide): within it the distance is 0. The best of the (at most
100) frames that go furthest towards a template is its reference; of equal ones the earliest.
`coverage` says whether the clip really holds such a mouth: a few seconds of speech may well contain
no O. The neutral picture is a resting mouth of a head that looks straight ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from visage.errors import DataError
from visage.landmarks import INNER_LIP_PAIRS, OUTER_EYE_CORNERS, POINTS
from visage.specs.style_references import Ramp, StyleReferenceSpec

__all__ = [
    "TEMPLATES",
    "KeyMotions",
    "MouthFeatures",
    "StyleReference",
    "Template",
    "find_key_motions",
    "mouth_features",
]

Values = NDArray[np.float64]
Template = Literal["None", "M", "R", "O"]
TEMPLATES: tuple[Template, ...] = ("None", "M", "R", "O")
"""In the order of everything that holds four of something."""

_LID_PAIRS = ((37, 41), (38, 40), (43, 47), (44, 46))
_LIP_PAIRS = ((51, 62), (57, 66))
_DIGITS = 9
"""Scores equal to so many digits are equal: the same frame again, but for rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MouthFeatures:
    """One number a frame, each (n,), NaN without a face; lengths in outer eye distances."""

    opening: Values
    """Mean height between the inner lips, h."""
    width: Values
    """Between the outer corners of the mouth, W."""
    inner_width: Values
    thickness: Values
    """Mean of upper and lower lip, p."""
    lids: Values
    """Mean height between the lids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleReference:
    """The frame that shows a template best."""

    template: Template
    frame: int
    score: float
    """Distance from the template, in spreads of the clip; 0 = exactly."""
    coverage: float
    """Whether it shows the template at all, 0 … 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyMotions:
    """The frames that stand for a clip."""

    neutral: int
    """Mouth at rest, eyes open, head straight."""
    references: tuple[StyleReference, ...]
    """One for each template, in the order of `TEMPLATES`."""

    @property
    def frames(self) -> tuple[int, ...]:
        """Of the references."""
        return tuple(one.frame for one in self.references)

    @property
    def coverage(self) -> tuple[float, ...]:
        """Of the references."""
        return tuple(one.coverage for one in self.references)


def find_key_motions(
    landmarks: NDArray[Any],
    pose: NDArray[Any],
    *,
    spec: StyleReferenceSpec | None = None,
    among: NDArray[np.int64] | None = None,
) -> KeyMotions:
    """The neutral frame and the four style references of a clip.

    Moving, turning (in the picture plane, or in space for 3-D points) and scaling the whole clip
    does not change the references.

    Args:
        landmarks: (n, 68, 2) pixels or (n, 68, 3) object coordinates; NaN without a face.
        pose: Pitch, yaw, roll in degrees and translation, (n, 6).
        among: Frames that may be chosen, for example those with a picture; all by default.

    Raises:
        DataError: shapes do not fit, or there is no frame to choose.
    """
    chosen = spec or StyleReferenceSpec()
    features = mouth_features(landmarks, pose)
    seen = np.isfinite(features.opening)
    allowed = np.zeros(len(seen), np.bool_)
    allowed[np.arange(len(seen)) if among is None else among] = True
    allowed &= seen
    if not allowed.any():
        raise DataError(f"none of the {len(seen)} frames has a face; no style reference to take")
    shape = _shape(features, seen)
    spread = _spread(shape[seen])
    bands = _bands(shape[seen], chosen)
    angles = np.asarray(pose, np.float64)[:, :3]
    turn = np.linalg.norm(angles - np.median(angles[seen], axis=0), axis=1)
    blink = chosen.blink_weight * _closed_lids(features, seen)
    frames = np.flatnonzero(allowed)
    count = min(chosen.candidates, max(1, int(len(frames) * chosen.candidate_share)))
    found = []
    for template, band in zip(TEMPLATES, bands, strict=True):
        apart = _apart(shape[frames], band, spread)
        order = np.argsort(_reach(template, shape[frames], apart), kind="stable")
        near = np.sort(order[:count])  # places in `frames`
        costs = chosen.pose_weight * turn[frames] + blink[frames]
        at, score = _first_best(frames[near], (apart + costs)[near])
        coverage = _coverage(template, shape[at], chosen)
        found.append(StyleReference(template=template, frame=at, score=score, coverage=coverage))
    away = chosen.neutral_pose_weight * np.linalg.norm(angles[frames], axis=1)
    at_rest = _apart(shape[frames], bands[0], spread)
    neutral, _ = _first_best(frames, at_rest + away + blink[frames])
    return KeyMotions(neutral=neutral, references=tuple(found))


def mouth_features(landmarks: NDArray[Any], pose: NDArray[Any]) -> MouthFeatures:
    """Measure every frame, the head's pose undone.

    Of points in space, distances are what they are. Of points in a picture, the eye line gives the
    roll, and lengths across and along the face are divided by the cosines of yaw and pitch.

    Args:
        landmarks: (n, 68, 2 or 3).
        pose: (n, 6); translation is not used.

    Raises:
        DataError: shapes do not fit, or the eye corners fall together.
    """
    points, poses = np.asarray(landmarks, np.float64), np.asarray(pose, np.float64)
    if points.ndim != 3 or points.shape[1] != POINTS or points.shape[2] not in (2, 3):
        raise DataError(f"landmarks {points.shape}; need (n, {POINTS}, 2 or 3)")
    if poses.shape != (len(points), 6) or not len(points):
        raise DataError(f"pose {poses.shape}; need ({len(points)}, 6), and at least one frame")
    upright = _upright(points, poses) if points.shape[2] == 2 else points
    eyes = _length(upright, OUTER_EYE_CORNERS)
    if not (eyes[np.isfinite(eyes)] > 0).all():
        raise DataError("outer eye corners fall together; these are no landmarks of a face")

    def mean(pairs: tuple[tuple[int, int], ...]) -> Values:
        return np.asarray(np.mean([_length(upright, pair) for pair in pairs], axis=0) / eyes)

    return MouthFeatures(
        opening=mean(INNER_LIP_PAIRS),
        width=mean(((48, 54),)),
        inner_width=mean(((60, 64),)),
        thickness=mean(_LIP_PAIRS),
        lids=mean(_LID_PAIRS),
    )


def _upright(points: Values, poses: Values) -> Values:
    """Pictured points with roll undone and foreshortening divided out, (n, 68, 2)."""
    first, second = OUTER_EYE_CORNERS
    across = points[:, second] - points[:, first]  # (n, 2)
    # a head turned by more than 80 degrees has no other half to measure
    cos_yaw, cos_pitch = np.maximum(np.cos(np.radians(poses[:, [1, 0]])), np.cos(1.4)).T
    roll = np.arctan2(across[:, 1], across[:, 0])
    cos, sin = np.cos(roll)[:, None], np.sin(roll)[:, None]
    x = (points[..., 0] * cos + points[..., 1] * sin) / cos_yaw[:, None]
    y = (points[..., 1] * cos - points[..., 0] * sin) / cos_pitch[:, None]
    return np.asarray(np.stack([x, y], axis=-1), np.float64)


def _length(points: Values, pair: tuple[int, int]) -> Values:
    return np.asarray(np.linalg.norm(points[:, pair[0]] - points[:, pair[1]], axis=-1), np.float64)


class _Column(NamedTuple):
    opening: int = 0
    width: int = 1
    thickness: int = 2


_AT = _Column()


def _shape(features: MouthFeatures, seen: NDArray[np.bool_]) -> Values:
    """(h, W / W̄, p / p̄) of every frame, (n, 3)."""
    width, thickness = np.median(features.width[seen]), np.median(features.thickness[seen])
    if not (width > 0 and thickness > 0):
        raise DataError("a mouth without width or lips; these are no landmarks of a face")
    columns = [features.opening, features.width / width, features.thickness / thickness]
    return np.asarray(np.stack(columns, axis=1), np.float64)


def _spread(shape: Values) -> Values:
    """Standard deviations without the outermost hundredths, (3,); a still clip's are small."""
    low, high = np.percentile(shape, (1, 99), axis=0)
    return np.asarray(np.maximum(np.clip(shape, low, high).std(axis=0), 1e-3), np.float64)


def _closed_lids(features: MouthFeatures, seen: NDArray[np.bool_]) -> Values:
    """How far the lids are closed, 0 = as open as usual, 1 = shut, (n,)."""
    usual = np.median(features.lids[seen])
    if not usual > 0:
        return np.zeros(len(seen))
    return np.asarray(np.clip(1 - features.lids / usual, 0, 1), np.float64)


def _first_best(frames: NDArray[np.int64], scores: Values) -> tuple[int, float]:
    """The frame with the least score, the earliest of equal ones."""
    best = int(np.argmin(np.round(scores, _DIGITS)))
    return int(frames[best]), float(scores[best])


def _bands(shape: Values, spec: StyleReferenceSpec) -> Values:
    """Least and most of the three measures of each template, (4, 2, 3)."""
    opening = shape[:, _AT.opening]
    is_open = opening > spec.open_above
    rest = np.clip(np.percentile(opening, spec.none_percentile), *spec.none_opening)
    round_ = np.percentile(opening[is_open] if is_open.any() else opening,
                           spec.r_opening_percentiles)  # fmt: skip
    pressed = np.percentile(shape[:, _AT.thickness], spec.m_thickness_percentile)
    wide = min(float(np.percentile(opening, spec.o_opening_percentile)), spec.o_limit)
    usual = (1.0, 1.0)
    bands = [
        ((rest, rest), usual, usual),
        (spec.m_opening, usual, (min(spec.m_thickness_floor, pressed), pressed)),
        (tuple(round_), spec.r_width, usual),
        ((wide, spec.o_limit), spec.o_width, usual),
    ]
    return np.asarray(np.swapaxes(np.array(bands), 1, 2), np.float64)


def _apart(shape: Values, band: Values, spread: Values) -> Values:
    """Distance of frames (n, 3) from a band (2, 3), in spreads, (n,)."""
    least, most = band
    outside = np.maximum(least - shape, 0) + np.maximum(shape - most, 0)
    return np.asarray(np.linalg.norm(outside / spread, axis=1), np.float64)


def _reach(template: Template, shape: Values, apart: Values) -> Values:
    """How far a frame is from the extreme of a template; the smallest are its candidates, (n,)."""
    match template:
        case "M":
            return np.asarray(shape[:, _AT.opening], np.float64)
        case "O":
            return np.asarray(-shape[:, _AT.opening], np.float64)
        case "None" | "R":
            return apart


def _coverage(template: Template, shape: Values, spec: StyleReferenceSpec) -> float:
    opening, width, thickness = (float(value) for value in shape)
    match template:
        case "None":
            conditions = [(opening, spec.none_closed)]
        case "M":
            conditions = [(opening, spec.m_closed), (thickness, spec.m_pressed)]
        case "R":
            conditions = [
                (opening, spec.r_open), (opening, spec.r_not_wide_open), (width, spec.r_round)
            ]  # fmt: skip
        case "O":
            conditions = [(opening, spec.o_open), (width, spec.o_round)]
    return min(_met(value, ramp) for value, ramp in conditions)


def _met(value: float, ramp: Ramp) -> float:
    full, none = ramp
    return float(np.clip((value - none) / (full - none), 0.0, 1.0))
