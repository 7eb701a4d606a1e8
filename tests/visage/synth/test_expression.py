"""Expressions: prototypes, mixtures and their limits."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visage.errors import SpecError
from visage.seeds import rng_of
from visage.specs.emotion import EMOTIONS
from visage.synth.expression import Expression, emotion_expression, jittered, mixed


def test_no_emotion_at_all_is_a_relaxed_face() -> None:
    for emotion in EMOTIONS:
        assert emotion_expression(emotion, intensity=0.0) == Expression()
    assert emotion_expression("Neutral") == Expression()


def test_every_two_emotions_look_clearly_different() -> None:
    shown = [np.array(astuple(emotion_expression(emotion))) for emotion in EMOTIONS]
    for index, first in enumerate(shown):
        for second in shown[index + 1 :]:
            assert np.linalg.norm(first - second) > 0.8


def test_an_unknown_emotion_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SpecError, match="Anger, Disgust"):
        emotion_expression("Boredom")


@given(st.sampled_from(EMOTIONS), st.sampled_from(EMOTIONS), st.floats(0, 1))
def test_a_mixture_lies_between_what_is_mixed(first: str, second: str, weight: float) -> None:
    a, b = emotion_expression(first), emotion_expression(second)
    low, high = np.minimum(astuple(a), astuple(b)), np.maximum(astuple(a), astuple(b))
    values = np.array(astuple(mixed(a, b, weight=weight)))
    assert np.all(values >= low - 1e-9)
    assert np.all(values <= high + 1e-9)


@given(st.integers(0, 10_000), st.sampled_from(EMOTIONS))
def test_another_moment_stays_the_same_emotion(seed: int, emotion: str) -> None:
    pure = emotion_expression(emotion)
    moved = jittered(pure, rng_of(seed))
    assert np.all(np.abs(np.array(astuple(moved))) <= 1.25)

    def away(other: str) -> float:
        steps = np.array(astuple(moved)) - np.array(astuple(emotion_expression(other)))
        return float(np.linalg.norm(np.delete(steps, 13)))  # gaze wanders freely

    assert min(EMOTIONS, key=away) == emotion
