"""Projection: the same camera and the same signs as the head pose that `faces` measures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_clips import mean_face

from visage.faces.pose import rotation_of
from visage.models.projection import Camera, project, rotation_matrix

ANGLES = [
    (0.0, 0.0, 0.0),
    (10.0, 0.0, 0.0),
    (0.0, 20.0, 0.0),
    (0.0, 0.0, -15.0),
    (7.0, -25.0, 12.0),
]


@pytest.mark.parametrize("angles", ANGLES)
def test_rotations_agree_with_those_of_the_measured_pose(
    angles: tuple[float, float, float],
) -> None:
    pitch, yaw, roll = angles
    ours = rotation_matrix(torch.tensor(angles, dtype=torch.float64)).numpy()
    theirs = rotation_of(yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    np.testing.assert_allclose(ours @ ours.T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    ("index", "sign_of"), [(1, lambda d: d[0]), (0, lambda d: -d[1])], ids=["yaw", "pitch"]
)
def test_positive_yaw_turns_the_nose_right_and_positive_pitch_lifts_it(index: int, sign_of) -> None:  # type: ignore[no-untyped-def]
    face = torch.from_numpy(mean_face())
    pose = torch.tensor([0, 0, 0, 0, 0, 20.0])
    straight = project(face, pose, Camera.of_size(512))
    pose[index] = 15
    turned = project(face, pose, Camera.of_size(512))
    tip, bridge = 30, 27
    moved = (turned[tip] - turned[bridge]) - (straight[tip] - straight[bridge])
    assert sign_of(moved) > 1


@pytest.mark.parametrize("angles", ANGLES)
@pytest.mark.parametrize("size", [64, 512])
def test_what_is_projected_can_be_taken_back(angles: tuple[float, float, float], size: int) -> None:
    camera = Camera.of_size(size)
    face = torch.from_numpy(mean_face()).double()
    pose = torch.tensor([*angles, 0.3, -0.2, 14.0], dtype=torch.float64)
    pixels = project(face, pose, camera)
    rotation = rotation_matrix(pose[:3])
    depth = (face @ rotation.T + pose[3:])[:, 2:]
    seen = torch.cat([(pixels - camera.centre_px) / camera.focal_px * depth, depth], dim=1)
    back = (seen - pose[3:]) @ rotation
    torch.testing.assert_close(back, face, atol=1e-9, rtol=0)


def test_the_published_focal_length_scales_with_the_picture() -> None:
    assert Camera.of_size(512).focal_px == pytest.approx(2320, abs=0.1)
    assert Camera.of_size(256).focal_px == pytest.approx(1160, abs=0.1)


def test_pose_has_a_gradient() -> None:
    pose = torch.tensor([1.0, 2, 3, 0, 0, 15], requires_grad=True)
    project(torch.from_numpy(mean_face()), pose, Camera.of_size(64)).sum().backward()
    assert pose.grad is not None
    assert torch.isfinite(pose.grad).all()
    assert (pose.grad != 0).all()
