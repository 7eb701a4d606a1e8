"""Recipe `emotion`: GLAMOR-Net, its ablations and CAER-Net-S on prepared emotion corpora.

Loss: cross-entropy over the taxonomy (models.md B.3). Score: accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from visage.data.emotion_rows import EmotionDecoder
from visage.data.feed import Batch
from visage.data.manifest import Manifest
from visage.inference.artifact import new_emotion_model, save_emotion_model
from visage.seeds import seed_of
from visage.specs.train import EmotionTrainSpec
from visage.store.base import Store
from visage.training.optimizers import build_optimizer
from visage.training.recipe import Phase, Sample, Tensors

__all__ = ["EmotionRecipe"]


class EmotionRecipe:
    """One model, one objective."""

    score_name = "accuracy"
    companions: Mapping[str, nn.Module] = {}

    def __init__(self, spec: EmotionTrainSpec, manifest: Manifest, device: torch.device) -> None:
        self.spec = spec
        self._classes = classes = manifest.classes
        counts = manifest.counts.get("train", {})
        torch.manual_seed(seed_of(spec.seed, "weights"))
        self.model: nn.Module = new_emotion_model(spec.model, classes=classes).to(device)
        self._layout = torch.contiguous_format
        if spec.channels_last and device.type == "cuda":
            self._layout = torch.channels_last
            for parameter in self.model.parameters():
                if parameter.ndim == 4:
                    parameter.data = parameter.data.contiguous(memory_format=self._layout)
        weights = _class_weights(spec, self._classes, counts).to(device)
        objective = _Objective(self.model, weights, spec.label_smoothing)
        optimizer = build_optimizer(self.model, spec.optimizer)
        self.phases = (
            Phase(name="model", module=objective, optimizer=optimizer, schedule=spec.schedule),
        )

    def decoder(self, *, training: bool) -> EmotionDecoder:
        """Stored rows to face, context and label; augmented for training."""
        return EmotionDecoder(
            model=self.spec.model, augment=self.spec.augment if training else "none",
            training=training,
        )  # fmt: skip

    def tensors(self, batch: Batch, device: torch.device) -> dict[str, Tensor]:
        """uint8 pictures (N, S, S, 3) to float (N, 3, S, S) in [0, 1] on the device."""
        return {
            "face": self._picture(batch.arrays["face"], device),
            "context": self._picture(batch.arrays["context"], device),
            "label": torch.from_numpy(batch.arrays["label"]).to(device, non_blocking=True),
        }

    def validate(self, model: nn.Module, tensors: Tensors) -> dict[str, Tensor]:
        """Correct answers and summed cross-entropy."""
        logits = model(tensors["face"], tensors["context"]).logits.float()
        label = tensors["label"]
        return {
            "score": (logits.argmax(1) == label).double().sum(),
            "loss": F.cross_entropy(logits, label, reduction="sum").double(),
        }

    def samples(self, model: nn.Module, tensors: Tensors) -> list[Sample]:
        """None: `visage evaluate` shows the gallery."""
        return []

    def export(
        self, store: Store, prefix: str, model: nn.Module, *, metadata: Mapping[str, object]
    ) -> str:
        """Publish the weights with their spec and classes."""
        return save_emotion_model(
            store, prefix, model, self.spec.model, classes=self._classes, metadata=dict(metadata)
        )

    def _picture(self, pixels: NDArray[Any], device: torch.device) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(pixels)).to(device, non_blocking=True)
        return (tensor.permute(0, 3, 1, 2).float() / 255).contiguous(memory_format=self._layout)


class _Objective(nn.Module):
    """The model with its loss; its parameters are the model's."""

    def __init__(self, model: nn.Module, weights: Tensor, label_smoothing: float) -> None:
        super().__init__()
        self.model = model
        self._label_smoothing = label_smoothing
        self._weights = weights

    def forward(self, tensors: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.model(tensors["face"], tensors["context"]).logits.float()
        label = tensors["label"]
        each = F.cross_entropy(
            logits, label, reduction="none", label_smoothing=self._label_smoothing
        )
        loss = (each * self._weights[label]).mean()
        return loss, {"accuracy": (logits.argmax(1) == label).sum()}


def _class_weights(
    spec: EmotionTrainSpec, classes: Sequence[str], counts: Mapping[str, int]
) -> Tensor:
    """Ones, or inverse frequencies scaled so that the mean over samples is 1."""
    if spec.balance == "none":
        return torch.ones(len(classes))
    total = sum(counts.values())
    present = sum(1 for name in classes if counts.get(name))
    return torch.tensor(
        [total / (present * counts[name]) if counts.get(name) else 0.0 for name in classes]
    )
