"""Recipe `motion`: landmarks and head pose from speech, on windows of prepared clips.

Loss: L_mg (`visage.models.motion.losses`), the landmarks' terms in one phase and the pose's in
another: gradients of the two differ in size, and clipping one must not stall the other. Score:
-LMD, the mouth's error in percent of the eye distance; beside it stand the same error of a face
that never moves (the clip's mean shape) and of the best still mouth (the window's own mean): a
network that is not well below both has not learnt to speak. Source: models.md A.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from visage.data.clip_decoders import MotionDecoder
from visage.data.clip_rows import FPS, SAMPLE_RATE
from visage.data.feed import Batch
from visage.data.manifest import Manifest
from visage.errors import DataError, SpecError
from visage.inference.audio_encoder import load_audio_encoder
from visage.inference.parts import save_part
from visage.models.audio.apc import AudioEncoder
from visage.models.motion import (
    Motion,
    MotionGenerator,
    MotionWeights,
    motion_loss,
)
from visage.models.motion.losses import landmark_terms, pose_nll
from visage.models.motion.scores import mouth_error, opening_correlation
from visage.seeds import seed_of
from visage.specs.audio import AudioFrontSpec
from visage.specs.motion import MotionTrainSpec
from visage.store.base import Store
from visage.training.optimizers import build_optimizer
from visage.training.recipe import Phase, Sample, Tensors
from visage.training.recipes.motion_samples import opening_curves, talking_faces

__all__ = ["MOTION", "MotionRecipe"]

MOTION = "motion"
"""The kind of the exported part."""


class MotionRecipe:
    """Two networks that share nothing, a phase for each; the audio encoder is frozen."""

    score_name = "-LMD"
    companions: Mapping[str, nn.Module] = {}

    def __init__(self, spec: MotionTrainSpec, manifest: Manifest, device: torch.device) -> None:
        """Raises SpecError or DataError if encoder, model and corpus do not belong together."""
        if spec.model.fps != FPS:
            raise SpecError(
                f"model.fps is {spec.model.fps}, but clips are prepared at {FPS}; leave it out"
            )
        _check_segments(spec, manifest)
        self.spec = spec
        self._encoder, self._encoder_digest = _encoder(spec, manifest, device)
        torch.manual_seed(seed_of(spec.seed, "weights"))
        generator = MotionGenerator(spec.model).to(device)
        self.model: nn.Module = generator
        sides = {
            "landmarks": _LandmarkSide(generator, spec),
            "pose": _PoseSide(generator, spec),
        }
        self.phases = tuple(
            Phase(
                name=name,
                module=side,
                optimizer=build_optimizer(side, spec.optimizer),
                schedule=spec.schedule,
            )
            for name, side in sides.items()
        )

    def decoder(self, *, training: bool) -> MotionDecoder:
        """Stored segments to windows with their lead-in."""
        return MotionDecoder(
            window=self.spec.window, lead_in=self.spec.lead_in_frames, training=training
        )

    def tensors(self, batch: Batch, device: torch.device) -> dict[str, Tensor]:
        """Features of lead-in and window and what they shall become.

        features (N, 2(lead_in + window), F), displacement (N, window, 68, 3), mean (N, 68, 3),
        pose (N, lead_in + window, 6), rest (N, 6) its mean, audio int16 of the window on the CPU.
        """
        arrays = {
            name: torch.from_numpy(np.ascontiguousarray(batch.arrays[name]))
            for name in ("mel", "landmarks", "mean", "pose", "audio")
        }
        on_device = {
            name: arrays[name].to(device, non_blocking=True)
            for name in ("mel", "landmarks", "mean", "pose")
        }
        return {
            "features": self._features(on_device["mel"]),
            "displacement": on_device["landmarks"] - on_device["mean"][:, None],
            "mean": on_device["mean"],
            "pose": on_device["pose"],
            "rest": on_device["pose"].mean(dim=1),
            "audio": arrays["audio"][:, self.spec.lead_in_frames * SAMPLE_RATE // FPS :],
        }

    def validate(self, model: nn.Module, tensors: Tensors) -> dict[str, Tensor]:
        """Loss, its parts, and the mouth's error beside that of two mouths that never move."""
        generator, lead_in = cast(MotionGenerator, model), self.spec.lead_in_frames
        sway = generator.pose.sway(tensors["pose"], tensors["rest"])
        prediction = generator(tensors["features"], sway, lead_in=lead_in)
        loss = motion_loss(
            prediction, displacement=tensors["displacement"], sway=sway, weights=_weights(self.spec)
        )
        predicted = prediction.displacement
        true = tensors["displacement"][:, : predicted.shape[1]]
        still = torch.zeros_like(true)
        lmd = mouth_error(predicted, true)
        count = len(true)
        sums = {
            "score": -lmd.sum(),
            "loss": loss.total * count,
            "lmd": lmd.sum(),
            "mean_face_lmd": mouth_error(still, true).sum(),
            "still_mouth_lmd": mouth_error(still + true.mean(dim=1, keepdim=True), true).sum(),
            "opening_correlation": self._correlation(predicted, true, tensors["mean"]).sum(),
            "landmarks": loss.landmarks * count,
            "pose_nll": loss.pose * count,
        }
        return {name: value.double() for name, value in sums.items()}

    def samples(self, model: nn.Module, tensors: Tensors) -> list[Sample]:
        """Clips with sound, truth beside prediction, and the curves of their mouths."""
        made: list[Sample] = []
        pairs = []
        for index in range(min(self.spec.samples, len(tensors["mean"]))):
            true, predicted = self._true(tensors, index), self._made(model, tensors, index)
            sound = tensors["audio"][index].float().div(32768).numpy()
            body = talking_faces(true, predicted, sound, fps=FPS, sample_rate=SAMPLE_RATE)
            made.append(Sample(name=f"talking-{index}", suffix="mp4", body=body))
            pairs.append((true.landmarks, predicted.landmarks))
        if pairs:
            curves = opening_curves(pairs, fps=FPS)
            made.append(Sample(name="mouth-opening", suffix="png", body=curves))
        return made

    def export(
        self, store: Store, prefix: str, model: nn.Module, *, metadata: Mapping[str, object]
    ) -> str:
        """Publish both networks; the metadata name the audio encoder they listen through."""
        told = {
            **metadata,
            "audio_encoder": self.spec.audio_encoder,
            "audio_encoder_digest": self._encoder_digest,
        }
        return save_part(store, prefix, model, kind=MOTION, spec=self.spec.model, metadata=told)

    @torch.no_grad()
    def _features(self, mel: Tensor) -> Tensor:
        """Mel frames as the model hears them; the lead-in warms the encoder up."""
        if self._encoder is None:
            return mel
        features: Tensor = self._encoder(mel)[0]
        return features

    @staticmethod
    def _correlation(predicted: Tensor, true: Tensor, mean: Tensor) -> Tensor:
        return opening_correlation(predicted + mean[:, None], true + mean[:, None])

    def _true(self, tensors: Tensors, index: int) -> Motion:
        landmarks = tensors["mean"][index] + tensors["displacement"][index]
        pose = tensors["pose"][index, self.spec.lead_in_frames :]
        return Motion(landmarks=landmarks, pose=pose, torso=None)

    def _made(self, model: nn.Module, tensors: Tensors, index: int) -> Motion:
        """What a user would get for the sound of the window."""
        generator = cast(MotionGenerator, model)
        return generator.generate(
            tensors["features"][index, 2 * self.spec.lead_in_frames :],
            tensors["mean"][index],
            rest=tensors["rest"][index],
            seed=seed_of(self.spec.seed, "sample", index),
        )


