"""How far generated landmarks are from the true ones: LMD, D-L, D-V, D-A and their kin.

l is the reference and l̂ the generated clip, (T, 68, 2 or 3); LMD's unit is a pixel of a 512 x 512
picture, all others are percent of a size of the reference, so any unit serves (models.md A-M):

    LMD   mean_t mean_mouth |(l - l̄_t) - (l̂ - l̂̄_t)|, l̄_t the mean of the frame's mouth points
    D-L   100 · mean_t mean_i |l - l̂| / W_t              W_t: the reference face's width, frame t
    D-V   100 · mean_t mean_i |v - v̂| / W_t              v_t = l_t - l_(t-1)
    D-A   100 · mean_t |A_t - Â_t| / max_t A_t           A: area inside the lips (shoelace)
    D-LL, D-VL   as D-L and D-V on jaw and lips, by the largest lip width of the reference clip

Nothing is aligned: give landmarks in one frame of reference. A velocity is a difference of
neighbouring frames, so D-V (and SLV) is inversely proportional to the frame rate: bring both clips
to one rate (`resampled`), and state it. Mode `released` has the normalisation of the published
evaluation code: every frame of either clip is moved to its own least x and y and divided by its own
x-extent.

A frame without a face is a frame of NaN; it is refused unless `missing="skip"` leaves it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from visage.errors import DataError
from visage.landmarks import INNER_LIP, JAW, MOUTH, OUTER_LIP, POINTS

__all__ = [
    "Comparison",
    "HeadScores",
    "LandmarkScores",
    "Lip",
    "Missing",
    "Mode",
    "Points",
    "areas",
    "checked",
    "head_scores",
    "landmark_scores",
    "lip_areas",
    "mouths",
    "positions",
    "present",
    "resampled",
    "velocities",
]

Points = NDArray[np.float64]
Mode = Literal["formula", "released"]
Missing = Literal["refuse", "skip"]
Lip = Literal["outer", "inner"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Frames of two clips as points whose mean distance is what a metric measures."""

    reference: Points
    """(N, P, D)."""
    generated: Points
    """(M, P, D)."""
    scale: NDArray[np.float64]
    """(N,): factor of the distances of each reference frame."""

    def paired(self) -> NDArray[np.float64]:
        """Distance of frame t of one to frame t of the other, (N,); both must be as long."""
        apart = np.linalg.norm(self.reference - self.generated, axis=-1)  # (N, P)
        return np.asarray(apart.mean(axis=-1) * self.scale, np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkScores:
    """All paired landmark distances of one clip; lower is better."""

    lmd: float
    """Pixels."""
    d_l: float
    """Percent of the face width, as is `d_v`."""
    d_v: float
    d_a: float
    """Percent of the largest mouth area of the reference."""
    d_ll: float
    """Percent of the largest lip width of the reference, as is `d_vl`."""
    d_vl: float
    frames: int
    """Frames compared."""
    skipped: int
    """Frames without a face in either clip, or beyond the end of the shorter one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadScores:
    """How far the head's motion is off."""

    d_rot: float
    """Mean absolute difference of the three angles, degrees."""
    d_pos: float
    """Mean distance of the positions, percent of the given width."""


def landmark_scores(
    reference: NDArray[Any],
    generated: NDArray[Any],
    *,
    mode: Mode = "formula",
    lip: Lip = "outer",
    lengths: Literal["refuse", "common"] = "refuse",
    missing: Missing = "refuse",
) -> LandmarkScores:
    """Compare two clips frame by frame.

    Args:
        reference: (T, 68, 2 or 3), frames of NaN where there is no face.
        generated: As the reference.
        mode: How D-L and D-V are normalised; LMD, D-A, D-LL and D-VL have no released form.
        lip: Whose area D-A takes.
        lengths: What to do with clips of unequal length: `common` drops the longer one's end.
        missing: What to do with frames without a face: `skip` drops them from both.

    Raises:
        DataError: shapes, lengths or missing faces against the policy, too few frames left, or a
            reference without extent.
    """
    true, made = checked(reference, "reference"), checked(generated, "generated")
    if true.shape[2] != made.shape[2]:
        raise DataError(f"reference {true.shape} and generated {made.shape}: unequal dimensions")
    longest = max(len(true), len(made))
    if len(true) != len(made):
        if lengths == "refuse":
            raise DataError(
                f"{len(true)} reference and {len(made)} generated frames: bring them to one rate "
                "(`resampled`) and length, or allow the common part with lengths='common'"
            )
        true, made = true[: min(len(true), len(made))], made[: min(len(true), len(made))]
    seen = present(true, missing, "reference") & present(made, missing, "generated")
    moves = seen[1:] & seen[:-1]
    if not moves.any():
        raise DataError("no two neighbouring frames have a face in both clips; nothing to compare")
    lips = np.concatenate([JAW, MOUTH])
    lip_scale = 100 / _extent(np.ptp(true[seen][:, OUTER_LIP, 0], axis=1).max(), "the lips")
    jaw_and_lips = np.linalg.norm(true[seen][:, lips] - made[seen][:, lips], axis=-1)
    v_true, v_made = np.diff(true[:, lips], axis=0)[moves], np.diff(made[:, lips], axis=0)[moves]
    return LandmarkScores(
        lmd=float(mouths(true[seen], made[seen]).paired().mean()),
        d_l=float(positions(true[seen], made[seen], mode=mode).paired().mean()),
        d_v=float(velocities(true, made, mode=mode).paired()[moves].mean()),
        d_a=float(areas(true[seen], made[seen], lip=lip).paired().mean()),
        d_ll=float(jaw_and_lips.mean() * lip_scale),
        d_vl=float(np.linalg.norm(v_true - v_made, axis=-1).mean() * lip_scale),
        frames=int(seen.sum()),
        skipped=longest - int(seen.sum()),
    )


def head_scores(reference: NDArray[Any], generated: NDArray[Any], *, width: float) -> HeadScores:
    """Compare two head motions frame by frame.

    Args:
        reference: Pitch, yaw, roll in degrees and position, (T, 6).
        generated: As the reference.
        width: Of the face, in units of the position.

    Raises:
        DataError: shapes, or numbers that are not finite.
    """
    true, made = np.asarray(reference, np.float64), np.asarray(generated, np.float64)
    if true.ndim != 2 or true.shape[1:] != (6,) or true.shape != made.shape or not len(true):
        raise DataError(f"poses {true.shape} and {made.shape}: need (T, 6) twice, T > 0")
    if not (np.isfinite(true).all() and np.isfinite(made).all()):
        raise DataError("a pose is not finite; leave out frames without a face")
    turn = (true[:, :3] - made[:, :3] + 180) % 360 - 180
    away = np.linalg.norm(true[:, 3:] - made[:, 3:], axis=1)
    return HeadScores(
        d_rot=float(np.abs(turn).mean()), d_pos=float(100 * away.mean() / _extent(width, "width"))
    )


def positions(reference: Points, generated: Points, *, mode: Mode = "formula") -> Comparison:
    """What D-L and SLD compare: all points."""
    if mode == "released":
        return Comparison(
            reference=_moved(reference) / _widths(reference)[:, None, None],
            generated=_moved(generated) / _widths(generated)[:, None, None],
            scale=np.full(len(reference), 100.0),
        )
    return Comparison(
        reference=reference, generated=generated, scale=100 / _widths(reference)
    )  # fmt: skip


def velocities(reference: Points, generated: Points, *, mode: Mode = "formula") -> Comparison:
    """What D-V and SLV compare: differences of neighbouring frames, (N - 1, 68, D).

    The width is that of the later frame.
    """
    if mode == "released":
        true, made = np.diff(_moved(reference), axis=0), np.diff(_moved(generated), axis=0)
        return Comparison(
            reference=true / _widths(reference)[1:, None, None],
            generated=made / _widths(generated)[1:, None, None],
            scale=np.full(len(true), 100.0),
        )
    return Comparison(
        reference=np.diff(reference, axis=0),
        generated=np.diff(generated, axis=0),
        scale=100 / _widths(reference)[1:],
    )


def mouths(reference: Points, generated: Points) -> Comparison:
    """What LMD (and SMD as released) compares: mouth points about their mean, in their unit."""
    true, made = reference[:, MOUTH], generated[:, MOUTH]
    return Comparison(
        reference=true - true.mean(axis=1, keepdims=True),
        generated=made - made.mean(axis=1, keepdims=True),
        scale=np.ones(len(true)),
    )


def areas(reference: Points, generated: Points, *, lip: Lip = "outer") -> Comparison:
    """What D-A and SMD compare: mouth areas, in percent of the reference clip's largest."""
    true, made = lip_areas(reference, lip=lip), lip_areas(generated, lip=lip)
    largest = _extent(np.nanmax(true, initial=0.0), f"the {lip} lip's area")
    return Comparison(
        reference=true[:, None, None],
        generated=made[:, None, None],
        scale=np.full(len(true), 100 / largest),
    )


def lip_areas(points: Points, *, lip: Lip = "outer") -> NDArray[np.float64]:
    """Area inside the lips in the plane of the picture by the shoelace formula, (T,)."""
    loop = points[:, OUTER_LIP if lip == "outer" else INNER_LIP, :2]
    x, y = loop[..., 0], loop[..., 1]
    cross = x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)
    return np.asarray(np.abs(cross.sum(axis=1)) / 2, np.float64)


