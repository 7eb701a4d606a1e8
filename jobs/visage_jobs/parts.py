"""Which sizes of the talking head's parts the shipped presets name."""

from __future__ import annotations

from typing import Literal

from visage.inference.part_costs import PartSpecs
from visage.specs.audio import AudioEncoderTrainSpec
from visage.specs.generator import GeneratorTrainSpec
from visage.specs.motion import MotionTrainSpec
from visage.specs.style_mapping import StyleMappingTrainSpec
from visage_jobs.presets import find_preset

__all__ = ["part_specs"]


def part_specs(size: Literal["paper", "small"]) -> PartSpecs:
    """The specs of the presets `<recipe>-<size>`."""
    return PartSpecs(
        audio=AudioEncoderTrainSpec.load(find_preset(f"audio-encoder-{size}")),
        motion=MotionTrainSpec.load(find_preset(f"motion-{size}")),
        style_mapping=StyleMappingTrainSpec.load(find_preset(f"style-mapping-{size}")),
        generator=GeneratorTrainSpec.load(find_preset(f"generator-{size}")),
    )