class _LandmarkSide(nn.Module):
    """The landmark net with its terms of L_mg; its parameters are that net's."""

    def __init__(self, generator: MotionGenerator, spec: MotionTrainSpec) -> None:
        super().__init__()
        self.net = generator.landmarks
        self._generator = (generator,)  # a tuple hides the pose net from parameters()
        self._first = 2 * spec.lead_in_frames
        self._weights = _weights(spec)

    def forward(self, tensors: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        predicted = self._generator[0].displacements(tensors["features"][:, self._first :])
        true = tensors["displacement"]
        terms = landmark_terms(predicted, true, weights=self._weights)
        count = len(true)
        logged = {name: getattr(terms, name) * count for name in terms._fields if name != "total"}
        logged["lmd"] = mouth_error(predicted, true[:, : predicted.shape[1]]).sum()
        return terms.total, {name: value.detach() for name, value in logged.items()}


class _PoseSide(nn.Module):
    """The pose net with its term of L_mg; its parameters are that net's."""

    def __init__(self, generator: MotionGenerator, spec: MotionTrainSpec) -> None:
        super().__init__()
        self.net = generator.pose
        self._weight = spec.lambda_pose

    def forward(self, tensors: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        sway = self.net.sway(tensors["pose"], tensors["rest"])
        nll = pose_nll(self.net(tensors["features"], sway), sway)
        return self._weight * nll, {"pose_nll": nll.detach() * len(sway)}


def _weights(spec: MotionTrainSpec) -> MotionWeights:
    return MotionWeights(spec.lambda_pose, spec.lambda_velocity, spec.lambda_laplacian)


def _check_segments(spec: MotionTrainSpec, manifest: Manifest) -> None:
    """Refuse at once what the first row would refuse in the middle of a run."""
    segment_s, span = manifest.settings.get("segment_s"), spec.lead_in_frames + spec.window
    if isinstance(segment_s, int | float) and segment_s * FPS < span:
        raise DataError(
            f"the clips were cut into segments of {segment_s} s; lead_in {spec.lead_in_frames} and "
            f"window {spec.window} need {span / FPS:.2f} s. Prepare with --set segment_s="
            f"{span / FPS:.2f} or more, or train with --set lead_in=0"
        )


def _encoder(
    spec: MotionTrainSpec, manifest: Manifest, device: torch.device
) -> tuple[AudioEncoder | None, str | None]:
    """The frozen encoder and its digest, checked against model and corpus."""
    if spec.audio_encoder is None:
        return None, None
    part = load_audio_encoder(spec.audio_encoder, device=str(device))
    if part.spec.width != spec.model.feature_channels:
        raise SpecError(
            f"audio_encoder {spec.audio_encoder} gives features of {part.spec.width}, the model "
            f"reads {spec.model.feature_channels}; set model.feature_channels={part.spec.width}"
        )
    stated = manifest.settings.get("front")
    if isinstance(stated, Mapping):
        front = AudioFrontSpec.parse(stated, origin="manifest")
        if differences := front.differences(part.spec.front):
            raise DataError(
                f"the corpus was prepared with another front end than {spec.audio_encoder} was "
                f"trained with: {'; '.join(differences)}; prepare it again, or name another encoder"
            )
    return part.model, part.digest
