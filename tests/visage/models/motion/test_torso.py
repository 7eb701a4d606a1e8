"""Promises of the shoulders: lifted and projected without loss, half as far as the head."""

from __future__ import annotations

import pytest
import torch

from visage.models.motion.torso import lift_torso, move_torso, project_torso
from visage.models.projection import Camera

CAMERA = Camera.of_size(512)


@pytest.mark.parametrize("depth", [1.0, 13.0, torch.tensor(20.0)])
def test_lifting_and_projecting_are_inverse_at_every_depth(depth):
    points = torch.rand(18, 2) * 512
    back = project_torso(lift_torso(points, depth, CAMERA), CAMERA)
    torch.testing.assert_close(back, points, atol=1e-3, rtol=0)


def test_at_the_reference_nothing_moves():
    anchor = lift_torso(torch.rand(18, 2) * 512, 13.0, CAMERA)
    here = torch.tensor([0.1, -0.2, 13.0])
    assert torch.equal(move_torso(anchor, here.expand(4, 3), here), anchor.expand(4, -1, -1))


@pytest.mark.parametrize("amplitude", [0.0, 0.5, 1.0])
def test_shoulders_make_their_share_of_the_heads_way(amplitude):
    anchor = lift_torso(torch.full((18, 2), 255.5), 13.0, CAMERA)
    head = torch.tensor([[0.2, 0.0, 13.0]])
    moved = move_torso(anchor, head, torch.tensor([0.0, 0.0, 13.0]), amplitude=amplitude)
    pixels = project_torso(moved, CAMERA)[0, 0, 0] - 255.5
    assert pixels.item() == pytest.approx(amplitude * 0.2 * CAMERA.focal_px / 13.0, rel=1e-4)
