"""Cuts are told from motion, flashes and slow changes."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_people import talking
from numpy.typing import NDArray

from visage.media.scenes import SceneWatch

Film = list[NDArray[np.uint8]]


def _texture(seed: int, side: int = 96) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 220, (side // 16, side // 16, 3), dtype=np.uint8)
    return coarse.repeat(16, 0).repeat(16, 1)


def _panned(seed: int, steps: list[int]) -> Film:
    return [np.roll(_texture(seed), step, axis=1) for step in steps]


def _watched(film: Film) -> tuple[list[int], list[int]]:
    """Where a scene may begin by what is known then, and where one did by what is known after."""
    watch = SceneWatch()
    may = [index for index, frame in enumerate(film) if watch.see(frame)]
    return may, watch.cuts()


@pytest.mark.parametrize("at", [4, 9, 13])
@pytest.mark.parametrize("side", [40, 96, 480])
def test_a_cut_is_where_it_is(at: int, side: int) -> None:
    film = [_texture(0, side)] * at + [_texture(1, side)] * (16 - at)
    assert _watched(film) == ([at], [at])


def test_two_people_are_two_scenes_and_one_who_talks_is_one() -> None:
    assert _watched(talking(2, 20))[1] == []
    assert _watched(talking(2, 13) + talking(3, 13))[1] == [13]


def test_motion_that_begins_and_goes_on_is_no_cut() -> None:
    may, cuts = _watched(_panned(0, [0] * 6 + list(range(0, 80, 8))))
    assert cuts == []
    assert may == [7], "at first it looks like one"


def test_a_flash_is_no_cut() -> None:
    film = [_texture(0)] * 14
    film[7] = np.full_like(film[7], 255)
    assert _watched(film)[1] == []


def test_a_slow_change_of_light_is_no_cut() -> None:
    film = [(_texture(0) * (1 - i / 30)).astype(np.uint8) for i in range(24)]
    assert _watched(film) == ([], [])


def test_a_verdict_that_is_final_stays() -> None:
    film = [_texture(0)] * 6 + [_texture(1)] * 10 + [_texture(2)] * 6
    watch = SceneWatch()
    final = []
    for frame in film:
        watch.see(frame)
        cut = watch.cut_lately()
        final += [] if cut is None else [cut]
    assert final == watch.cuts() == [6, 16]


def test_nothing_and_one_frame_have_no_cuts() -> None:
    assert _watched([]) == _watched([_texture(0)]) == ([], [])
