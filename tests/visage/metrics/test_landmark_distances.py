"""Promises of the paired landmark distances."""

from __future__ import annotations

import numpy as np
import pytest
from moving_faces import face, talking

from visage.errors import DataError
from visage.landmarks import JAW, MOUTH, OUTER_LIP
from visage.metrics.landmark_distances import (
    head_scores,
    landmark_scores,
    lip_areas,
    resampled,
)

REFERENCE, GENERATED = talking(40, seed=1), talking(40, amplitude=0.15, seed=2)


def _by_loops(true: np.ndarray, made: np.ndarray) -> dict[str, float]:
    """The formulas, frame by frame and point by point."""
    sums: dict[str, list[float]] = {name: [] for name in ("lmd", "d_l", "d_v", "d_ll", "d_vl")}
    lips = [*JAW, *MOUTH]
    lip_width = max(np.ptp(frame[OUTER_LIP, 0]) for frame in true)
    for t, (a, b) in enumerate(zip(true, made, strict=True)):
        width = a[:, 0].max() - a[:, 0].min()
        middle_a, middle_b = a[MOUTH].mean(0), b[MOUTH].mean(0)
        sums["lmd"].append(
            np.mean([np.hypot(*((a[i] - middle_a) - (b[i] - middle_b))) for i in MOUTH])
        )
        sums["d_l"].append(np.mean([100 * np.hypot(*(a[i] - b[i])) / width for i in range(68)]))
        sums["d_ll"].append(np.mean([100 * np.hypot(*(a[i] - b[i])) / lip_width for i in lips]))
        if t:
            v, w = a - true[t - 1], b - made[t - 1]
            sums["d_v"].append(np.mean([100 * np.hypot(*(v[i] - w[i])) / width for i in range(68)]))
            sums["d_vl"].append(np.mean([100 * np.hypot(*(v[i] - w[i])) / lip_width for i in lips]))
    return {name: float(np.mean(values)) for name, values in sums.items()}


def test_the_scores_are_those_of_the_formulas_written_as_loops():
    scores = landmark_scores(REFERENCE, GENERATED)
    for name, value in _by_loops(REFERENCE, GENERATED).items():
        assert getattr(scores, name) == pytest.approx(value), name
    true, made = lip_areas(REFERENCE), lip_areas(GENERATED)
    assert scores.d_a == pytest.approx(100 * np.abs(true - made).mean() / true.max())
    assert (scores.frames, scores.skipped) == (40, 0)


@pytest.mark.parametrize("mode", ["formula", "released"])
@pytest.mark.parametrize("depth", [False, True])
def test_a_clip_is_at_no_distance_from_itself(mode, depth):
    clip = np.concatenate([REFERENCE, 0.1 * REFERENCE[..., :1]], -1) if depth else REFERENCE
    scores = landmark_scores(clip, clip, mode=mode)
    assert (scores.lmd, scores.d_l, scores.d_v, scores.d_a, scores.d_ll, scores.d_vl) == (0,) * 6


def test_all_but_lmd_are_free_of_the_unit_and_lmd_is_in_it():
    one, half = landmark_scores(REFERENCE, GENERATED), landmark_scores(
        REFERENCE / 2, GENERATED / 2
    )  # fmt: skip
    assert half.lmd == pytest.approx(one.lmd / 2)
    for name in ("d_l", "d_v", "d_a", "d_ll", "d_vl"):
        assert getattr(half, name) == pytest.approx(getattr(one, name)), name


def test_a_displaced_clip_costs_position_and_nothing_else():
    scores = landmark_scores(REFERENCE, REFERENCE + np.array([3.0, 4.0]))
    widths = np.ptp(REFERENCE[..., 0], axis=1)
    assert scores.d_l == pytest.approx(100 * (5 / widths).mean())
    assert scores.lmd == pytest.approx(0, abs=1e-9)
    assert scores.d_v == pytest.approx(0, abs=1e-9)
    assert scores.d_a == pytest.approx(0, abs=1e-9)


def test_the_released_normalisation_hides_place_and_size_of_either_clip():
    moved = 0.6 * REFERENCE + np.array([40.0, -11.0])
    scores = landmark_scores(REFERENCE, moved, mode="released")
    assert scores.d_l == pytest.approx(0, abs=1e-9)
    assert scores.d_v == pytest.approx(0, abs=1e-9)
    assert landmark_scores(REFERENCE, moved).d_l > 1
    frame, other = REFERENCE[5], GENERATED[5]
    a = (frame - frame.min(0)) / np.ptp(frame[:, 0])
    b = (other - other.min(0)) / np.ptp(other[:, 0])
    two = landmark_scores(
        np.stack([frame, frame]), np.stack([other, other]), mode="released"
    )  # fmt: skip
    assert two.d_l == pytest.approx(100 * np.linalg.norm(a - b, axis=1).mean())


