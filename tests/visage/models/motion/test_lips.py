"""Promises of the mended lips: no pair is flipped, each frame mended on its own."""

from __future__ import annotations

import pytest
import torch

from visage.landmarks import INNER_LIP_PAIRS, MOUTH, OUTER_LIP
from visage.models.motion.lips import mouth_opening, part_lips


def _face(gaps: tuple[float, float, float], frames: int = 1) -> torch.Tensor:
    """Landmarks whose three inner pairs have the stated gaps (negative = flipped)."""
    face = torch.randn(68, 3, generator=torch.Generator().manual_seed(0))
    for (upper, lower), gap in zip(INNER_LIP_PAIRS, gaps, strict=True):
        face[upper, 1], face[lower, 1] = -gap / 2, gap / 2
    return face.expand(frames, -1, -1).clone()


@pytest.mark.parametrize("gaps", [(-0.1, -0.2, -0.3), (0.1, -0.2, 0.1), (-1e-3, 0.0, 0.2)])
def test_after_mending_no_pair_is_flipped_and_mending_again_changes_nothing(gaps):
    mended = part_lips(_face(gaps))
    for upper, lower in INNER_LIP_PAIRS:
        assert (mended[:, upper, 1] <= mended[:, lower, 1]).all()
    assert torch.equal(part_lips(mended), mended)


def test_random_mouths_are_never_left_flipped():
    mended = part_lips(torch.randn(500, 68, 3, generator=torch.Generator().manual_seed(3)))
    for upper, lower in INNER_LIP_PAIRS:
        assert (mended[:, upper, 1] <= mended[:, lower, 1]).all()


def test_a_mouth_without_a_flipped_pair_is_left_as_it_is():
    face = _face((0.0, 0.1, 0.2), frames=4)
    assert torch.equal(part_lips(face), face)


def test_lips_that_overlap_as_a_whole_take_the_outer_lips_with_them():
    face = _face((-0.1, -0.2, -0.3))
    mended = part_lips(face)
    moved = (mended - face)[0, :, 1]
    assert moved[49:54].tolist() == pytest.approx([-0.1] * 5, abs=1e-6)
    assert moved[55:60].tolist() == pytest.approx([0.1] * 5, abs=1e-6)
    partly = part_lips(_face((0.1, -0.2, 0.1)))
    assert torch.equal(partly[:, OUTER_LIP], _face((0.1, -0.2, 0.1))[:, OUTER_LIP])


def test_each_frame_is_mended_by_its_own_overlap_alone():
    slight, deep = _face((-0.01, -0.01, -0.01)), _face((-0.5, -0.4, -0.5))
    together = part_lips(torch.cat([slight, deep]))
    assert torch.equal(together[:1], part_lips(slight))
    assert torch.equal(together[1:], part_lips(deep))


def test_only_heights_of_the_mouth_change():
    face = _face((-0.1, -0.2, -0.3))
    mended = part_lips(face)
    rest = [point for point in range(68) if point not in set(MOUTH.tolist())]
    assert torch.equal(mended[:, rest], face[:, rest])
    assert torch.equal(mended[..., [0, 2]], face[..., [0, 2]])


def test_the_opening_is_the_signed_mean_gap():
    assert mouth_opening(_face((0.1, 0.2, 0.3))).item() == pytest.approx(0.2)
    assert mouth_opening(_face((-0.1, -0.1, -0.1))).item() == pytest.approx(-0.1)
