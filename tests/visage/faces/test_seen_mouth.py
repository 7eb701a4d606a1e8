"""Promises of looking for mouths in finished pictures: drawn ones are read, none are invented."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from visage.faces.dlib68 import Dlib68
from visage.faces.seen_mouth import seen_openings
from visage.landmarks import INNER_LIP_PAIRS
from visage.synth.spec import VoxCeleb2Spec
from visage.synth.takes import shoot, takes_of

FRAMES = 40


@cache
def _filmed() -> tuple[list[NDArray[np.uint8]], NDArray[np.float32]]:
    """A person who raps, and where the points truly are."""
    spec = VoxCeleb2Spec(
        identities=2, test_identities=0, clips=1, seconds=FRAMES / 25, styles=("rap",), size=256
    )
    shot = shoot(spec, takes_of(spec)[0])
    frames = list(shot.frames())
    return frames, np.asarray(shot.truth.points[: len(frames)], np.float32)


def _true(points: NDArray[np.float32]) -> NDArray[np.float64]:
    upper, lower = (list(one) for one in zip(*INNER_LIP_PAIRS, strict=True))
    return np.linalg.norm(points[:, lower] - points[:, upper], axis=2).mean(axis=1) / 256


@pytest.fixture(scope="module")
def follower() -> Dlib68:
    return Dlib68()


@pytest.mark.parametrize(("side", "least"), [(256, 0.8), (96, 0.7), (64, 0.5)])
def test_what_is_seen_follows_the_mouth_that_was_drawn(
    follower: Dlib68, side: int, least: float
) -> None:
    frames, points = _filmed()
    small = [cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA) for one in frames]
    there = ((points + 0.5) * (side / 256) - 0.5).astype(np.float32)
    seen = seen_openings(follower, small, there)
    assert np.isfinite(seen).mean() > 0.9
    both = np.isfinite(seen)
    assert np.corrcoef(seen[both], _true(points)[both])[0, 1] > least


def test_a_frozen_picture_is_seen_as_still_wherever_the_points_say(follower: Dlib68) -> None:
    """Points are where to look, not what is found."""
    frames, points = _filmed()
    told, seen = _true(points), seen_openings(follower, [frames[0]] * len(frames), points)
    both = np.isfinite(seen)
    assert both.mean() > 0.9
    assert seen[both].std() < 0.25 * told.std()


def test_noise_and_grey_have_no_mouth(follower: Dlib68) -> None:
    points = _filmed()[1][:4]
    noise = np.random.default_rng(0).integers(0, 255, (4, 256, 256, 3), np.uint8)
    assert np.isnan(seen_openings(follower, list(noise), points)).all()
    grey = np.full((4, 256, 256, 3), 127, np.uint8)
    assert np.isnan(seen_openings(follower, list(grey), points)).all()
