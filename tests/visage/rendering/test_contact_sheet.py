from __future__ import annotations

import numpy as np
import pytest

from visage.errors import DataError
from visage.rendering.contact_sheet import HEAD, LABEL, TILE, contact_sheet, contact_strip


def _plain(level: int, side: int = 40) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


def test_each_row_shows_its_own_pictures_and_a_single_one_all_the_time() -> None:
    rows = {"truth": [_plain(10), _plain(60), _plain(110)], "frozen": [_plain(200, side=300)]}
    strip = contact_strip("clip", rows, columns=3)
    assert strip.shape == (HEAD + 2 * TILE, LABEL + 3 * TILE, 3)
    middles = [LABEL + TILE // 2 + at * TILE for at in range(3)]
    assert [strip[HEAD + TILE // 2, x, 0] for x in middles] == [10, 60, 110]
    assert [strip[HEAD + TILE + TILE // 2, x, 0] for x in middles] == [200] * 3


def test_strips_of_any_width_lie_below_each_other() -> None:
    one, two = (contact_strip("é", {"a": [_plain(0)]}, columns=count) for count in (2, 5))
    assert contact_sheet([one, two]).shape == (2 * len(one), two.shape[1], 3)


def test_nothing_to_show_is_refused() -> None:
    with pytest.raises(DataError, match="no pictures of b"):
        contact_strip("clip", {"a": [_plain(0)], "b": []}, columns=2)
    with pytest.raises(DataError, match="at least one"):
        contact_sheet([])
