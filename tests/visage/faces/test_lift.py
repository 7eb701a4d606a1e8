"""Lifting: a head in space that looks exactly as it was seen, with its pose taken out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_clips import mean_face
from numpy.typing import NDArray

from visage.errors import MediaError
from visage.faces.lift import lift_heads, measure_poses, smoothed
from visage.models.projection import Camera, project

Floats = NDArray[np.float32]


def _seen(size: int, poses: NDArray[np.float64], opening: float = 0.0) -> Floats:
    face = mean_face().copy()
    face[55:60, 1] += opening
    head = torch.from_numpy(np.repeat(face[None], len(poses), 0)).double()
    return project(head, torch.from_numpy(poses), Camera.of_size(size)).numpy().astype(np.float32)


def _poses(*angles: tuple[float, float, float]) -> NDArray[np.float64]:
    return np.array([[*one, 0.1, -0.2, 13.0] for one in angles])


TURNS = _poses((0, 0, 0), (8, 0, 0), (0, 15, 0), (0, -15, 0), (0, 0, 10), (-5, 12, -8))


@pytest.mark.parametrize("size", [64, 256, 512])
@pytest.mark.parametrize("sigma", [0.0, 2.0])
def test_a_lifted_head_projects_back_onto_what_was_seen(size: int, sigma: float) -> None:
    camera = Camera.of_size(size)
    points = _seen(size, TURNS)
    head = lift_heads(points, smoothed(measure_poses(points, camera), sigma), camera)
    back = project(torch.from_numpy(head.landmarks), torch.from_numpy(head.pose), camera)
    np.testing.assert_allclose(back.numpy(), points, atol=2e-3)


def test_coordinates_are_in_eye_distances_from_the_bridge_of_the_mean_shape() -> None:
    points = _seen(256, TURNS)
    camera = Camera.of_size(256)
    head = lift_heads(points, measure_poses(points, camera), camera)
    np.testing.assert_allclose(head.mean[27], 0, atol=1e-6)
    assert np.linalg.norm(head.mean[45] - head.mean[36]) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(head.landmarks.mean(0), head.mean, atol=1e-5)


def test_the_turn_of_a_head_leaves_its_shape_as_it_is() -> None:
    camera = Camera.of_size(512)
    points = _seen(512, TURNS)
    head = lift_heads(points, measure_poses(points, camera), camera)
    width = np.linalg.norm(head.landmarks[:, 54, :2] - head.landmarks[:, 48, :2], axis=1)
    seen = np.linalg.norm(points[:, 54] - points[:, 48], axis=1)
    assert np.ptp(width) / width.mean() < 0.06
    assert np.ptp(seen) / seen.mean() > np.ptp(width) / width.mean()


def test_an_open_mouth_shows_in_the_shape() -> None:
    camera = Camera.of_size(512)
    still, wide = (_seen(512, TURNS[:1], opening) for opening in (0.0, 0.3))
    points = np.concatenate([still, wide])
    head = lift_heads(points, measure_poses(points, camera), camera)
    fell = head.landmarks[1, 57, 1] - head.landmarks[0, 57, 1]
    assert fell == pytest.approx(0.3, abs=0.06)


@pytest.mark.parametrize("index", range(3))
def test_turns_are_measured_with_the_right_sign_and_about_the_right_size(index: int) -> None:
    step = np.zeros(3)
    step[index] = 10.0
    points = _seen(512, _poses((0, 0, 0), tuple(step)))
    straight, turned = measure_poses(points, Camera.of_size(512))[:, :3]
    change = turned - straight
    assert change[index] == pytest.approx(10, abs=4)
    assert np.abs(np.delete(change, index)).max() < 3


def test_smoothing_keeps_a_steady_head_and_removes_a_jitter() -> None:
    steady = np.full((40, 6), 3.0)
    np.testing.assert_allclose(smoothed(steady, 2.0), steady)
    jitter = steady + np.where(np.arange(40) % 2, 1.0, -1.0)[:, None]
    assert np.abs(smoothed(jitter, 2.0) - 3.0)[5:-5].max() < 0.05
    np.testing.assert_array_equal(smoothed(jitter, 0.0), jitter)


def test_points_that_are_no_head_are_refused() -> None:
    nothing = np.zeros((1, 68, 2), np.float32)
    with pytest.raises(MediaError) as found:
        measure_poses(nothing, Camera.of_size(64))
    assert found.value.code == "no_face"
