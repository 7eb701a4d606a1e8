"""Where a head points: yaw, pitch and roll from the 68 points, by perspective-n-point.

Signs, in terms of the picture as it is seen:

    yaw    > 0   the face looks towards the right edge of the picture
    pitch  > 0   the face looks up
    roll   > 0   the head is tilted clockwise

Yaw and pitch are the direction of the nose, roll is the turn about it: turning a head first rolls
it, then nods it, then turns it. Mirroring the picture negates yaw and roll and keeps pitch.

The camera is a pinhole whose focal length, in pixels, is the width of the picture unless stated,
with the optical axis through its centre (a field of view of 53 degrees). The head is one generic
adult head in millimetres. A real one differs: its angles are off by a few degrees, in pitch by up
to fifteen, but by the same in every picture, so compare poses of one person rather than of two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.errors import MediaError
from visage.faces.provider import Landmarks

__all__ = ["HeadPose", "angles_of", "head_pose", "project_head", "rotation_of"]

Matrix = NDArray[np.float64]

# Point of the 68 -> x (to the right of the picture), y (down), z (away from the camera) in
# millimetres from the bridge of the nose, of a head that looks straight into the camera. Brows,
# lids and lips move with expression and the jaw line slides with pose, so they are left out; the
# chin stays, because without it pitch is unsteady. x and y are means over frontal speakers, z
# follows the proportions of an average head.
_HEAD_MM: dict[int, tuple[float, float, float]] = {
    8: (0.0, 126.0, 12.0),
    27: (0.0, 0.0, 0.0),
    28: (0.0, 12.0, -7.0),
    29: (0.0, 25.0, -16.0),
    30: (0.0, 38.0, -25.0),
    31: (-14.0, 48.0, -1.0),
    33: (0.0, 52.0, -8.0),
    35: (14.0, 48.0, -1.0),
    36: (-45.0, 5.0, 26.0),
    39: (-19.0, 6.0, 15.0),
    42: (19.0, 6.0, 15.0),
    45: (45.0, 5.0, 26.0),
}
_POINTS = tuple(_HEAD_MM)
_MIN_SPAN_PX = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPose:
    """Direction and place of a head relative to the camera."""

    yaw_deg: float
    """Positive towards the right edge of the picture."""
    pitch_deg: float
    """Positive upwards."""
    roll_deg: float
    """Positive clockwise."""
    translation_mm: tuple[float, float, float]
    """Bridge of the nose from the camera: right, down, away; as if the head had average size."""
    error_px: float
    """Root mean square distance between the points and the fitted head."""


def head_pose(
    landmarks: Landmarks, *, width: int, height: int, focal_px: float | None = None
) -> HeadPose:
    """The pose that explains the landmarks best.

    Args:
        landmarks: The 68 points in pixels of the whole picture, shape (68, 2).
        width: Of the picture, pixels.
        height: Of the picture, pixels.
        focal_px: Focal length in pixels if it is known; the width otherwise.

    Raises:
        MediaError: `no_face` if the points are not finite or fall together.
    """
    observed = np.asarray(landmarks, np.float64)[list(_POINTS)]
    if not np.isfinite(observed).all() or np.ptp(observed, axis=0).min() < _MIN_SPAN_PX:
        raise MediaError("no_face", "landmarks fall together or are no numbers; they show no face")
    model = _model()
    camera = _camera(width, height, focal_px)
    found, rotation, translation = cv2.solvePnP(
        model, observed, camera, None, flags=cv2.SOLVEPNP_SQPNP
    )
    if not found or float(translation[2, 0]) <= 0:
        raise MediaError("no_face", "no head in front of the camera explains the landmarks")
    rotation, translation = cv2.solvePnPRefineLM(
        model, observed, camera, None, rotation, translation
    )
    fitted, _ = cv2.projectPoints(model, rotation, translation, camera, None)
    error_px = float(np.sqrt(((fitted[:, 0] - observed) ** 2).sum(axis=1).mean()))
    matrix, _ = cv2.Rodrigues(rotation)
    yaw, pitch, roll = angles_of(matrix)
    x, y, z = (float(value) for value in translation[:, 0])
    return HeadPose(
        yaw_deg=yaw,
        pitch_deg=pitch,
        roll_deg=roll,
        translation_mm=(x, y, z),
        error_px=error_px,
    )


def rotation_of(*, yaw_deg: float, pitch_deg: float, roll_deg: float) -> Matrix:
    """The rotation from head to camera axes (right, down, away), shape (3, 3)."""
    yaw, pitch, roll = (math.radians(angle) for angle in (-yaw_deg, -pitch_deg, roll_deg))
    about_y = np.array(
        [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    )
    about_x = np.array(
        [[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]]
    )
    about_z = np.array(
        [[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]]
    )
    return np.asarray(about_y @ about_x @ about_z, np.float64)


def project_head(
    pose: HeadPose, *, width: int, height: int, focal_px: float | None = None
) -> tuple[tuple[int, ...], Matrix]:
    """Which of the 68 points the generic head has, and where they appear, shape (N, 2) in
    pixels."""
    rotation = rotation_of(yaw_deg=pose.yaw_deg, pitch_deg=pose.pitch_deg, roll_deg=pose.roll_deg)
    seen = _model() @ rotation.T + np.array(pose.translation_mm)
    pixels = seen @ _camera(width, height, focal_px).T
    return _POINTS, np.asarray(pixels[:, :2] / pixels[:, 2:], np.float64)


def _model() -> Matrix:
    return np.array(list(_HEAD_MM.values()), np.float64)


def _camera(width: int, height: int, focal_px: float | None) -> Matrix:
    focal = float(width) if focal_px is None else focal_px
    # Pixel centres are whole numbers, so the middle of the picture lies half a pixel lower.
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def angles_of(rotation: Matrix) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees; the inverse of `rotation_of`."""
    nose = rotation @ np.array([0.0, 0.0, -1.0])
    yaw = math.degrees(math.atan2(nose[0], -nose[2]))
    pitch = math.degrees(math.asin(float(np.clip(-nose[1], -1.0, 1.0))))
    level = rotation_of(yaw_deg=yaw, pitch_deg=pitch, roll_deg=0.0)
    turned = level.T @ rotation
    return yaw, pitch, math.degrees(math.atan2(turned[1, 0], turned[0, 0]))
