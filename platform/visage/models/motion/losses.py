"""L_mg, the reconstruction loss of the motion generator, and its parts (models.md A.4.6).

L_mg = 1000 · MSE(displacement) + lambda_pose · NLL(pose)
     + lambda_velocity · 1000 · MSE(velocity) + lambda_laplacian · L1(Laplacian)

Everything is computed in fp32 with autocast off. Predictions and targets are aligned: row t of both
is frame t. Where the sound ended before a frame's look-ahead, the prediction has fewer rows and the
rest of the target is left out.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from visage.landmarks import POINTS, SEGMENTS
from visage.models.motion.head_pose import Gaussian, with_velocity

__all__ = [
    "LandmarkTerms",
    "MotionLoss",
    "MotionPrediction",
    "MotionWeights",
    "landmark_loss",
    "landmark_terms",
    "laplacian",
    "laplacian_loss",
    "motion_loss",
    "pose_nll",
    "velocity_loss",
]

SCALE = 1000.0
"""Published factor on squared errors of displacements, which are small numbers."""


class MotionPrediction(NamedTuple):
    """What the generator says with the true past given; row t is frame t."""

    displacement: Tensor
    """(N, T - landmark_look_ahead, 68, 3), from the mean shape."""
    pose: Gaussian
    """Of (N, T - pose_look_ahead) frames."""


class MotionWeights(NamedTuple):
    """The lambdas of L_mg."""

    pose: float = 1.0
    velocity: float = 0.0
    laplacian: float = 0.0


_FAITHFUL = MotionWeights()


class LandmarkTerms(NamedTuple):
    """What L_mg says about landmarks; the parts before weighting, scalars."""

    total: Tensor
    landmarks: Tensor
    velocity: Tensor
    laplacian: Tensor


class MotionLoss(NamedTuple):
    """L_mg and its parts before weighting, scalars."""

    total: Tensor
    landmarks: Tensor
    pose: Tensor
    velocity: Tensor
    laplacian: Tensor


def motion_loss(
    prediction: MotionPrediction,
    *,
    displacement: Tensor,
    sway: Tensor,
    weights: MotionWeights = _FAITHFUL,
) -> MotionLoss:
    """L_mg of a batch.

    Args:
        prediction: With or without fewer rows than the targets.
        displacement: (N, T, 68, 3), the truth.
        sway: (N, T', 6), the truth in the pose network's units (`HeadPoseNet.sway`).
        weights: The lambdas.
    """
    terms = landmark_terms(prediction.displacement, displacement, weights=weights)
    pose = pose_nll(prediction.pose, sway)
    return MotionLoss(
        total=terms.total + weights.pose * pose,
        landmarks=terms.landmarks,
        pose=pose,
        velocity=terms.velocity,
        laplacian=terms.laplacian,
    )


def landmark_terms(
    predicted: Tensor, true: Tensor, *, weights: MotionWeights = _FAITHFUL
) -> LandmarkTerms:
    """L_mg without the pose: predicted (N, T, 68, 3), the truth with as many frames or more."""
    with torch.autocast(predicted.device.type, enabled=False):
        predicted, true = predicted.float(), true[:, : predicted.shape[1]].float()
        landmarks = landmark_loss(predicted, true)
        velocity = velocity_loss(predicted, true)
        graph = laplacian_loss(predicted, true)
        total = landmarks + weights.velocity * velocity + weights.laplacian * graph
    return LandmarkTerms(total, landmarks, velocity, graph)


def landmark_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """1000 · mean squared error of displacements (N, T, 68, 3)."""
    return SCALE * F.mse_loss(predicted, true)


def velocity_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """1000 · mean squared error of what changes from frame to frame; 0 for a single frame."""
    if predicted.shape[1] < 2:
        return predicted.new_zeros(())
    return SCALE * F.mse_loss(predicted.diff(dim=1), true.diff(dim=1))


def pose_nll(pose: Gaussian, sway: Tensor) -> Tensor:
    """Negative log-likelihood of the true pose and velocity, in nats a frame.

    Args:
        pose: Distributions (N, T, 12), their sigma already bounded from below.
        sway: (N, T' >= T, 6), the truth in the network's units.
    """
    mean, neg_log_sigma = (one.float() for one in pose)
    true = with_velocity(sway.float())[:, : mean.shape[1]]
    scaled = (true - mean) * neg_log_sigma.exp()
    nats = 0.5 * scaled**2 - neg_log_sigma + 0.5 * math.log(2 * math.pi)
    return nats.sum(dim=-1).mean()


def laplacian(points: Tensor) -> Tensor:
    """Each point less the mean of its neighbours on the drawn face, (..., 68, 3) to the same."""
    return torch.from_numpy(_LAPLACIAN).to(points) @ points


def laplacian_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Mean absolute difference of Laplacian coordinates: keeps the form of lips, lids and brows."""
    return F.l1_loss(laplacian(predicted), laplacian(true))


def _graph_laplacian() -> NDArray[np.float32]:
    """I - D⁻¹A of the graph whose edges are the strokes of a drawn face, (68, 68)."""
    adjacency = np.zeros((POINTS, POINTS), np.float32)
    adjacency[SEGMENTS[:, 0], SEGMENTS[:, 1]] = 1.0
    adjacency = np.maximum(adjacency, adjacency.T)
    degree = adjacency.sum(axis=1, keepdims=True)
    return np.asarray(np.eye(POINTS) - adjacency / degree, np.float32)


_LAPLACIAN = _graph_laplacian()
