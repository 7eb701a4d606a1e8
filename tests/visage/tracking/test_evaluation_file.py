from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_evaluations import MakeEvaluation

from visage.errors import NotFoundError, TrackingError
from visage.tracking.evaluation import Evaluation


def test_predictions_of_two_models_are_paired_by_picture(make_evaluation: MakeEvaluation) -> None:
    mine = make_evaluation([0, 1, 2, 2], [0, 1, 0, 2], name="a")
    theirs = make_evaluation([0, 1, 2, 2], [0, 0, 2, 2], name="b")
    pairs = mine.paired_with(theirs)
    assert pairs is not None
    assert pairs.candidate.tolist() == [True, True, False, True]
    assert pairs.champion.tolist() == [True, False, True, True]


def test_predictions_of_other_pictures_are_not_paired(make_evaluation: MakeEvaluation) -> None:
    mine = make_evaluation([0, 1], [0, 1], name="a")
    longer = make_evaluation([0, 1, 2], [0, 1, 2], name="b")
    silent = make_evaluation([0, 1], [0, 1], name="c", with_predictions=False)
    assert mine.paired_with(longer) is None
    assert mine.paired_with(silent) is None


def test_a_folder_without_an_evaluation_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="visage evaluate"):
        Evaluation.read(str(tmp_path))


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"[]",
        b"not json",
        b'{"schema": "visage.evaluation/99"}',
        b'{"schema": "visage.evaluation/1"}',
    ],
)
def test_a_damaged_or_unknown_evaluation_is_refused_with_its_place(damage: bytes) -> None:
    with pytest.raises(TrackingError, match="some/where"):
        Evaluation.from_json(damage, uri="some/where")


@pytest.mark.parametrize(
    ("key", "value"),
    [("confusion", [[1]]), ("rows", "many"), ("accuracy_interval", [0.1]), ("per_class", [{}])],
)
def test_a_field_of_another_shape_is_refused(
    make_evaluation: MakeEvaluation, key: str, value: object
) -> None:
    folder = Path(make_evaluation([0, 1], [0, 1]).uri)
    body = json.loads((folder / "evaluation.json").read_text())
    with pytest.raises(TrackingError, match="incomplete"):
        Evaluation.from_json(json.dumps({**body, key: value}).encode(), uri="x")
