"""Promises of the painter: batches change nothing, and what is not painted is as sharp as given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_talking_head import GENERATOR_SPEC, mean_face, tiny_head
from torch import nn

from visage.inference.talking_head import TalkingHead
from visage.landmarks import INNER_LIP
from visage.models.generator import Generator
from visage.models.projection import Camera
from visage.rendering.painter import FramePainter
from visage.rendering.portrait import Portrait
from visage.specs.generator import GeneratorSpec

LARGE = 96
BLANK = 50.0


def _portrait(size: int) -> Portrait:
    large = np.random.default_rng(0).integers(0, 256, (LARGE, LARGE, 3), np.uint8)
    step = LARGE // size
    points = (mean_face()[:, :2] * 0.2 + 0.5) * size
    return Portrait(
        picture=np.ascontiguousarray(large[::step, ::step]), large=large,
        points=points.astype(np.float32), shape=mean_face(), pose=np.zeros(6, np.float32),
        camera=Camera.of_size(size),
    )  # fmt: skip


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> TalkingHead:
    return tiny_head(tmp_path_factory.mktemp("head"))


@pytest.fixture
def masked(head: TalkingHead) -> TalkingHead:
    """A generator that paints over a portrait, which stands and moves."""
    spec = GeneratorSpec.parse(
        {**GENERATOR_SPEC.model_dump(), "composition": "masked",
         "inputs": ("map", "source", "warped", "isp")}
    )  # fmt: skip
    torch.manual_seed(0)
    return replace(head, generator=replace(head.generator, model=Generator(spec).eval(), spec=spec))


def _show_only(head: TalkingHead, which: int) -> None:
    """0 = painted, 1 = source, 2 = warped source."""
    last = [
        one
        for one in head.generator.model.up[0].modules()
        if isinstance(one, nn.Conv2d | nn.ConvTranspose2d)
    ][-1]
    assert last.bias is not None
    with torch.no_grad():
        weight = last.weight if isinstance(last, nn.Conv2d) else last.weight.transpose(0, 1)
        weight[3:] = 0
        last.bias[3:] = -BLANK
        if which:
            last.bias[2 + which] = BLANK


def _points(portrait: Portrait, shifts: list[float]) -> torch.Tensor:
    return torch.from_numpy(np.stack([portrait.points + one for one in shifts]))


@pytest.mark.parametrize("size", [None, 32, LARGE])
@pytest.mark.parametrize("kind", ["painted", "masked"])
def test_the_batch_changes_memory_and_not_the_frames(
    head: TalkingHead, masked: TalkingHead, kind: str, size: int | None
) -> None:
    used = masked if kind == "masked" else head
    portrait = _portrait(used.generator.spec.size)
    points = _points(portrait, [0.0, 1.0, -0.5, 2.0, 0.3])
    made = [
        np.stack(list(FramePainter(
            used, portrait, used.style(None), batch=batch, size=size
        ).paint(points)))
        for batch in (1, 2, 5)
    ]  # fmt: skip
    side = size or used.generator.spec.size
    assert made[0].shape == (5, side, side, 3)
    for other in made[1:]:
        assert np.abs(made[0].astype(int) - other).max() <= 1  # sums of floats differ by order


def test_a_portrait_that_shows_through_is_as_sharp_as_it_was_given(masked: TalkingHead) -> None:
    _show_only(masked, 1)
    portrait = _portrait(masked.generator.spec.size)
    painter = FramePainter(masked, portrait, masked.style(None), size=LARGE)
    (frame,) = painter.paint(_points(portrait, [3.0]))
    np.testing.assert_array_equal(frame, portrait.large)


def test_a_moved_portrait_is_sharp_too_and_moves_by_the_pixels_of_the_frame(
    masked: TalkingHead,
) -> None:
    _show_only(masked, 2)
    size = masked.generator.spec.size
    portrait = _portrait(size)
    painter = FramePainter(masked, portrait, masked.style(None), size=LARGE)
    by = 2
    (frame,) = painter.paint(_points(portrait, [float(by)]))
    shift = by * LARGE // size
    there, given = frame[shift:, shift:].astype(int), portrait.large[:-shift, :-shift].astype(int)
    is_changed = (np.abs(there - given) > 1).any(axis=2)
    assert is_changed.any(), "it is dark between the lips"
    lips = (portrait.points[INNER_LIP] + 0.5) * (LARGE / size) - 0.5
    found, margin = np.argwhere(is_changed)[:, ::-1], 1.5 * LARGE / size
    assert (found >= lips.min(axis=0) - margin).all()
    assert (found <= lips.max(axis=0) + margin).all()


def test_what_is_painted_is_enlarged(masked: TalkingHead) -> None:
    _show_only(masked, 0)
    portrait = _portrait(masked.generator.spec.size)
    points = _points(portrait, [0.0])
    style = masked.style(None)
    (own,) = FramePainter(masked, portrait, style).paint(points)
    (large,) = FramePainter(masked, portrait, style, size=LARGE).paint(points)
    assert large.shape == (LARGE, LARGE, 3)
    step = LARGE // own.shape[0]
    means = large.reshape(own.shape[0], step, own.shape[0], step, 3).mean(axis=(1, 3))
    assert np.abs(means - own).mean() < 6


def test_a_portrait_keeps_the_pixels_that_it_has(tmp_path: Path) -> None:
    from tiny_talking_head import FACE, DrawnFaces

    from visage.rendering.portrait import LARGE_PX, read_portrait

    picture = np.zeros((256, 256, 3), np.uint8)
    found = read_portrait(picture, DrawnFaces(FACE), size=64)
    assert found.picture.shape == (64, 64, 3)
    assert 64 < found.large.shape[0] <= 256
    again = read_portrait(picture, DrawnFaces(FACE), size=512)
    assert again.large.shape == again.picture.shape == (512, 512, 3)
    assert LARGE_PX >= 512
