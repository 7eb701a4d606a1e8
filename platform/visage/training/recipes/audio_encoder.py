"""Recipe `audio-encoder`: autoregressive predictive coding on the sound of any prepared corpus.

Loss: L1 of the mel frame `n_future` ahead. Beside it stands `copy_loss`, what repeating the last
frame would cost: a model whose loss is not well below it has learnt nothing. Score: -L1.
Source: models.md A.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from visage.data.feed import Batch
from visage.data.manifest import Manifest
from visage.data.speech_rows import SpeechDecoder
from visage.errors import DataError
from visage.inference.audio_encoder import AUDIO_ENCODER
from visage.inference.parts import read_weights, save_part
from visage.media.image import Image, encode_png
from visage.models.audio.apc import (
    ApcModel,
    copy_error,
    load_published_encoder,
    prediction_error,
)
from visage.seeds import seed_of
from visage.specs.audio import AudioEncoderTrainSpec, AudioFrontSpec
from visage.store.base import Store
from visage.training.optimizers import build_optimizer
from visage.training.recipe import Phase, Sample, Tensors

__all__ = ["AudioEncoderRecipe"]

BRIGHTEST = 1.2
"""The mel value that is drawn white; loud speech reaches a little beyond 1."""
ZOOM = 2
"""Pixels of a mel value, across and down."""


class AudioEncoderRecipe:
    """One model, one objective; what is exported is the encoder without its post-net."""

    score_name = "-L1"
    companions: Mapping[str, nn.Module] = {}

    def __init__(
        self, spec: AudioEncoderTrainSpec, manifest: Manifest, device: torch.device
    ) -> None:
        """Raises DataError if the corpus was prepared with another front end."""
        _check_front(spec.model.front, manifest)
        self.spec = spec
        torch.manual_seed(seed_of(spec.seed, "weights"))
        model = ApcModel(spec.model)
        if spec.pretrained is not None:
            load_published_encoder(model.encoder, read_weights(Path(spec.pretrained)))
        self.model: nn.Module = model.to(device)
        self.phases = (
            Phase(
                name="model",
                module=_Objective(model, spec.model.n_future),
                optimizer=build_optimizer(model, spec.optimizer),
                schedule=spec.schedule,
            ),
        )

    def decoder(self, *, training: bool) -> SpeechDecoder:
        """Stored recordings to windows of mel frames."""
        return SpeechDecoder(
            window=self.spec.window, mels=self.spec.model.front.mels, training=training
        )

    def tensors(self, batch: Batch, device: torch.device) -> dict[str, Tensor]:
        """mel float32 (N, window, mels) and valid int64 (N,) on the device."""
        return {
            name: torch.from_numpy(batch.arrays[name]).to(device, non_blocking=True)
            for name in ("mel", "valid")
        }

    def validate(self, model: nn.Module, tensors: Tensors) -> dict[str, Tensor]:
        """Summed L1 of the predictions, and of repeating the last frame instead."""
        mel, valid, ahead = tensors["mel"], tensors["valid"], self.spec.model.n_future
        loss = prediction_error(model(mel), mel, valid, ahead).double().sum()
        return {
            "score": -loss,
            "loss": loss,
            "copy_loss": copy_error(mel, valid, ahead).double().sum(),
        }

    def samples(self, model: nn.Module, tensors: Tensors) -> list[Sample]:
        """One picture: what was said above what was predicted, recording by recording."""
        mel, ahead = tensors["mel"], self.spec.model.n_future
        predicted = model(mel).float()
        strips = [
            _strip(true[ahead:count].cpu(), guess[: count - ahead].cpu())
            for true, guess, count in zip(mel, predicted, tensors["valid"].tolist(), strict=True)
            if count > ahead
        ]
        if not strips:
            return []
        width = max(strip.shape[1] for strip in strips)
        padded = [np.pad(one, ((0, 4), (0, width - one.shape[1]), (0, 0))) for one in strips]
        return [Sample(name="mel", suffix="png", body=encode_png(np.concatenate(padded)))]

    def export(
        self, store: Store, prefix: str, model: nn.Module, *, metadata: Mapping[str, object]
    ) -> str:
        """Publish the encoder's weights with their spec."""
        encoder = model.get_submodule("encoder")
        return save_part(
            store,
            prefix,
            encoder,
            kind=AUDIO_ENCODER,
            spec=self.spec.model,
            metadata=dict(metadata),
        )


class _Objective(nn.Module):
    """The model with its loss; its parameters are the model's."""

    def __init__(self, model: nn.Module, n_future: int) -> None:
        super().__init__()
        self.model = model
        self._n_future = n_future

    def forward(self, tensors: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        mel, valid = tensors["mel"], tensors["valid"]
        loss = prediction_error(self.model(mel), mel, valid, self._n_future).mean()
        return loss, {"copy_loss": copy_error(mel, valid, self._n_future).sum()}


def _check_front(front: AudioFrontSpec, manifest: Manifest) -> None:
    stated = manifest.settings.get("front", {})  # clips are prepared with the default one
    differences = AudioFrontSpec.parse(stated, origin="manifest").differences(front)
    if differences:
        raise DataError(
            "the corpus was prepared with another front end than the model's: "
            f"{'; '.join(differences)} (model.front); change one of them"
        )


def _strip(true: Tensor, predicted: Tensor) -> Image:
    """True frames (T, mels) above predicted ones, low bands at the bottom, a line between."""
    line = np.full((2, ZOOM * len(true), 3), 255, np.uint8)
    return np.concatenate([_painted(true), line, _painted(predicted)])


def _painted(mel: Tensor) -> Image:
    grey = (mel.clamp(0, BRIGHTEST) * (255 / BRIGHTEST)).byte().T.flip(0).contiguous().numpy()
    bgr = cv2.applyColorMap(grey, cv2.COLORMAP_MAGMA)
    zoomed: Image = bgr[:, :, ::-1].repeat(ZOOM, 0).repeat(ZOOM, 1)
    return zoomed
