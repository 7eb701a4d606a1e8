"""Scene plans: the truth before the drawing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from visage.errors import SpecError
from visage.seeds import rng_of
from visage.specs.emotion import EMOTIONS
from visage.synth.cues import CueSpec, face_table, setting_table
from visage.synth.scene import ScenePlan, draw_scene, plan_scene, scene_box, truth_row
from visage.synth.settings import draw_setting


def _plan(label: str = "Happy", place: str = "a", **changes: object) -> ScenePlan:
    given: dict[str, object] = {
        "seed": 0,
        "identities": range(10),
        "cues": CueSpec(),
        "width": 213,
        "height": 160,
    }
    return plan_scene(label, place=place, **(given | changes))  # type: ignore[arg-type]


def test_a_plan_is_a_function_of_seed_and_place_alone() -> None:
    assert _plan() == _plan()
    assert _plan() != _plan(seed=1)
    assert _plan() != _plan(place="b")


def test_drawing_a_plan_twice_gives_the_same_picture() -> None:
    first, again = draw_scene(_plan()), draw_scene(_plan())
    assert first.shape == (160, 213, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)


def test_cues_are_shown_as_often_as_the_spec_says() -> None:
    cues, count = CueSpec(), 700
    for label in ("Fear", "Neutral"):
        plans = [_plan(label, str(place)) for place in range(count)]
        row = EMOTIONS.index(label)
        for shown, table in (
            ([plan.shown_expression for plan in plans], face_table(cues)),
            ([plan.shown_setting for plan in plans], setting_table(cues)),
        ):
            share = np.array([shown.count(emotion) for emotion in EMOTIONS]) / count
            spread = 4 * np.sqrt(table[row] * (1 - table[row]) / count)
            assert np.all(np.abs(share - table[row]) <= spread + 1e-9)


@pytest.mark.parametrize(("width", "height"), [(533, 400), (213, 160), (300, 400), (700, 300)])
def test_every_face_lies_inside_its_picture(width: int, height: int) -> None:
    for place in range(60):
        plan = _plan("Surprise", str(place), width=width, height=height)
        x1, y1, x2, y2 = scene_box(plan)
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        assert (x2 - x1) * (y2 - y1) > 0.5 * plan.person.face_width**2


def test_the_truth_is_plain_json() -> None:
    row = truth_row(_plan(), path="train/Happy/0001.jpg", split="train", group="person-0001")
    back = json.loads(json.dumps(row))
    assert back["label"] == "Happy"
    assert np.array(back["landmarks"]).shape == (68, 2)
    assert len(back["box"]) == 4
    assert back["schema"].startswith("visage.synth-truth/")


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_settings_vary_but_are_the_same_for_the_same_draw(emotion: str) -> None:
    first = draw_setting(emotion, rng_of(1), width=160, height=120)
    again = draw_setting(emotion, rng_of(1), width=160, height=120)
    other = draw_setting(emotion, rng_of(2), width=160, height=120)
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 5


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(SpecError, match="no setting"):
        draw_setting("Boredom", rng_of(0), width=160, height=120)
