"""Promises of the style distances: the formula, the released behaviour, and what they cost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moving_faces import talking

from visage.errors import DataError
from visage.metrics import style_distances
from visage.metrics.landmark_distances import areas, landmark_scores, positions, velocities
from visage.metrics.style_distances import DiagonalSums, Windows, style_scores, style_sweep

TRUE, MADE = talking(50, seed=1), talking(36, amplitude=0.2, period=11, seed=2)


def _naive(true: np.ndarray, made: np.ndarray, size: int, stride: int) -> dict[str, float]:
    """Every pair of windows compared from scratch by the paired metrics."""
    best: dict[str, list[float]] = {"sld": [], "slv": [], "smd": []}
    for s in range(0, len(true) - size + 1, stride):
        found: dict[str, list[float]] = {name: [] for name in best}
        for a in range(0, len(made) - size + 1, stride):
            one, two = true[s : s + size], made[a : a + size]
            found["sld"].append(positions(one, two).paired().mean())
            found["slv"].append(velocities(one, two).paired().mean())
            # the largest area is that of the whole clip, not of the window
            share = areas(true, made).scale[0]
            found["smd"].append((areas(one, two).paired() / areas(one, two).scale).mean() * share)
        for name, values in found.items():
            best[name].append(min(values))
    return {name: float(np.mean(values)) for name, values in best.items()}


@pytest.mark.parametrize(("size", "stride"), [(2, 5), (10, 2), (10, 7), (20, 3), (36, 1), (36, 19)])
def test_the_scores_are_those_of_comparing_all_windows_from_scratch(size, stride):
    scores = style_scores(TRUE, MADE, windows=Windows(size=size, stride=stride))
    for name, value in _naive(TRUE, MADE, size, stride).items():
        assert getattr(scores, name) == pytest.approx(value, abs=1e-9), name


@settings(max_examples=40)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 5),
       st.integers(0, 99))  # fmt: skip
def test_window_means_are_means_along_diagonals(rows, columns, size, stride, seed):
    table = np.random.default_rng(seed).random((rows, columns))
    means = DiagonalSums(table).means(size, stride)
    starts = [range(0, max(0, count - size + 1), stride) for count in (rows, columns)]
    wanted = [
        [np.mean([table[i + k, j + k] for k in range(size)]) for j in starts[1]] for i in starts[0]
    ]
    assert means.shape == (len(starts[0]), len(starts[1]))
    assert np.allclose(means, np.reshape(wanted, means.shape))


@pytest.mark.parametrize(("size", "stride"), list(itertools.product((2, 20, 50), (1, 6))))
def test_a_clip_is_exactly_at_no_style_distance_from_itself(size, stride):
    scores = style_scores(TRUE, TRUE, windows=Windows(size=size, stride=stride))
    assert (scores.sld, scores.slv, scores.smd) == (0.0, 0.0, 0.0)


def test_a_clip_that_holds_the_reference_later_on_is_at_no_distance():
    late = np.concatenate([MADE, TRUE])
    scores = style_scores(TRUE, late)
    assert (scores.sld, scores.slv, scores.smd) == (0.0, 0.0, 0.0)
    assert landmark_scores(TRUE, late, lengths="common").d_l > 0.1


def test_moving_both_clips_or_changing_their_unit_changes_nothing():
    moved = style_scores(TRUE * 0.5 + 77, MADE * 0.5 + 77)
    plain = style_scores(TRUE, MADE)
    for name in ("sld", "slv", "smd"):
        assert getattr(moved, name) == pytest.approx(getattr(plain, name)), name


def test_windows_as_long_as_the_clips_give_the_paired_distances():
    cut = TRUE[: len(MADE)]
    scores = style_scores(cut, MADE, windows=Windows(size=len(MADE)))
    paired = landmark_scores(cut, MADE)
    assert scores.sld == pytest.approx(paired.d_l)
    assert scores.slv == pytest.approx(paired.d_v)
    assert scores.smd == pytest.approx(paired.d_a)


def test_more_unlike_motion_is_further_away():
    clips = [talking(90, amplitude=a, seed=3) for a in (0.3, 0.25, 0.15, 0.05)]
    for name in ("sld", "slv", "smd"):
        far = [getattr(style_scores(clips[0], one), name) for one in clips]
        assert far == sorted(far)
        assert far[-1] > 2 * far[1]


def test_the_released_list_that_is_never_emptied_makes_a_minimum_of_running_means():
    size, stride = 10, 4
    made = MADE[:30]
    scores = style_scores(
        TRUE, made, windows=Windows(size=size, stride=stride), mode="released", mouth="legacy"
    )

    def prepared(frame: np.ndarray) -> np.ndarray:
        return (frame - frame.min(0)) / np.ptp(frame[:, 0])

    def centred(frame: np.ndarray) -> np.ndarray:
        return frame[48:68] - frame[48:68].mean(0)

    sld, smd = [], []
    for s in range(0, len(made) - size + 1, stride):  # windows of the generated clip's length
        position: list[float] = []
        mouth: list[float] = []
        running: list[tuple[float, float]] = []
        for a in range(0, len(made) - size + 1, stride):
            for k in range(size):
                one, two = TRUE[s + k], made[a + k]
                far = np.linalg.norm(prepared(one) - prepared(two), axis=1).mean()
                position.append(100 * far)
                mouth.append(np.linalg.norm(centred(one) - centred(two), axis=1).mean())
            running.append((float(np.mean(position)), float(np.mean(mouth))))
        sld.append(min(one for one, _ in running))
        smd.append(min(one for _, one in running))
    assert scores.sld == pytest.approx(np.mean(sld))
    assert scores.smd == pytest.approx(np.mean(smd))


def test_on_a_toy_clip_the_formula_gives_zero_where_the_release_does_not():
    clip = talking(120)
    formula, released = style_scores(clip, clip), style_scores(clip, clip, mode="released")
    assert formula.sld == 0.0
    assert released.sld == pytest.approx(0.448, abs=2e-3)
    shifted = clip[30:], clip[:90]
    assert style_scores(*shifted).sld == pytest.approx(0.433, abs=2e-3)
    assert style_scores(*shifted, mode="released").sld == pytest.approx(0.517, abs=2e-3)


def test_all_window_sizes_come_from_one_matrix_and_no_frame_is_compared_twice(monkeypatch):
    counted: list[int] = []
    inner = style_distances.frame_distances

    def counting(comparison: style_distances.Comparison) -> np.ndarray:
        counted.append(len(comparison.reference) * len(comparison.generated))
        return inner(comparison)

    monkeypatch.setattr(style_distances, "frame_distances", counting)
    clip, other = talking(110, seed=4), talking(104, seed=5)
    sweep = style_sweep(clip, other)
    assert len(sweep.each) == 91 * 19
    # positions, mouths and velocities: one matrix each, for 1,729 pairs of size and stride
    assert counted == [110 * 104, 110 * 104, 109 * 103]
    few = style_sweep(clip, other, sizes=(10, 100), strides=(1, 19))
    for one, scores in few.each.items():
        assert scores == sweep.each[one]
        assert scores == style_scores(clip, other, windows=one)
    assert sweep.mean.sld == pytest.approx(np.mean([one.sld for one in sweep.each.values()]))


def test_windows_with_a_missing_face_are_left_out_on_request():
    holed, made = TRUE.copy(), MADE.copy()
    holed[25], made[3] = np.nan, np.nan
    with pytest.raises(DataError, match="no face"):
        style_scores(holed, made)
    scores = style_scores(holed, made, windows=Windows(size=10), missing="skip")
    for name, paired in (("sld", "d_l"), ("slv", "d_v")):
        best = [
            min(
                getattr(landmark_scores(TRUE[s : s + 10], MADE[a : a + 10]), paired)
                for a in range(27) if not a <= 3 < a + 10
            )
            for s in range(41) if not s <= 25 < s + 10
        ]  # fmt: skip
        assert getattr(scores, name) == pytest.approx(np.mean(best)), name
    with pytest.raises(DataError, match="no window of 30 frames"):
        style_scores(holed, made, windows=Windows(size=30), missing="skip")


def test_clips_shorter_than_a_window_are_an_error_or_named_in_the_sweep():
    with pytest.raises(DataError, match="shorter than a window of 37"):
        style_scores(TRUE, MADE, windows=Windows(size=37))
    with pytest.raises(DataError, match="window of 100"):
        style_sweep(TRUE, MADE)
    sweep = style_sweep(TRUE, MADE, sizes=(36, 37), strides=(1,), too_long="skip")
    assert sweep.too_long == (Windows(size=37),)
    assert list(sweep.each) == [Windows(size=36)]
    assert np.isfinite(sweep.mean.sld)
    with pytest.raises(DataError):
        style_sweep(TRUE, MADE, sizes=(90,), too_long="skip")


def test_what_has_no_meaning_is_refused():
    for size, stride in ((1, 1), (5, 0)):
        with pytest.raises(DataError):
            Windows(size=size, stride=stride)
    with pytest.raises(DataError, match="must not be shorter"):
        style_scores(MADE, TRUE, mode="released")
    with pytest.raises(DataError, match="unequal dimensions"):
        style_scores(TRUE, np.concatenate([MADE, MADE[..., :1]], -1))


def test_a_minute_at_sixty_frames_fits_into_memory_by_chunks(monkeypatch):
    whole = style_scores(TRUE, MADE)
    monkeypatch.setattr(style_distances, "CHUNK_VALUES", 5000)
    assert style_scores(TRUE, MADE) == whole