def resampled(landmarks: NDArray[Any], *, rate_hz: float, to_hz: float) -> Points:
    """A clip at another frame rate, linear in time, first frame on first frame.

    Args:
        landmarks: (T, 68, 2 or 3); a missing frame makes missing whatever is interpolated from it.

    Returns:
        As many frames as fit before the last one.
    """
    points = checked(landmarks, "landmarks")
    if not (rate_hz > 0 and to_hz > 0):
        raise DataError(f"frame rates {rate_hz} and {to_hz} must be positive")
    count = int((len(points) - 1) * to_hz / rate_hz + 1e-9) + 1
    at = np.minimum(np.arange(count) * (rate_hz / to_hz), len(points) - 1)
    before = np.floor(at).astype(np.int64)
    after = np.minimum(before + 1, len(points) - 1)
    part = (at - before)[:, None, None]
    mixed = points[before] * (1 - part) + points[after] * part
    # where a frame is hit exactly its neighbour does not matter, even if it is missing
    return np.asarray(np.where(part == 0, points[before], mixed), np.float64)


def checked(landmarks: NDArray[Any], name: str) -> Points:
    """The landmarks as float64 (T, 68, 2 or 3); DataError names what is wrong."""
    points = np.asarray(landmarks, np.float64)
    if points.ndim != 3 or points.shape[1] != POINTS or points.shape[2] not in (2, 3):
        raise DataError(f"{name}: landmarks {points.shape}; need (T, {POINTS}, 2 or 3)")
    if not len(points):
        raise DataError(f"{name}: a clip without a frame")
    return points


def present(points: Points, missing: Missing, name: str) -> NDArray[np.bool_]:
    """Which frames have a face, (T,); DataError where one has none and that is refused."""
    seen = np.isfinite(points).all(axis=(1, 2))
    if missing == "refuse" and not seen.all():
        gone = np.flatnonzero(~seen)
        raise DataError(
            f"{name}: {len(gone)} of {len(points)} frames have no face, the first is {gone[0]}; "
            "missing='skip' leaves them out"
        )
    return np.asarray(seen, np.bool_)


def _moved(points: Points) -> Points:
    return np.asarray(points - points.min(axis=1, keepdims=True), np.float64)


def _widths(points: Points) -> NDArray[np.float64]:
    widths = np.ptp(points[..., 0], axis=1)
    if (widths <= 0).any():  # NaN of a missing frame passes, and stays in that frame
        raise DataError(f"frame {int(np.argmax(widths <= 0))}: a face without width")
    return np.asarray(widths, np.float64)


def _extent(value: float, name: str) -> float:
    if not value > 0:
        raise DataError(f"{name} of the reference is {value}; nothing can be measured by it")
    return float(value)
