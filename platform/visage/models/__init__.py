"""Plain modules and pure functions: tensors in, tensors out; no files, no Ray, no MLflow."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from visage.errors import SpecError
from visage.models.caer_net import CaerNetS
from visage.models.encoders import picture_tensor
from visage.models.glamor import EmotionOutput, Glamor
from visage.models.resnet import ResNet18, load_trunk
from visage.specs.emotion import EmotionModelSpec

__all__ = ["EmotionOutput", "build_emotion_model", "count_parameters", "picture_tensor"]


def build_emotion_model(
    spec: EmotionModelSpec, *, trunk_weights: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """The network of a spec, freshly initialised from torch's global generator, in training mode.

    Args:
        spec: All switches.
        trunk_weights: torchvision-named ResNet-18 weights for both trunks. A spec with
            `pretrained` needs them; `visage.inference.artifact.new_emotion_model` reads the file.

    Raises:
        SpecError: the weights are missing, superfluous, or not those of ResNet-18.
    """
    if (trunk_weights is None) != (spec.pretrained is None):
        raise SpecError(
            f"pretrained: {spec.pretrained}: the weights were not read; build the model with "
            "visage.inference.artifact.new_emotion_model(spec)"
            if trunk_weights is None
            else "trunk weights were given, but spec.pretrained does not name them"
        )
    model: nn.Module = CaerNetS(spec) if spec.family == "caer-net-s" else Glamor(spec)
    if trunk_weights is not None:
        for module in model.modules():
            if isinstance(module, ResNet18):
                load_trunk(module, trunk_weights)
    return model


def count_parameters(model: nn.Module) -> int:
    """Trainable parameters; batch-norm statistics do not count."""
    return sum(value.numel() for value in model.parameters() if value.requires_grad)
