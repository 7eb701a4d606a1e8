"""Fixtures of the tracking tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_evaluations import MakeEvaluation, write_evaluation
from made_tracking import empty_database, tracking_uri

from visage.tracking.evaluation import Evaluation

__all__ = ["empty_database", "make_evaluation", "tracking_uri"]


@pytest.fixture
def make_evaluation(tmp_path: Path) -> MakeEvaluation:
    """Write an evaluation folder from truth and predictions, and read it back."""

    def make(
        truth: list[int], predicted: list[int], *, name: str = "e", **values: Any
    ) -> Evaluation:
        return write_evaluation(tmp_path / "evaluations" / name, truth, predicted, **values)

    return make
