"""The two published tables of a talking head as numbers: columns, a clip's scores, their spread.

    Table 1   CPBD ↑, LMD ↓, D-L ↓, D-V ↓, D-A ↓      pictures and landmarks against the clip itself
    Table 2   SLD ↓, SLV ↓, SMD ↓                     how alike the ways of moving are
    beside    r ↑                                     whether the mouth opens when it should
              seen r ↑, seen gain                     the same, found in the finished pictures

Landmarks are pixels of a 512 x 512 picture at 60 frames a second, and everything is computed by
formula, not as released (models.md A-M). A clip counts once, however long it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.errors import DataError
from visage.landmarks import INNER_LIP_PAIRS
from visage.metrics.cpbd import cpbd
from visage.metrics.landmark_distances import landmark_scores
from visage.metrics.style_distances import style_scores

__all__ = [
    "COLUMNS",
    "SIZE",
    "Column",
    "Scores",
    "Spread",
    "head_scores_of_clip",
    "opening_correlation",
    "seen_scores",
    "sharpness",
    "spreads",
    "wins",
]

SIZE = 512
"""Side of the pictures in whose pixels landmarks are given and whose sharpness is measured."""
FEWEST_SEEN = 8
"""Frames in which a mouth must be found before anything is said about it."""
STILL_PX = 0.05
"""A mouth whose opening varies less (standard deviation, pixels of 512) has no rhythm."""
Scores = dict[str, float]
"""Column name → value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of the tables."""

    name: str
    title: str
    table: Literal["1", "2", ""]
    better: Literal["higher", "lower"]
    unit: str


COLUMNS: tuple[Column, ...] = (
    Column(name="cpbd", title="CPBD", table="1", better="higher", unit="share of sharp edges"),
    Column(name="lmd", title="LMD", table="1", better="lower", unit="pixels of 512"),
    Column(name="d_l", title="D-L", table="1", better="lower", unit="% of face width"),
    Column(name="d_v", title="D-V", table="1", better="lower", unit="% of face width a frame"),
    Column(name="d_a", title="D-A", table="1", better="lower", unit="% of largest mouth area"),
    Column(name="sld", title="SLD", table="2", better="lower", unit="% of face width"),
    Column(name="slv", title="SLV", table="2", better="lower", unit="% of face width a frame"),
    Column(name="smd", title="SMD", table="2", better="lower", unit="% of largest mouth area"),
    Column(name="opening_r", title="r", table="", better="higher", unit="correlation of openings"),
    Column(name="seen_r", title="seen r", table="", better="higher",
           unit="correlation of openings that are found in the pictures"),
    Column(name="seen_gain", title="seen gain", table="", better="higher",
           unit="how far it opens in the pictures, in shares of the truth"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A mean over clips."""

    mean: float
    deviation: float
    """Standard deviation between clips; 0 for one clip."""
    clips: int


def head_scores_of_clip(
    reference: NDArray[Any], generated: NDArray[Any], pictures: Sequence[NDArray[np.uint8]]
) -> Scores:
    """All columns of one clip.

    Args:
        reference: Landmarks of the true clip in pixels of 512 at 60 Hz, (T, 68, 2).
        generated: As the reference.
        pictures: Generated frames, RGB uint8 of any square size.

    Raises:
        DataError: a clip shorter than a window (20 frames), or without extent.
    """
    points = landmark_scores(reference, generated)
    style = style_scores(reference, generated)
    return {
        "cpbd": sharpness(pictures),
        "lmd": points.lmd,
        "d_l": points.d_l,
        "d_v": points.d_v,
        "d_a": points.d_a,
        "sld": style.sld,
        "slv": style.slv,
        "smd": style.smd,
        "opening_r": opening_correlation(reference, generated),
    }


def seen_scores(true: NDArray[np.float64], seen: NDArray[np.float64]) -> Scores:
    """Whether and how far a mouth opens in pictures: correlation, and slope of seen on true.

    A slope of 1 opens as far as the truth, 0 not at all; 0.5 opens half as far. Reading is not
    perfect: what it gives for true pictures is the most that others can have. Frames in which no
    mouth was found (NaN) are left out, and without enough of the others nothing is claimed.

    Args:
        true: Openings of the true landmarks, in shares of the picture's side, (T,).
        seen: Those found in pictures.
    """
    both = np.isfinite(true) & np.isfinite(seen)
    if both.sum() < FEWEST_SEEN or 2 * both.sum() < len(both):
        return {}
    true, made = true[both] - true[both].mean(), seen[both] - seen[both].mean()
    if SIZE * true.std() < STILL_PX:
        return {}
    if SIZE * made.std() < STILL_PX:
        return {"seen_r": 0.0, "seen_gain": 0.0}
    shared = float((true * made).mean())
    return {
        "seen_r": shared / float(true.std() * made.std()),
        "seen_gain": shared / float(true.var()),
    }


def sharpness(pictures: Sequence[NDArray[np.uint8]]) -> float:
    """Mean CPBD of pictures, each brought to 512 x 512 first; enlarging adds no sharp edge."""
    if not pictures:
        raise DataError("no picture, no sharpness; take at least one frame a clip")
    return float(np.mean([cpbd(_sized(one)) for one in pictures]))


def opening_correlation(reference: NDArray[Any], generated: NDArray[Any]) -> float:
    """Pearson correlation over time of the gap between the inner lips; 0 for a still mouth.

    Args:
        reference: (T, 68, 2) in pixels of 512.
        generated: As the reference.
    """
    true, made = _openings(reference), _openings(generated)
    if len(true) != len(made):
        raise DataError(f"{len(true)} and {len(made)} frames cannot be correlated")
    if min(true.std(), made.std()) < STILL_PX:
        return 0.0
    return float(np.corrcoef(true, made)[0, 1])


def spreads(clips: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """Mean and deviation of each column over clips; a column that no clip has is left out."""
    found = {}
    for column in COLUMNS:
        values = np.array([one[column.name] for one in clips if column.name in one], np.float64)
        if len(values):
            deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
            found[column.name] = Spread(
                mean=float(values.mean()), deviation=deviation, clips=len(values)
            )
    return found


def wins(
    mine: Sequence[Mapping[str, float]], theirs: Sequence[Mapping[str, float]]
) -> dict[str, int]:
    """In how many clips the first is strictly better, column by column; same clips, same order."""
    count: dict[str, int] = {}
    for column in COLUMNS:
        sign = 1 if column.better == "higher" else -1
        pairs = [
            (one[column.name], other[column.name])
            for one, other in zip(mine, theirs, strict=True)
            if column.name in one and column.name in other
        ]
        if pairs:
            count[column.name] = sum(sign * (one - other) > 0 for one, other in pairs)
    return count


def _openings(points: NDArray[Any]) -> NDArray[np.float64]:
    upper, lower = (list(one) for one in zip(*INNER_LIP_PAIRS, strict=True))
    gaps = points[:, lower, 1].astype(np.float64) - points[:, upper, 1]  # y grows downwards
    return np.asarray(gaps.mean(axis=1), np.float64)


def _sized(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if picture.shape[:2] == (SIZE, SIZE):
        return picture
    how = cv2.INTER_AREA if picture.shape[0] > SIZE else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (SIZE, SIZE), interpolation=how), np.uint8)
