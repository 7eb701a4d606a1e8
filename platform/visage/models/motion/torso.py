"""Shoulders that follow the head: the torso in camera space (models.md A.4.4).

Eighteen shoulder points are found in the first frame (`visage.faces.torso`) and stood up as a flat
figure at the depth of the face. It makes a share of the head's translation and none of its turns.
"""

from __future__ import annotations

import torch
from torch import Tensor

from visage.models.projection import Camera

__all__ = ["lift_torso", "move_torso", "project_torso"]

TORSO_AMPLITUDE = 0.5


def lift_torso(points_px: Tensor, depth: Tensor | float, camera: Camera) -> Tensor:
    """Pixels (..., 18, 2) to camera space (..., 18, 3), all at one depth.

    depth: mean distance of the face from the camera, in eye distances; the z of a pose will do.
    """
    rays = (points_px - camera.centre_px) / camera.focal_px
    return torch.cat([rays, torch.ones_like(rays[..., :1])], dim=-1) * depth


def move_torso(
    anchor: Tensor, translation: Tensor, reference: Tensor, *, amplitude: float = TORSO_AMPLITUDE
) -> Tensor:
    """The shoulders of every frame: anchor + amplitude · (translation_t - reference).

    Args:
        anchor: (18, 3) in camera space, where the shoulders are while the head is at `reference`.
        translation: (T, 3) of the head.
        reference: (3,).

    Returns:
        (T, 18, 3).
    """
    return anchor + amplitude * (translation - reference)[:, None, :]


def project_torso(points: Tensor, camera: Camera) -> Tensor:
    """Camera space (..., 18, 3) to pixels (..., 18, 2); undoes `lift_torso`."""
    return camera.focal_px * points[..., :2] / points[..., 2:] + camera.centre_px
