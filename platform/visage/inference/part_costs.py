"""What every part of the talking head costs: parameters, operations, and time on this CPU.

Parameters and operations are counted on the meta device, where tensors have shapes and no content,
so the paper's sizes cost nothing to look at. Operations are 2 per multiply-add of convolutions and
matrix products, as in the published figures (models.md A.2, A.4, A.7 to A.9).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from visage.landmarks import POINTS
from visage.models import count_parameters
from visage.models.audio.apc import AudioEncoder
from visage.models.generator import Generator, Judge
from visage.models.motion.frames import paired
from visage.models.motion.head_pose import STATE, HeadPoseNet
from visage.models.motion.landmark_lstm import LandmarkLstm
from visage.models.motion.wavenet import WaveNetSteps
from visage.models.perceptual import PerceptualNet
from visage.models.style_mapping.head_expression import HeadExpression
from visage.models.style_mapping.intermediate import IntermediateGenerator
from visage.models.style_mapping.keypoints import CanonicalKeypoints
from visage.models.style_transfer import StyleFeatures
from visage.specs.audio import AudioEncoderTrainSpec
from visage.specs.generator import GeneratorTrainSpec
from visage.specs.motion import MotionTrainSpec
from visage.specs.style_mapping import StyleMappingTrainSpec
from visage.specs.style_transfer import StyleFeaturesSpec

__all__ = ["PartCost", "PartSpecs", "as_rows", "part_costs"]

Call = Callable[[], object]
LONG_S = 10.0
STEPS = 8
"""Frames in one pass through what reads sequences; figures are per frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSpecs:
    """The sizes that are looked at."""

    audio: AudioEncoderTrainSpec
    motion: MotionTrainSpec
    style_mapping: StyleMappingTrainSpec
    generator: GeneratorTrainSpec
    features: StyleFeaturesSpec = field(default_factory=StyleFeaturesSpec)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartCost:
    """One network."""

    name: str
    per: str
    """What the operations and the time are for: mel frame, video frame, picture."""
    parameters: int
    flop: int
    cpu_ms: float | None
    """Median on torch's current number of threads, a single call where one takes more than
    `LONG_S`; None if it was not timed."""


@dataclass(frozen=True, slots=True)
class _Probe:
    """A network and how it is called once; `count` units come out of one call."""

    name: str
    per: str
    build: Callable[[], nn.Module]
    call: Callable[[nn.Module], object]
    count: int = 1


def part_costs(
    specs: PartSpecs,
    *,
    timed: bool = False,
    repeats: int = 3,
    progress: Callable[[str], None] | None = None,
) -> list[PartCost]:
    """Count, and if wished time, every part in the order in which sound becomes a picture.

    Args:
        timed: Also build each network on the CPU and run it; the published sizes take a minute.
        repeats: Timed calls after one untimed; a call of more than `LONG_S` is not repeated.
        progress: Told each part's name before it is looked at.
    """
    return [
        _cost(probe, timed, repeats, progress or (lambda name: None)) for probe in _probes(specs)
    ]


def _cost(probe: _Probe, timed: bool, repeats: int, progress: Callable[[str], None]) -> PartCost:
    progress(probe.name)
    with torch.no_grad(), torch.device("meta"):
        model = probe.build().eval()
        with FlopCounterMode(display=False) as counter:
            probe.call(model)
    cpu_ms = None
    if timed:
        with torch.no_grad():
            real = probe.build().eval()
            cpu_ms = 1000 * _median_seconds(lambda: probe.call(real), repeats) / probe.count
    return PartCost(
        name=probe.name,
        per=probe.per,
        parameters=count_parameters(model) or sum(one.numel() for one in model.parameters()),
        flop=counter.get_total_flops() // probe.count,
        cpu_ms=cpu_ms,
    )


