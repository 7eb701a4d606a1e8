"""What face and setting tell about the label: arithmetic against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visage.seeds import rng_of
from visage.specs.emotion import EMOTIONS
from visage.synth.cues import CueSpec, bayes_accuracy, face_table, setting_table

_SHARES = st.floats(0.0, 1.0)


@given(_SHARES, _SHARES)
def test_two_cues_are_never_worse_than_one(face: float, context: float) -> None:
    cues = CueSpec(face_accuracy=face, context_accuracy=context)
    both = bayes_accuracy(cues)
    assert both >= bayes_accuracy(cues, using="face") - 1e-12
    assert both >= bayes_accuracy(cues, using="context") - 1e-12
    assert 1 / len(EMOTIONS) - 1e-12 <= both <= 1 + 1e-12


@given(_SHARES, _SHARES)
def test_every_label_shows_something_with_certainty(face: float, context: float) -> None:
    cues = CueSpec(face_accuracy=face, context_accuracy=context)
    for table in (face_table(cues), setting_table(cues)):
        np.testing.assert_allclose(table.sum(axis=1), 1.0)
        assert table.min() >= 0


def test_by_default_context_lifts_the_ceiling_by_at_least_ten_points() -> None:
    both = bayes_accuracy(CueSpec())
    assert both - bayes_accuracy(CueSpec(), using="face") >= 0.10
    assert both - bayes_accuracy(CueSpec(), using="context") >= 0.10


def test_a_perfect_cue_needs_no_second_and_a_blind_one_adds_nothing() -> None:
    blind = 1 / len(EMOTIONS)
    assert bayes_accuracy(CueSpec(face_accuracy=1.0, context_accuracy=blind)) == pytest.approx(1.0)
    cues = CueSpec(face_accuracy=0.72, context_accuracy=blind)
    assert bayes_accuracy(cues) == pytest.approx(bayes_accuracy(cues, using="face"))
    assert bayes_accuracy(cues, using="context") == pytest.approx(blind)


@pytest.mark.parametrize(("face", "context"), [(0.72, 0.68), (0.5, 0.9), (0.95, 0.3)])
def test_the_stated_ceiling_is_what_the_best_guess_reaches(face: float, context: float) -> None:
    cues = CueSpec(face_accuracy=face, context_accuracy=context)
    rng, count, kinds = rng_of(1, "simulation"), 40_000, len(EMOTIONS)
    label = rng.integers(kinds, size=count)
    shown = _drawn(face_table(cues), label, rng)
    setting = _drawn(setting_table(cues), label, rng)
    likely = face_table(cues)[:, shown] * setting_table(cues)[:, setting]  # (label, picture)
    hit = np.mean(likely.argmax(axis=0) == label)
    assert hit == pytest.approx(bayes_accuracy(cues), abs=0.01)
    by_face = np.mean(face_table(cues)[:, shown].argmax(axis=0) == label)
    assert by_face == pytest.approx(bayes_accuracy(cues, using="face"), abs=0.01)


def _drawn(table: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One column of the table for each label, by its row's odds."""
    return (rng.random(len(label))[:, None] > table.cumsum(axis=1)[label]).sum(axis=1)
