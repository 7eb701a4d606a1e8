"""Promises of the cost table: the published operations, exactly."""

from __future__ import annotations

import pytest
import torch

from visage.inference.profiling import profile_emotion_model
from visage.models import build_emotion_model
from visage.specs.emotion import EmotionModelSpec


def test_the_published_network_costs_the_published_operations():
    spec = EmotionModelSpec()
    made = profile_emotion_model(build_emotion_model(spec), spec, repeats=1)
    flop = {part.name: part.flop_per_image for part in made.modules}
    assert flop["face_encoder"] == pytest.approx(0.313e9, rel=2e-3)
    assert flop["context_encoder"] == pytest.approx(0.426e9, rel=2e-3)
    assert made.flop_per_image == sum(flop.values()) == pytest.approx(0.743e9, rel=1e-3)
    assert made.parameters == sum(part.parameters for part in made.modules) == 2_158_602


def test_cost_per_image_does_not_depend_on_the_batch_and_the_models_mode_is_restored(tiny_spec):
    model = build_emotion_model(tiny_spec)
    one, four = (
        profile_emotion_model(model, tiny_spec, batch=batch, repeats=1) for batch in (1, 4)
    )
    assert one.flop_per_image == four.flop_per_image
    assert [part.name for part in one.modules] == [
        "face_encoder", "context_encoder", "attention", "fusion", "head",
    ]  # fmt: skip
    assert model.training


def test_time_is_the_median_of_the_timed_passes_per_image(tiny_spec):
    ticks = iter([0, 9, 0, 9, 0, 2, 0, 4, 0, 100])  # two warm-up passes, then 2, 4 and 100 seconds
    made = profile_emotion_model(
        build_emotion_model(tiny_spec), tiny_spec, batch=2, repeats=3, clock=lambda: next(ticks)
    )
    assert made.cpu_ms_per_image == 2000.0
    assert made.threads == torch.get_num_threads()
