"""Promises of the tables: perfect is perfect, stillness is told as such, and clips count once."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from moving_faces import face, talking

from visage.errors import DataError
from visage.metrics.head_tables import (
    COLUMNS,
    SIZE,
    head_scores_of_clip,
    opening_correlation,
    seen_scores,
    sharpness,
    spreads,
    wins,
)


def _picture(side: int = SIZE, seed: int = 0) -> np.ndarray:
    blocks = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), np.uint8)
    return np.asarray(cv2.resize(blocks, (side, side), interpolation=cv2.INTER_NEAREST))


def test_the_truth_itself_has_the_best_score_in_every_column() -> None:
    clip = talking(90)
    perfect = head_scores_of_clip(clip, clip, [_picture()])
    seen = ("seen_r", "seen_gain")  # of pictures, not of points
    assert list(perfect) == [column.name for column in COLUMNS if column.name not in seen]
    for column in COLUMNS:
        if column.better == "lower":
            assert perfect[column.name] == 0
    assert perfect["opening_r"] == pytest.approx(1.0)
    assert 0 < perfect["cpbd"] <= 1


def test_a_frozen_face_has_no_rhythm_and_misses_all_motion() -> None:
    clip = talking(90)
    still = np.repeat((256 + 120 * face())[None], 90, axis=0)
    frozen = head_scores_of_clip(clip, still, [_picture()])
    assert frozen["opening_r"] == 0
    for name in ("lmd", "d_l", "d_v", "d_a", "sld", "slv", "smd"):
        assert frozen[name] > 0


@pytest.mark.parametrize("gain", [0.3, 1.0, 2.0])
def test_the_correlation_asks_when_a_mouth_opens_not_how_far(gain: float) -> None:
    clip = talking(120, amplitude=0.3, seed=4)
    other = talking(120, amplitude=0.3 * gain, seed=4)
    assert opening_correlation(clip, other) > 0.99
    assert opening_correlation(clip, talking(120, period=31.0, seed=5)) < 0.7


def test_a_correlation_needs_as_many_frames_of_both() -> None:
    with pytest.raises(DataError, match="90 and 60"):
        opening_correlation(talking(90), talking(60))


def test_a_blurred_picture_is_less_sharp_and_enlarging_makes_none_sharper() -> None:
    sharp = _picture()
    blurred = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 4))
    small = np.asarray(cv2.resize(sharp, (64, 64), interpolation=cv2.INTER_AREA))
    assert sharpness([sharp]) > sharpness([blurred])
    assert sharpness([sharp]) > sharpness([small])
    assert sharpness([sharp, blurred]) == pytest.approx(
        (sharpness([sharp]) + sharpness([blurred])) / 2
    )
    with pytest.raises(DataError, match="no picture"):
        sharpness([])


def test_the_spread_is_between_clips_and_one_clip_has_none() -> None:
    found = spreads([{"lmd": 1.0}, {"lmd": 2.0}, {"lmd": 6.0}])
    assert set(found) == {"lmd"}
    assert (found["lmd"].mean, found["lmd"].clips) == (3.0, 3)
    assert found["lmd"].deviation == pytest.approx(np.std([1, 2, 6], ddof=1))
    assert spreads([{"lmd": 4.0}])["lmd"].deviation == 0


def test_a_win_goes_the_way_of_its_column_and_a_tie_is_none() -> None:
    mine = [{"cpbd": 0.5, "lmd": 1.0}, {"cpbd": 0.5, "lmd": 2.0}, {"cpbd": 0.6, "lmd": 0.5}]
    theirs = [{"cpbd": 0.4, "lmd": 2.0}, {"cpbd": 0.5, "lmd": 2.0}, {"cpbd": 0.4, "lmd": 1.0}]
    assert wins(mine, theirs) == {"cpbd": 2, "lmd": 2}
    assert wins(theirs, mine) == {"cpbd": 0, "lmd": 0}


def _openings(count: int = 40) -> np.ndarray:
    return 0.03 + 0.02 * np.sin(np.arange(count) / 3.0)


@pytest.mark.parametrize("gain", [0.25, 1.0, 1.5])
def test_what_is_seen_tells_when_a_mouth_opens_from_how_far(gain: float) -> None:
    true = _openings()
    seen = seen_scores(true, 0.1 + gain * true)
    assert seen["seen_r"] == pytest.approx(1.0)
    assert seen["seen_gain"] == pytest.approx(gain)


def test_a_painted_mouth_that_stands_still_is_told_as_such() -> None:
    true = _openings()
    assert seen_scores(true, np.full_like(true, 0.03)) == {"seen_r": 0.0, "seen_gain": 0.0}
    noise = np.random.default_rng(0).normal(0.03, 0.02, len(true))
    assert abs(seen_scores(true, noise)["seen_gain"]) < 0.5


def test_nothing_is_claimed_of_mouths_that_were_not_found() -> None:
    true = _openings()
    hidden = true.copy()
    hidden[: len(true) // 2 + 1] = np.nan
    assert seen_scores(true, hidden) == {}
    hidden[: len(true) // 2 + 1] = true[: len(true) // 2 + 1]
    hidden[:3] = np.nan
    assert seen_scores(true, hidden)["seen_r"] == pytest.approx(1.0)
    assert seen_scores(true[:7], true[:7]) == {}
    assert seen_scores(np.full(40, 0.03), true) == {}