def test_twice_the_frame_rate_halves_the_velocity_distance():
    slow = landmark_scores(REFERENCE, GENERATED)
    fast = landmark_scores(
        resampled(REFERENCE, rate_hz=30, to_hz=60), resampled(GENERATED, rate_hz=30, to_hz=60)
    )
    assert fast.d_v == pytest.approx(slow.d_v / 2, rel=0.02)


@pytest.mark.parametrize(("rate_hz", "to_hz"), [(30, 60), (60, 25), (29.97, 60), (25, 25)])
def test_resampling_keeps_straight_motion_straight_and_never_reaches_past_the_end(rate_hz, to_hz):
    clip = np.arange(31.0)[:, None, None] + np.zeros((31, 68, 2))
    out = resampled(clip, rate_hz=rate_hz, to_hz=to_hz)
    assert np.allclose(out[:, 0, 0], np.arange(len(out)) * rate_hz / to_hz)
    assert (len(out) - 1) / to_hz <= 30 / rate_hz < len(out) / to_hz


def test_a_missing_face_spoils_what_is_interpolated_from_it_and_nothing_else():
    clip = REFERENCE[:6].copy()
    clip[2] = np.nan
    gone = np.isnan(resampled(clip, rate_hz=30, to_hz=60)).all(axis=(1, 2))
    assert np.flatnonzero(gone).tolist() == [3, 4, 5]


def test_frames_without_a_face_are_refused_or_left_out_with_their_velocities():
    holed = GENERATED.copy()
    holed[[7, 8]] = np.nan
    with pytest.raises(DataError, match="the first is 7"):
        landmark_scores(REFERENCE, holed)
    scores = landmark_scores(REFERENCE, holed, missing="skip")
    assert (scores.frames, scores.skipped) == (38, 2)
    kept = [t for t in range(40) if t not in (7, 8)]
    assert scores.lmd == landmark_scores(REFERENCE[kept], GENERATED[kept]).lmd
    moves = [t for t in range(1, 40) if t not in (7, 8, 9)]
    v = np.linalg.norm(np.diff(REFERENCE, axis=0) - np.diff(GENERATED, axis=0), axis=-1).mean(1)
    each = 100 * v / np.ptp(REFERENCE[1:, :, 0], axis=1)
    assert scores.d_v == pytest.approx(each[[t - 1 for t in moves]].mean())
    with pytest.raises(DataError, match="no two neighbouring frames"):
        landmark_scores(REFERENCE, np.full_like(REFERENCE, np.nan), missing="skip")


def test_unequal_lengths_are_refused_or_cut_to_the_common_part():
    with pytest.raises(DataError, match="lengths='common'"):
        landmark_scores(REFERENCE, GENERATED[:30])
    scores = landmark_scores(REFERENCE, GENERATED[:30], lengths="common")
    assert (scores.frames, scores.skipped) == (30, 10)
    assert scores.d_l == landmark_scores(REFERENCE[:30], GENERATED[:30]).d_l


def test_the_area_of_the_lips_is_that_of_the_ellipse_they_lie_on():
    shape = face(opening=0.2, width=0.5, lips=0.1)[None]
    twelve_gon = 12 / (2 * np.pi) * np.sin(np.pi / 6)
    assert lip_areas(shape) == pytest.approx(np.pi * 0.25 * 0.2 * twelve_gon)
    octagon = 8 / (2 * np.pi) * np.sin(np.pi / 4)
    assert lip_areas(shape, lip="inner") == pytest.approx(np.pi * 0.18 * 0.1 * octagon)


@pytest.mark.parametrize(
    ("reference", "generated"),
    [
        (REFERENCE[:, :20], GENERATED[:, :20]),
        (REFERENCE[:0], GENERATED[:0]),
        (REFERENCE, np.concatenate([GENERATED, GENERATED[..., :1]], -1)),
        (np.zeros((4, 68, 2)), GENERATED[:4]),
    ],
    ids=["not 68 points", "no frames", "2-D against 3-D", "no extent"],
)
def test_what_cannot_be_compared_is_refused(reference, generated):
    with pytest.raises(DataError):
        landmark_scores(reference, generated)


def test_head_scores_take_the_shorter_way_round_and_scale_with_the_width():
    true = np.zeros((3, 6))
    made = true + np.array([3.0, 359.0, 0.0, 0.0, 0.3, 0.4])
    scores = head_scores(true, made, width=2.0)
    assert scores.d_rot == pytest.approx((3 + 1) / 3)
    assert scores.d_pos == pytest.approx(25.0)
    for wrong, width in ((made[:2], 2.0), (made * np.nan, 2.0), (made, 0.0)):
        with pytest.raises(DataError):
            head_scores(true, wrong, width=width)
