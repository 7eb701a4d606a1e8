"""Promises of the generator's samples: regions of each reference, foreign patterns in training."""

from __future__ import annotations

import numpy as np
import pytest
from made_clips import made_clip

from visage.data.styled_frames import StyledFrames
from visage.faces.regions import MOUTH, region_map
from visage.seeds import rng_of

SIZE = 48


@pytest.fixture(scope="module")
def row() -> dict[str, object]:
    return {"key": "one", **made_clip("one", frames=60, size=64, style="wide")}


def test_each_reference_has_the_regions_of_its_points(row: dict[str, object]) -> None:
    sample = StyledFrames(size=SIZE)(row, rng_of(0))
    assert sample["reference_regions"].shape == (4, SIZE, SIZE)
    for labels, points in zip(
        sample["reference_regions"], sample["reference_points"][1:], strict=True
    ):
        assert (labels == region_map(points, width=SIZE, height=SIZE)).all()
    areas = (sample["reference_regions"] == MOUTH).sum((1, 2))
    assert areas[3] > areas[1]  # O is wide open, M is closed


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_so_many_training_samples_are_foreign_and_no_other(
    share: float, row: dict[str, object]
) -> None:
    training = StyledFrames(size=SIZE, training=True, foreign=share)
    drawn = [int(training(row, rng_of("draw", n))["is_foreign"]) for n in range(40)]
    assert np.mean(drawn) == pytest.approx(share, abs=0.15)
    assert drawn[0] == int(training(row, rng_of("draw", 0))["is_foreign"])
    assert StyledFrames(size=SIZE, foreign=share)(row, rng_of(0))["is_foreign"] == 0
