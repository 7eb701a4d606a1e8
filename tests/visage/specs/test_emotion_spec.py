"""Promises of the emotion model's spec: one network, one spec; nothing is ignored in silence."""

from __future__ import annotations

import pytest

from visage.errors import SpecError
from visage.specs.emotion import EmotionModelSpec


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"inputs": "F", "attention": "GLA"}, "no context to attend"),
        ({"inputs": "F", "fusion": "adaptive"}, "one branch"),
        ({"inputs": "mC", "fusion": "concat"}, "one branch"),
        ({"inputs": "F+mC", "fusion": "none"}, "two branches"),
        ({"inputs": "F+mC", "mask": "none"}, "say fC"),
        ({"inputs": "F+fC", "mask": "black"}, "masks nothing"),
        ({"family": "caer-net-s", "attention": "GLA"}, "caer-net-s is"),
        ({"family": "caer-net-s", "backbone": "resnet18"}, "caer-net-s is"),
        ({"family": "caer-net-s", "inputs": "F"}, "caer-net-s is"),
        ({"backbone": "resnet18", "widths": [8, 8, 8, 8, 8]}, "widths belong to cnn5"),
        ({"pretrained": "weights.pth"}, "backbone=resnet18"),
        ({"widths": [0, 8, 8, 8, 8]}, "at least one filter"),
        ({"input": {"context_crop": 200}}, "does not fit"),
        ({"inputs": "face"}, "inputs"),
        ({"depth": 3}, "no such key"),
    ],
)
def test_combinations_that_mean_nothing_are_refused_with_a_reason(values, words):
    with pytest.raises(SpecError, match=words):
        EmotionModelSpec.parse(values)


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"inputs": "F"}, {"inputs": "F", "attention": "none", "fusion": "none", "mask": "none"}),
        ({"inputs": "mC"}, {"inputs": "mC", "fusion": "none", "mask": "black", "attention": "GLA"}),
        ({"family": "caer-net-s"}, {"family": "caer-net-s", "attention": "CA"}),
        ({"backbone": "resnet18"}, {"backbone": "resnet18", "bn_eps": 1e-5, "bn_momentum": 0.1}),
    ],
)
def test_what_is_left_out_is_what_the_rest_implies_so_the_digest_is_the_same(given, same):
    assert EmotionModelSpec.parse(given).digest() == EmotionModelSpec.parse(same).digest()


@pytest.mark.parametrize(
    "values",
    [{}, {"inputs": "F"}, {"inputs": "fC"}, {"family": "caer-net-s"}, {"backbone": "resnet18"}],
)
def test_a_resolved_spec_reads_back_as_itself(values):
    spec = EmotionModelSpec.parse(values)
    assert EmotionModelSpec.parse(spec.model_dump(mode="json")) == spec


def test_one_size_may_be_changed_without_losing_the_backbones_other_defaults():
    spec = EmotionModelSpec.parse({"backbone": "resnet18", "input": {"face_size": 112}})
    assert (spec.input.face_size, spec.input.context_crop) == (112, 224)
    assert EmotionModelSpec.parse({"input": {"face_size": 64}}).input.context_crop == 112


@pytest.mark.parametrize(
    ("values", "face", "context", "encoder", "masked"),
    [
        ({"inputs": "F"}, True, False, True, False),
        ({"inputs": "mC"}, False, True, True, True),
        ({"inputs": "mC", "attention": "CA"}, False, True, False, True),
        ({"inputs": "F+fC"}, True, True, True, False),
        ({}, True, True, True, True),
    ],
)
def test_the_spec_says_which_parts_of_the_network_exist(values, face, context, encoder, masked):
    spec = EmotionModelSpec.parse(values)
    assert (spec.uses_face, spec.uses_context) == (face, context)
    assert (spec.has_face_encoder, spec.masks_face) == (encoder, masked)
