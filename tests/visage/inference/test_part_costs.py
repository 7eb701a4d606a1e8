"""What the parts cost: the published sizes, counted; smaller ones cost less."""

from __future__ import annotations

import pytest

from visage.inference.part_costs import PartCost, part_costs
from visage_jobs.parts import part_specs

PUBLISHED = {
    "audio encoder": (4.064e6, 8.1e6),
    "landmark LSTM": (3.131e6, 6.24e6),
    "head pose, audio and cached WaveNet": (4.25e6, 8.5e6),
    "canonical keypoints": (41.9e6, 38.8e9),
    "head pose and expression": (30.3e6, 15.6e9),
    "intermediate generator": (101.0e6, 1.203e12),
    "style-aware generator": (76.2e6, 166.3e9),
    "discriminator (training)": (5.57e6, 37.5e9),
    "style features f (transfer)": (866_048, 1.73e6),
}
"""Parameters and operations (models.md A.2, A.4, A.7 to A.9)."""


@pytest.fixture(scope="module")
def paper() -> dict[str, PartCost]:
    return {one.name: one for one in part_costs(part_specs("paper"))}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_full_presets_have_the_published_parameters_and_operations(
    name: str, paper: dict[str, PartCost]
) -> None:
    parameters, flop = PUBLISHED[name]
    assert paper[name].parameters == pytest.approx(parameters, rel=0.002)
    assert paper[name].flop == pytest.approx(flop, rel=0.01)
    assert paper[name].cpu_ms is None


def test_the_small_presets_are_the_same_parts_at_a_fraction_of_the_cost(
    paper: dict[str, PartCost],
) -> None:
    small = {one.name: one for one in part_costs(part_specs("small"))}
    assert list(small) == list(paper)
    for name, one in small.items():
        if "style features" not in name:
            assert one.parameters < paper[name].parameters / 10, name
            assert one.flop < paper[name].flop / 10, name
