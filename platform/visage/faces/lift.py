"""From 68 points in pictures to a head in space: pose by frame, shape without pose, exactly.

The pose comes from perspective-n-point, smoothed over time. Depth is that of a generic head in that
pose; the two other coordinates are what the picture shows. So `project(landmarks, pose)` gives back
the points that went in, whatever the pose: an error in depth or pose moves nothing in the picture
(models.md A.5, camera and tracker replacements).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visage.errors import MediaError
from visage.faces.pose import head_pose, rotation_of
from visage.landmarks import ORIGIN, OUTER_EYE_CORNERS, POINTS
from visage.models.projection import Camera

__all__ = ["LiftedHead", "lift_heads", "measure_poses", "smoothed"]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

EYE_CORNERS_MM = 90.0
"""Distance of the outer eye corners of the generic head that poses are measured with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiftedHead:
    """A clip's head in object coordinates; units are distances of the outer eye corners."""

    landmarks: Floats
    """Shape (n, 68, 3), head pose removed."""
    mean: Floats
    """Mean over the clip, shape (68, 3): its point 27 is the origin, |36 - 45| is 1."""
    pose: Floats
    """Pitch, yaw, roll in degrees and translation, shape (n, 6)."""


def measure_poses(points: Floats, camera: Camera) -> Doubles:
    """The pose of each frame on its own: pitch, yaw, roll in degrees, translation, shape (n, 6).

    Args:
        points: Pixels, shape (n, 68, 2).

    Raises:
        MediaError: `no_face` if the points of a frame are not those of a head.
    """
    poses = np.zeros((len(points), 6))
    for index, frame in enumerate(points):
        seen = head_pose(
            frame, width=camera.size_px, height=camera.size_px, focal_px=camera.focal_px
        )
        place = np.array(seen.translation_mm) / EYE_CORNERS_MM
        poses[index] = [seen.pitch_deg, seen.yaw_deg, seen.roll_deg, *place]
    return poses


def smoothed(track: Doubles, sigma_frames: float) -> Doubles:
    """A track smoothed over time by a Gaussian, its ends held; shape (n, ...) as it was."""
    if sigma_frames <= 0 or len(track) < 2:
        return track.copy()
    reach = max(1, int(np.ceil(3 * sigma_frames)))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_frames) ** 2)
    weights /= weights.sum()
    flat = track.reshape(len(track), -1)
    held = np.concatenate([flat[:1].repeat(reach, 0), flat, flat[-1:].repeat(reach, 0)])
    columns = [np.convolve(column, weights, mode="valid") for column in held.T]
    return np.stack(columns, axis=1).reshape(track.shape)


def lift_heads(points: Floats, pose: Doubles, camera: Camera) -> LiftedHead:
    """Put the points of every frame into space, given the pose of every frame.

    Args:
        points: Pixels, shape (n, 68, 2).
        pose: As `measure_poses` gives it, smoothed or not, shape (n, 6).

    Raises:
        MediaError: `no_face` if a head lies behind the camera or the eyes fall together.
    """
    turns = np.stack(
        [rotation_of(pitch_deg=one[0], yaw_deg=one[1], roll_deg=one[2]) for one in pose]
    )
    # (n, 68) depth of the generic head's points in each pose
    depth = (_generic_head() @ turns.transpose(0, 2, 1))[..., 2] + pose[:, None, 5]
    if len(pose) == 0 or depth.min() <= 0:
        raise MediaError("no_face", "a head lies behind the camera")
    plane = (points.astype(np.float64) - camera.centre_px) / camera.focal_px * depth[..., None]
    seen = np.concatenate([plane, depth[..., None]], axis=-1)
    shape = (seen - pose[:, None, 3:]) @ turns  # transposed rotation from the right
    mean = shape.mean(axis=0)
    right, left = OUTER_EYE_CORNERS
    unit = float(np.linalg.norm(mean[left] - mean[right]))
    if unit < 1e-6:
        raise MediaError("no_face", "the corners of the eyes fall together")
    origin = mean[ORIGIN]
    place = (np.einsum("nij,j->ni", turns, origin) + pose[:, 3:]) / unit
    return LiftedHead(
        landmarks=((shape - origin) / unit).astype(np.float32),
        mean=((mean - origin) / unit).astype(np.float32),
        pose=np.concatenate([pose[:, :3], place], axis=1).astype(np.float32),
    )


def _generic_head() -> Doubles:
    """An average head looking into the camera, in units of its outer eye corners, (68, 3).

    Only its depths are used. They follow the proportions of an average adult: ears lie a little
    more than one unit behind the bridge of the nose, its tip a third of a unit before it.
    """
    head = np.zeros((POINTS, 3))
    angle = np.linspace(np.pi, 0.0, 17)
    head[:17] = np.stack(
        [0.80 * np.cos(angle), 0.20 + 1.18 * np.sin(angle), 1.15 - 1.0 * np.sin(angle)], axis=1
    )
    brow = np.linspace(0.0, np.pi, 5)
    for start, x in ((17, np.linspace(-0.62, -0.14, 5)), (22, np.linspace(0.14, 0.62, 5))):
        far = np.abs(x) - 0.14
        head[start : start + 5] = np.stack([x, -0.20 - 0.06 * np.sin(brow), 0.45 * far**1.3], 1)
    head[27:31, 1:] = [[0.0, 0.0], [0.13, -0.08], [0.28, -0.18], [0.42, -0.28]]
    x = np.linspace(-0.16, 0.16, 5)
    head[31:36] = np.stack([x, 0.58 - 2.0 * x**2, -0.09 + 0.5 * np.abs(x)], axis=1)
    lids = np.array([-0.5, -0.40, -0.29, -0.21, -0.30, -0.41])
    depth = np.array([0.29, 0.19, 0.16, 0.17, 0.17, 0.20])
    rise = np.array([0.06, 0.01, 0.01, 0.07, 0.10, 0.10])
    head[36:42] = np.stack([lids, rise, depth], axis=1)
    mirror = [39, 38, 37, 36, 41, 40]
    head[42:48] = head[mirror] * [-1, 1, 1]
    for start, stop, width, height, z in ((48, 60, 0.29, 0.12, -0.02), (60, 68, 0.24, 0.03, 0.0)):
        turn = np.linspace(np.pi, -np.pi, stop - start, endpoint=False)
        out = np.abs(np.cos(turn))
        head[start:stop] = np.stack(
            [width * np.cos(turn), 0.85 - height * np.sin(turn), z + 0.13 * out**2], axis=1
        )
    return head
