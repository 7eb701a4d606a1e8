"""Items are made before they are asked for, and nothing of that is seen."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from visage.rendering.ahead import made_ahead

LIMIT_S = 10.0


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_items_are_the_same_and_in_order(depth: int) -> None:
    with made_ahead(iter(range(50)), depth=depth) as items:
        assert list(items) == list(range(50))


def test_no_more_than_the_depth_is_made_before_it_is_asked_for() -> None:
    asked, made = threading.Event(), []

    def items() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            if len(made) == 4:
                asked.set()
            yield number

    with made_ahead(items(), depth=2) as taken:
        first = next(taken)
        assert asked.wait(LIMIT_S)  # one taken, two waiting, one in the making
        assert first == 0
        assert len(made) == 4


def test_what_is_raised_comes_where_the_item_would_have_come() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no second one")

    with made_ahead(items(), depth=3) as taken:
        assert next(taken) == 1
        with pytest.raises(ValueError, match="no second one"):
            next(taken)


def test_leaving_early_ends_the_thread() -> None:
    before = threading.active_count()
    with made_ahead(iter(range(100)), depth=1) as taken:
        assert next(taken) == 0
    assert threading.active_count() == before
