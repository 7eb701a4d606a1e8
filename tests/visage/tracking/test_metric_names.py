from __future__ import annotations

import re

from visage.tracking.names import METRICS

MOST_NAMES = 100
"""Of all recipes together; that one run logs at most forty is held beside the recipes."""


def test_the_list_stays_short_enough_to_be_read() -> None:
    assert len(METRICS) <= MOST_NAMES


def test_every_name_has_an_area_a_unit_and_a_meaning() -> None:
    for name, metric in METRICS.items():
        assert re.fullmatch(r"(train|val|test|serve|system)/[a-z0-9_]+", name)
        assert metric.unit
        assert metric.meaning


def test_a_name_that_ends_in_a_unit_has_that_unit() -> None:
    for suffix, unit in {"_s": "s", "_ms": "ms", "_gib": "GiB", "_percent": "%"}.items():
        for name, metric in METRICS.items():
            if name.endswith(suffix) and not name.endswith("_per_s"):
                assert metric.unit == unit, name
