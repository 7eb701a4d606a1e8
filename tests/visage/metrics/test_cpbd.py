"""Promises of CPBD: equal to its slow definition, monotone in blur, far faster."""

from __future__ import annotations

import itertools
import time

import cv2
import numpy as np
import pytest
from cpbd_loops import cpbd_by_loops, widths_by_loops
from PIL import Image

from visage.errors import DataError
from visage.metrics.cpbd import EdgeMaps, cpbd, edge_widths, grey_of, paper_edges, released_edges


def _scene(seed: int = 0, size: tuple[int, int] = (141, 150)) -> np.ndarray:
    """Discs, bars and a soft texture, uint8 RGB."""
    draws = np.random.default_rng(seed)
    height, width = size
    canvas = np.full((height, width, 3), 90, np.uint8)
    for _ in range(40):
        colour = tuple(int(v) for v in draws.integers(0, 256, 3))
        x, y, r = draws.integers((0, 0, 3), (width, height, 30))
        cv2.circle(canvas, (int(x), int(y)), int(r), colour, -1, cv2.LINE_AA)
    texture = cv2.GaussianBlur(draws.normal(0, 60, canvas.shape), (0, 0), 3)
    return np.clip(canvas + texture, 0, 255).astype(np.uint8)


def _random_maps(grey: np.ndarray, seed: int) -> EdgeMaps:
    draws = np.random.default_rng(seed)
    return EdgeMaps(blocks=draws.random(grey.shape) < 0.01, measured=draws.random(grey.shape) < 0.3)


@pytest.mark.parametrize("mode", ["formula", "released"])
@pytest.mark.parametrize("seed", range(3))
def test_given_the_same_edges_the_result_is_exactly_that_of_the_loops(mode, seed):
    scene = _scene(seed)
    if seed == 2:  # flat rows, columns and long ramps
        scene[40:70] = np.linspace(0, 255, scene.shape[1])[None, :, None].astype(np.uint8)
        scene[80:90] = 17
        scene[100:140, :, :] = np.arange(40, dtype=np.uint8)[:, None, None] * 5
    grey = grey_of(scene)
    for maps in (paper_edges(grey), released_edges(grey), _random_maps(grey, seed)):
        released = mode == "released"
        fast = edge_widths(grey, maps.measured, mode=mode)
        assert np.array_equal(fast, widths_by_loops(grey, maps.measured, released=released))
        assert fast.any()
        slow = cpbd_by_loops(grey, maps.blocks, maps.measured, released=released)
        assert cpbd(scene, edges=maps, mode=mode) == slow


def test_a_side_is_followed_for_a_hundred_steps_and_no_further():
    grey = np.tile(np.arange(230.0) + 5, (70, 1))
    grey[0, 0] = 200.0  # one other direction, so that the port measures at all
    measured = np.zeros(grey.shape, np.bool_)
    measured[30, 115] = measured[31, 20] = True
    for mode in ("formula", "released"):
        widths = edge_widths(grey, measured, mode=mode)
        assert widths[30, 115] == 202
        assert widths[31, 20] == 20 + 101
        slow = widths_by_loops(grey, measured, released=mode == "released")
        assert np.array_equal(widths, slow)


def test_the_ports_quirks_are_kept_only_in_the_released_mode():
    step = np.zeros((128, 128))
    step[:, 40:] = 200.0  # brightness rises to the right everywhere: all directions are 0
    assert cpbd(step) == 1.0
    assert cpbd(step, mode="released") == 0.0
    ramp = np.tile(np.arange(128.0)[:, None], (1, 128))  # a vertical gradient alone
    everywhere = np.ones(ramp.shape, np.bool_)
    assert not edge_widths(ramp, everywhere).any()
    ramp[64, 64] += 9
    assert edge_widths(ramp, everywhere, mode="released")[20, 20] == 2


@pytest.mark.parametrize("mode", ["formula", "released"])
def test_more_blur_never_looks_sharper(mode):
    scene = _scene(5, (256, 256))
    scores = [cpbd(scene, mode=mode)]
    for sigma in (0.7, 1.2, 2.0, 3.0, 4.5):
        scores.append(cpbd(cv2.GaussianBlur(scene, (0, 0), sigma), mode=mode))
    assert all(sharper >= softer for sharper, softer in itertools.pairwise(scores))
    assert scores[0] > scores[-1] + 0.3


def test_the_formula_does_not_depend_on_brightness_but_the_released_threshold_does():
    grey = grey_of(_scene(1))[:128, :128]
    maps, darker = paper_edges(grey), paper_edges(grey / 4)
    assert np.array_equal(maps.measured, darker.measured)
    lost = released_edges(grey).measured.sum() / max(1, released_edges(grey / 255).measured.sum())
    assert lost > 10


def test_our_golden_pictures_keep_their_values():
    scene = _scene(7, (256, 320))
    blurred = cv2.GaussianBlur(scene, (0, 0), 0.9)
    values = [cpbd(one, mode=mode) for mode in ("formula", "released") for one in (scene, blurred)]
    assert values == pytest.approx([0.5775, 0.0474, 0.5440, 0.0582], abs=5e-3)


def test_grey_is_that_of_pil():
    scene = _scene(3)
    assert np.array_equal(grey_of(scene), np.asarray(Image.fromarray(scene).convert("L")))


def test_a_flat_picture_has_no_sharp_edge():
    assert cpbd(np.full((64, 64), 80, np.uint8)) == 0.0
    assert cpbd(np.full((64, 64, 3), 80, np.uint8), mode="released") == 0.0


@pytest.mark.parametrize(
    "picture",
    [
        np.random.default_rng(0).random((96, 96)),  # in [0, 1]
        np.full((96, 96), np.nan),
        np.full((96, 96), 300.0),
        np.zeros((96, 96, 4), np.uint8),
        np.zeros((96, 96), np.int32),
        np.zeros((63, 96), np.uint8),
    ],
    ids=["unit range", "nan", "too bright", "four channels", "integers", "small"],
)
def test_what_cpbd_is_not_defined_on_is_refused_instead_of_scored_zero(picture):
    with pytest.raises(DataError):
        cpbd(picture)


def test_edge_maps_must_fit_the_picture():
    scene = _scene()
    flat = np.zeros((64, 64), np.bool_)
    with pytest.raises(DataError, match=r"edges\.blocks"):
        cpbd(scene, edges=EdgeMaps(blocks=flat, measured=flat))


def test_it_is_at_least_ten_times_as_fast_as_the_loops():
    scene = _scene(9, (256, 256))
    grey = grey_of(scene)
    maps = paper_edges(grey)
    started = time.process_time()
    slow = cpbd_by_loops(grey, maps.blocks, maps.measured, released=False)
    slow_s = time.process_time() - started
    fast_s = []
    for _ in range(3):
        started = time.process_time()
        assert cpbd(scene, edges=maps) == slow
        fast_s.append(time.process_time() - started)
    # about 30 on an idle machine; a busy one must not make the test lie
    assert slow_s > 10 * min(fast_s)
