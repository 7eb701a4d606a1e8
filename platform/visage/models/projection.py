"""From landmarks in object coordinates to pixels: head pose and a pinhole camera, differentiable.

Object coordinates are x right, y down, z away from the camera, in units of the distance of the
outer eye corners; a pose is pitch, yaw, roll in degrees and the translation of the origin. The
signs are those of `visage.faces.pose` (models.md A.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Camera", "project", "rotation_matrix"]

PUBLISHED_FOCAL_PX, PUBLISHED_SIZE_PX = 1015.0, 224.0
"""The fixed camera of the one-shot reconstruction literature (models.md A.5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A pinhole in front of a square picture, the axis through its middle."""

    size_px: int
    focal_px: float

    @classmethod
    def of_size(cls, size_px: int) -> Camera:
        """The published camera scaled to a picture of `size_px`: 2320 pixels at 512."""
        return cls(size_px=size_px, focal_px=PUBLISHED_FOCAL_PX / PUBLISHED_SIZE_PX * size_px)

    @property
    def centre_px(self) -> float:
        """Both coordinates of the principal point; pixel centres are whole numbers."""
        return (self.size_px - 1) / 2


def rotation_matrix(euler_deg: Tensor) -> Tensor:
    """Rotations from object to camera axes: roll first, then pitch, then yaw.

    Args:
        euler_deg: Pitch, yaw, roll in degrees, shape (..., 3).

    Returns:
        Shape (..., 3, 3).
    """
    angles = euler_deg * (math.pi / 180)
    pitch, yaw, roll = -angles[..., 0], -angles[..., 1], angles[..., 2]
    zero, one = torch.zeros_like(pitch), torch.ones_like(pitch)
    about_x = _matrix(
        (one, zero, zero), (zero, pitch.cos(), -pitch.sin()), (zero, pitch.sin(), pitch.cos())
    )
    about_y = _matrix(
        (yaw.cos(), zero, yaw.sin()), (zero, one, zero), (-yaw.sin(), zero, yaw.cos())
    )
    about_z = _matrix(
        (roll.cos(), -roll.sin(), zero), (roll.sin(), roll.cos(), zero), (zero, zero, one)
    )
    return about_y @ about_x @ about_z


def project(points: Tensor, pose: Tensor, camera: Camera) -> Tensor:
    """Where points appear: K · (R · X + t), divided by depth.

    Args:
        points: Object coordinates, shape (..., P, 3).
        pose: Pitch, yaw, roll in degrees and translation, shape (..., 6).

    Returns:
        Pixels, shape (..., P, 2).
    """
    # (..., P, 3) @ (..., 3, 3)
    seen = points @ rotation_matrix(pose[..., :3]).transpose(-1, -2) + pose[..., None, 3:]
    return camera.focal_px * seen[..., :2] / seen[..., 2:] + camera.centre_px


def _matrix(*rows: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
