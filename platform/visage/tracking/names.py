"""The closed list of metric names, each with its unit and meaning.

A run may log only these, so that two runs can always be compared, and so that a tracking server
never holds more than a few dozen keys for one run. A new metric is a new line here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from visage.errors import TrackingError

__all__ = ["METRICS", "MetricName", "check_names"]


@dataclass(frozen=True, slots=True)
class MetricName:
    """What one metric means."""

    unit: str
    meaning: str


METRICS: dict[str, MetricName] = {
    "train/loss": MetricName("nats", "mean training loss over the samples since the last report"),
    "train/accuracy": MetricName("ratio", "share of training samples classified correctly"),
    "train/epoch": MetricName("epochs", "passes over the training split, fractional"),
    "train/lr": MetricName("1/step", "learning rate of the first parameter group"),
    "train/grad_norm": MetricName("1", "norm of the gradient before clipping"),
    "train/loss_scale": MetricName("1", "factor of the fp16 gradient scaler"),
    "train/skipped_steps": MetricName("steps", "steps the scaler skipped so far"),
    "train/step_s": MetricName("s", "wall time of one optimizer step"),
    "train/data_wait_s": MetricName("s", "part of a step spent waiting for samples"),
    "train/checkpoint_s": MetricName("s", "time the loop stood still for a checkpoint"),
    "train/samples_per_s": MetricName("samples/s", "training throughput over all ranks"),
    "train/store_retries": MetricName("tries", "requests to stores tried again so far, rank 0"),
    "train/world_size": MetricName("ranks", "training processes taking part"),
    "train/l1": MetricName("levels", "mean absolute difference of pictures in [-1, 1]"),
    "train/mouth_l1": MetricName("levels", "the same within the mouth and a band around it"),
    "train/perceptual": MetricName("1", "distance of deep features of made and true pictures"),
    "train/gram": MetricName("1", "scaled squared difference of Gram matrices of deep features"),
    "train/gan": MetricName("1", "what the made pictures cost before the discriminator"),
    "train/feature_matching": MetricName("1", "distance of the discriminator's own features"),
    "train/style": MetricName(
        "levels", "L_sp, region-weighted distance to the matched style pattern"
    ),
    "train/judge": MetricName("1", "loss of the discriminator"),
    "train/l_sc": MetricName("1", "squared distance of mean features of made and style landmarks"),
    "train/l_r": MetricName("1", "squared distance of the features' gradient norm from 1"),
    "train/feature_spread": MetricName("ratio", "spread of features over that of landmarks"),
    "train/feature_gradient": MetricName("ratio", "mean gradient norm of the features"),
    "train/landmarks": MetricName("1", "1000 times the squared error of displacements"),
    "train/pose_nll": MetricName("nats", "negative log-likelihood of the head pose"),
    "train/velocity": MetricName("1", "1000 times the squared error of displacements' changes"),
    "train/laplacian": MetricName("1", "absolute error of Laplacian coordinates"),
    "train/lmd": MetricName("% of eye distance", "error of the mouth's points, each mouth centred"),
    "train/equivariance": MetricName("1", "keypoints of a warped picture against warped keypoints"),
    "train/keypoint_prior": MetricName("1", "crowding and mean depth of keypoints"),
    "train/head_pose": MetricName("deg", "absolute error of the head's angles"),
    "train/expression": MetricName("1", "mean size of the keypoints' deviations"),
    "train/pixel": MetricName("levels", "mean absolute difference of pictures in [-1, 1]"),
    "train/copy_loss": MetricName("levels", "the same of repeating the last mel frame"),
    "val/copy_loss": MetricName("levels", "the loss of repeating the last mel frame"),
    "val/loss": MetricName("nats", "mean loss over the validation split"),
    "val/score": MetricName("recipe's own", "what `best` maximises; see the run's tag score_name"),
    "val/accuracy": MetricName("ratio", "accuracy on the validation split"),
    "val/macro_f1": MetricName("ratio", "F1 averaged over the classes present"),
    "val/ece": MetricName("ratio", "expected calibration error, 15 bins"),
    "val/face_weight": MetricName("ratio", "mean fusion weight of the face branch"),
    "val/validate_s": MetricName("s", "wall time of one validation pass"),
    "val/lmd": MetricName("% of eye distance", "error of the mouth's points, each mouth centred"),
    "val/mean_face_lmd": MetricName("% of eye distance", "the same of a face that never moves"),
    "val/still_mouth_lmd": MetricName("% of eye distance", "the same of the best still mouth"),
    "val/opening_correlation": MetricName("ratio", "correlation of true and predicted opening"),
    "val/landmarks": MetricName("1", "1000 times the squared error of displacements"),
    "val/pose_nll": MetricName("nats", "negative log-likelihood of the head pose"),
    "val/psnr_db": MetricName("dB", "peak signal-to-noise ratio of made pictures"),
    "val/copy_l1": MetricName("levels", "L1 on [0, 1] of the source picture as it is"),
    "val/copy_mouth_l1": MetricName("levels", "the same within the mouth"),
    "val/copy_psnr_db": MetricName(
        "dB", "peak signal-to-noise ratio of the source picture as it is"
    ),
    "val/lmd_px": MetricName(
        "px of 512", "distance of the mouths found in made and true pictures, each mouth centred"
    ),
    "val/copy_lmd_px": MetricName("px of 512", "the same of the source picture as it is"),
    "val/lmd_unseen": MetricName("ratio", "share of made pictures in which no face was found"),
    "val/cpbd": MetricName("ratio", "sharpness of made pictures (CPBD)"),
    "val/true_cpbd": MetricName("ratio", "sharpness of the true pictures (CPBD)"),
    "val/l_mg": MetricName("1", "motion loss against the clip itself or what the base says"),
    "val/l_sc": MetricName("1", "squared distance of mean features of made and style landmarks"),
    "val/sld": MetricName("% of face width", "style distance of landmarks, generated to style"),
    "val/slv": MetricName("% of face width", "the same of landmark velocities, per frame"),
    "val/smd": MetricName("% of mouth area", "the same of mouth areas"),
    "val/sld_before": MetricName("% of face width", "SLD of what the base says"),
    "val/slv_before": MetricName("% of face width", "SLV of what the base says"),
    "val/smd_before": MetricName("% of mouth area", "SMD of what the base says"),
    "val/sld_scaled": MetricName("% of face width", "SLD of the base with a mouth scaled to fit"),
    "val/slv_scaled": MetricName("% of face width", "SLV of the base with a mouth scaled to fit"),
    "val/smd_scaled": MetricName("% of mouth area", "SMD of the base with a mouth scaled to fit"),
    "test/loss": MetricName("nats", "mean loss over the test split"),
    "test/accuracy": MetricName("ratio", "accuracy on the test split"),
    "test/accuracy_low": MetricName("ratio", "lower end of the accuracy's 95 % interval"),
    "test/accuracy_high": MetricName("ratio", "upper end of the accuracy's 95 % interval"),
    "test/macro_f1": MetricName("ratio", "F1 averaged over the classes present"),
    "test/ece": MetricName("ratio", "expected calibration error, 15 bins"),
    "test/images_per_s": MetricName("images/s", "evaluation throughput over all actors"),
    "test/cpbd": MetricName("ratio", "sharpness of generated pictures, brought to 512 (CPBD)"),
    "test/lmd": MetricName("px of 512", "distance of the mouth's points, each mouth centred"),
    "test/d_l": MetricName("% of face width", "distance of all landmarks"),
    "test/d_v": MetricName("% of face width", "distance of their velocities, per frame at 60 Hz"),
    "test/d_a": MetricName("% of mouth area", "difference of mouth areas"),
    "test/sld": MetricName("% of face width", "style distance of landmarks"),
    "test/slv": MetricName("% of face width", "style distance of velocities, per frame at 60 Hz"),
    "test/smd": MetricName("% of mouth area", "style distance of mouth areas"),
    "test/opening_r": MetricName("ratio", "correlation of true and generated mouth opening"),
    "test/seen_r": MetricName("ratio", "the same, found in the pictures"),
    "test/seen_gain": MetricName("ratio", "how far the mouth opens in pictures, of the truth"),
    "serve/latency_ms": MetricName("ms", "median time for one picture, one caller"),
    "system/cpu_percent": MetricName("%", "busy share of all cores of this host"),
    "system/memory_gib": MetricName("GiB", "memory in use on this host"),
    "system/process_memory_gib": MetricName("GiB", "resident memory of this process"),
    "system/gpu_percent": MetricName("%", "busy share of the GPUs, averaged"),
    "system/gpu_memory_gib": MetricName("GiB", "memory in use on all GPUs of this host"),
}


def check_names(names: Iterable[str]) -> None:
    """Raise TrackingError for a name that is not in METRICS."""
    unknown = sorted(name for name in names if name not in METRICS)
    if unknown:
        raise TrackingError(
            f"metric {', '.join(unknown)}: not in the closed list; add it with its unit to "
            "visage/tracking/names.py, or log it as a tag"
        )
