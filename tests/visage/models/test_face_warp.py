"""Promises of the warp: landmarks come where they shall, the rest stays, at every size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from moving_faces import face as facing
from torch import Tensor
from torch.nn import functional

from visage.landmarks import BROWS, EYES, INNER_LIP
from visage.models.facial_map import share_inside
from visage.models.generator.face_warp import FacePlaces, FaceWarp, face_warp, warped_by

LOWER_LIP = [56, 57, 58, 65, 66, 67]


def _drawn_places(size: int = 64) -> FacePlaces:
    points = torch.from_numpy(facing()).float()[None] * 20 + torch.tensor([32.0, 26.0])
    points = (points + 0.5) * (size / 64) - 0.5
    return FacePlaces(source=points, frame=points.clone())


def _coordinates(size: int) -> Tensor:
    """A picture that says of each pixel where it is, x and y in [-1, 1]; (1, 2, S, S)."""
    along = (torch.arange(size) * 2 + 1) / size - 1
    return torch.stack(torch.meshgrid(along, along, indexing="xy"))[None]


def _at(picture: Tensor, points: Tensor) -> Tensor:
    """Values of (1, C, S, S) at pixels (P, 2), between pixels as well, (P, C)."""
    grid = (points * 2 + 1) / picture.shape[-1] - 1
    found = functional.grid_sample(picture, grid[None, None], "bilinear", align_corners=False)
    return found[0, :, 0].T


def _origin(warp: FaceWarp, size: int) -> Tensor:
    """Where each pixel of a frame comes from, in [-1, 1], (1, 2, S, S)."""
    return warped_by(_coordinates(size), replace(warp, inside=torch.zeros_like(warp.inside)))


def test_a_face_that_does_not_move_stays_as_it_is_but_for_the_dark_between_its_lips() -> None:
    places, source = _drawn_places(), torch.rand(1, 3, 64, 64) + 0.5
    moved = warped_by(source, face_warp(places, 64))
    inside = share_inside(places.frame[:, INNER_LIP], 64)[:, None]
    assert inside.sum() > 2
    torch.testing.assert_close(moved, source * (1 - inside) - 0.8 * inside, atol=1e-4, rtol=0)


def test_a_head_that_sways_takes_the_whole_picture_along() -> None:
    places, source = _drawn_places(), torch.rand(1, 3, 64, 64)
    places = replace(places, frame=places.frame + torch.tensor([2.0, 3.0]))
    warp = face_warp(places, 64)
    is_lips = warp.inside[..., 3:, 2:] > 0
    torch.testing.assert_close(
        warped_by(source, warp)[..., 3:, 2:].where(~is_lips, 0),
        source[..., :-3, :-2].where(~is_lips, 0),
        atol=1e-4,
        rtol=0,
    )


@pytest.mark.parametrize("size", [64, 256])
@pytest.mark.parametrize("seed", range(4))
def test_what_lay_at_a_landmark_comes_to_where_the_frame_has_it(size: int, seed: int) -> None:
    """A mouth opens and a brow rises by a tenth of the face at most, and the head turns."""
    torch.manual_seed(seed)
    places = _drawn_places(size)
    frame = places.frame.clone()
    frame[:, [56, 57, 58], 1] += 0.05 * size * torch.rand(1)
    frame[:, INNER_LIP[5:], 1] += 0.05 * size * torch.rand(1)
    frame[:, BROWS, 1] -= 0.04 * size * torch.rand(1)
    angle = 0.2 * torch.randn(())
    turn = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    frame = (frame - size / 2) @ turn.T + size / 2
    warp = face_warp(replace(places, frame=frame), size)
    found = ((_at(_origin(warp, size), frame[0]) + 1) * size - 1) / 2
    apart = torch.linalg.vector_norm(found - places.source[0], dim=1)
    moved = torch.linalg.vector_norm(frame - places.frame, dim=2).max()
    assert apart.mean() < 0.1 * moved
    assert apart.mean() < 0.01 * size


def test_only_the_face_follows_its_mouth() -> None:
    places = _drawn_places()
    frame = places.frame.clone()
    frame[:, LOWER_LIP, 1] += 4
    warp = face_warp(replace(places, frame=frame), 64)
    moved = _origin(warp, 64)
    apart = torch.linalg.vector_norm(moved - _coordinates(64), dim=1)[0] * 32
    eyes = _at(apart[None, None], places.frame[0, EYES])
    assert eyes.max() < 0.5
    corners = apart[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.max() < 0.2
    chin = places.frame[0, LOWER_LIP] + torch.tensor([0.0, 4.0])
    assert _at(apart[None, None], chin).min() > 1


def test_the_warp_is_the_same_for_pictures_of_every_size() -> None:
    """It is worked out once, and then moves what the network sees and what the video shows."""
    warps = [
        face_warp(replace(one, frame=one.frame * 1.1 - 0.05 * side), side)
        for one, side in ((_drawn_places(64), 64), (_drawn_places(256), 256))
    ]
    of_small, of_large = (_origin(one, 256) for one in warps)
    assert (of_small - of_large).abs().max() < 0.1 / 64


def test_a_face_at_rest_keeps_the_edges_of_a_larger_picture() -> None:
    picture = torch.rand(1, 3, 256, 256)
    moved = warped_by(picture, face_warp(_drawn_places(64), 64))
    for rows, columns in ((slice(8), slice(None)), (slice(None), slice(-8, None))):
        torch.testing.assert_close(
            moved[..., rows, columns], picture[..., rows, columns], atol=1e-3, rtol=0
        )