def _probes(specs: PartSpecs) -> Iterator[_Probe]:
    audio = specs.audio.model
    motion = specs.motion.model.model_copy(update={"feature_channels": audio.width})
    yield _Probe(
        "audio encoder", "mel frame", lambda: AudioEncoder(audio),
        lambda net: net(torch.zeros(1, STEPS, audio.front.mels)), STEPS,
    )  # fmt: skip
    yield _Probe(
        "landmark LSTM", "video frame", lambda: LandmarkLstm(motion),
        lambda net: net(torch.zeros(1, 2 * STEPS, motion.feature_channels)), STEPS,
    )  # fmt: skip
    yield _Probe(
        "head pose, audio and cached WaveNet", "video frame", lambda: HeadPoseNet(motion),
        _pose_steps(motion.feature_channels), STEPS,
    )  # fmt: skip
    mapping = specs.style_mapping.model
    side, points = mapping.size, mapping.keypoints
    yield _Probe("canonical keypoints", "picture", lambda: CanonicalKeypoints(mapping),
                 lambda net: net(torch.zeros(1, 3, side, side)))  # fmt: skip
    yield _Probe("head pose and expression", "picture", lambda: HeadExpression(mapping),
                 lambda net: net(torch.zeros(1, 3, side, side)))  # fmt: skip
    yield _Probe(
        "intermediate generator", "picture", lambda: IntermediateGenerator(mapping),
        lambda net: net(torch.zeros(1, 3, side, side), *_two_zeros(1, points, 3)),
    )  # fmt: skip
    picture = specs.generator.model
    wide, size = picture.input_channels, picture.size
    yield _Probe("style-aware generator", "video frame", lambda: Generator(picture),
                 lambda net: net(torch.zeros(1, wide, size, size)))  # fmt: skip
    yield _Probe(
        "discriminator (training)", "picture",
        lambda: Judge(specs.generator.judge, condition_channels=wide),
        lambda net: net(torch.zeros(1, wide, size, size), torch.zeros(1, 3, size, size)),
    )  # fmt: skip
    losses = specs.generator.losses
    seen = losses.perceptual_size or size
    yield _Probe(
        "perceptual net (training)", "picture",
        lambda: PerceptualNet(losses.perceptual_network, width=losses.perceptual_width),
        lambda net: net(torch.zeros(1, 3, seen, seen)),
    )  # fmt: skip
    yield _Probe("style features f (transfer)", "video frame",
                 lambda: StyleFeatures(specs.features),
                 _features_of_one_frame)  # fmt: skip


def _pose_steps(features: int) -> Callable[[nn.Module], object]:
    """Frame after frame as generation does it, with cached layers."""

    def call(net: nn.Module) -> object:
        assert isinstance(net, HeadPoseNet)
        conditions = net.audio(paired(torch.zeros(1, 2 * STEPS, features)))
        steps = WaveNetSteps(net.wavenet, count=1)
        state = torch.zeros(1, STATE)
        return [steps.step(state, one) for one in steps.conditioned(conditions)]

    return call


def _features_of_one_frame(net: nn.Module) -> object:
    assert isinstance(net, StyleFeatures)
    return net.layers(torch.zeros(1, 3 * POINTS))  # f itself switches autocast off, unknown to meta


def _two_zeros(*shape: int) -> Sequence[Tensor]:
    return torch.zeros(*shape), torch.zeros(*shape)


def _median_seconds(call: Call, repeats: int) -> float:
    """Of several calls after one that warms up; of that one where each takes very long."""
    first = _seconds(call)
    if first > LONG_S:
        return first
    return median(_seconds(call) for _ in range(repeats))


def _seconds(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def as_rows(costs: Sequence[PartCost]) -> list[Mapping[str, object]]:
    """For JSON: one mapping a part."""
    return [
        {
            "name": one.name,
            "per": one.per,
            "parameters": one.parameters,
            "flop": one.flop,
            "cpu_ms": one.cpu_ms,
        }
        for one in costs
    ]
