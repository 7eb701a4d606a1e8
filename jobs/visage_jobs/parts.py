"""Which sizes of the talking head's parts the shipped presets name, and what fits to what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from visage.inference.audio_encoder import load_audio_encoder
from visage.inference.part_costs import PartSpecs
from visage.specs.audio import AudioEncoderTrainSpec
from visage.specs.generator import GeneratorTrainSpec
from visage.specs.motion import MotionTrainSpec
from visage.specs.style_mapping import StyleMappingTrainSpec
from visage.specs.train import TrainSpec
from visage_jobs.presets import find_preset

__all__ = ["fitted", "part_specs"]

WIDTH_KEY = "model.feature_channels"


def part_specs(size: Literal["paper", "small"]) -> PartSpecs:
    """The specs of the presets `<recipe>-<size>`."""
    return PartSpecs(
        audio=AudioEncoderTrainSpec.load(find_preset(f"audio-encoder-{size}")),
        motion=MotionTrainSpec.load(find_preset(f"motion-{size}")),
        style_mapping=StyleMappingTrainSpec.load(find_preset(f"style-mapping-{size}")),
        generator=GeneratorTrainSpec.load(find_preset(f"generator-{size}")),
    )


def fitted(spec: TrainSpec, assignments: Sequence[str] = ()) -> TrainSpec:
    """The spec with what follows from the parts that it names.

    A motion generator reads as many features as its audio encoder gives, unless an assignment says
    otherwise; an encoder that is not there is refused before any worker starts.

    Raises:
        NotFoundError: no such part; says how to train one.
    """
    if not isinstance(spec, MotionTrainSpec) or spec.audio_encoder is None:
        return spec
    encoder = load_audio_encoder(spec.audio_encoder)
    if any(text.startswith(f"{WIDTH_KEY}=") for text in assignments):
        return spec
    model = spec.model.model_copy(update={"feature_channels": encoder.spec.width})
    return spec.model_copy(update={"model": model})
