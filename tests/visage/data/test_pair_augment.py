"""Both pictures of a pair change alike, and poses change with them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from made_clips import made_clip, mean_face

from visage.data.clip_decoders import PairDecoder
from visage.data.pair_augment import AugmentedPairs, mirrored_pose, recoloured
from visage.models.projection import Camera, project
from visage.seeds import rng_of

ROW = {"key": "a", **made_clip("a", frames=60, size=32)}


def _decoded(seed: int, **changes: object) -> dict[str, np.ndarray]:
    decode = AugmentedPairs(**{"size": 32, "training": True, **changes})  # type: ignore[arg-type]
    return decode(ROW, rng_of(seed))


def _plain(seed: int) -> dict[str, np.ndarray]:
    return PairDecoder(size=32, training=True)(ROW, rng_of(seed))


def test_validation_sees_the_pair_as_it_is() -> None:
    found, plain = _decoded(0, training=False), PairDecoder(size=32)(ROW, rng_of(0))
    assert set(found) == {"source", "driving", "source_pose", "driving_pose"}
    assert all(np.array_equal(found[name], plain[name]) for name in found)


@pytest.mark.parametrize("seed", range(6))
def test_a_pair_is_mirrored_on_both_sides_or_on_neither(seed: int) -> None:
    found, plain = _decoded(seed, jitter=0.0), _plain(seed)
    mirrored = [np.array_equal(found[side], plain[side][:, ::-1]) for side in ("source", "driving")]
    kept = [np.array_equal(found[side], plain[side]) for side in ("source", "driving")]
    assert mirrored in ([True, True], [False, False])
    assert kept == [not one for one in mirrored]
    sign = -1 if mirrored[0] else 1
    assert np.allclose(found["driving_pose"][1:3], sign * plain["driving_pose"][1:3])


def test_both_ways_happen_and_neither_without_flip() -> None:
    flips = [not np.array_equal(_decoded(s, jitter=0.0)["source"], _plain(s)["source"])
             for s in range(12)]  # fmt: skip
    assert 0 < sum(flips) < 12
    assert np.array_equal(_decoded(1, jitter=0.0, flip=False)["source"], _plain(1)["source"])


def test_a_mirrored_pose_shows_the_mirrored_face() -> None:
    pose = torch.tensor([[7.0, -15.0, 9.0, 0.2, -0.3, 13.0]])
    face = torch.from_numpy(mean_face())
    camera = Camera.of_size(64)
    seen = project(face, pose, camera)[0]
    other = project(
        face * torch.tensor([-1.0, 1.0, 1.0]), torch.from_numpy(mirrored_pose(pose.numpy())), camera
    )[0]
    assert torch.allclose(other[:, 0], 63 - seen[:, 0], atol=1e-3)
    assert torch.allclose(other[:, 1], seen[:, 1], atol=1e-3)


def test_equal_colours_of_a_pair_stay_equal_and_the_change_is_bounded() -> None:
    picture = cv2.resize(np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5, (16, 16))
    factors = np.array([1.1, 0.9, 1.1], np.float32)
    changed = recoloured(picture, factors)
    assert np.array_equal(changed[:4], recoloured(picture[:4], factors))
    assert not np.array_equal(changed, picture)
    assert np.abs(changed.astype(int) - picture).max() < 60
    assert np.array_equal(recoloured(picture, np.ones(3, np.float32)), picture)


def test_without_saturation_a_picture_is_grey() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    grey = recoloured(picture, np.array([1.0, 1.0, 0.0], np.float32))
    assert np.ptp(grey, axis=2).max() == 0


def test_a_pair_is_a_function_of_its_generator() -> None:
    one, again = _decoded(3), _decoded(3)
    assert all(np.array_equal(one[name], again[name]) for name in one)
