"""Promises of the mouth check: the truth costs nothing, a wrong mouth more the wronger it is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from made_clips import write_clip_corpus

from visage.data.shards import load_manifest
from visage.faces.provider import Image, Landmarks
from visage.seeds import rng_of
from visage.synth.expression import Expression
from visage.synth.face import render_portrait
from visage.synth.identity import draw_identity
from visage.training.recipes.mouth_check import MouthCheck, MouthError, is_chosen

SIDE = 64


def frame(opening: float, *, who: int = 0) -> tuple[Image, Landmarks]:
    """A drawn person of 64 pixels whose mouth is so far open, and the points."""
    drawn = render_portrait(draw_identity(who), Expression(mouth_open=opening), size=256)
    small = cv2.resize(drawn.image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    points = (drawn.landmarks + 0.5) * (SIDE / 256) - 0.5
    return np.asarray(small, np.uint8), np.asarray(points, np.float32)


@pytest.fixture(scope="module")
def check() -> MouthCheck:
    return MouthCheck()


def error(check: MouthCheck, made: Image, *, opening: float = 0.7, key: int = 0) -> MouthError:
    target, points = frame(opening)
    return check(made, target, points=points, source=frame(0.0)[1], key=key)


def test_the_true_frame_costs_nothing_and_a_wrong_mouth_the_more_the_wronger_it_is(check) -> None:
    errors = [error(check, frame(opening)[0]) for opening in (0.7, 0.35, 0.0)]
    assert all(one.was_seen for one in errors)
    assert errors[0].lmd_px == 0.0
    assert 0.0 < errors[1].lmd_px < errors[2].lmd_px
    assert errors[2].lmd_px == pytest.approx(errors[2].copy_lmd_px, rel=0.5)


def test_a_mouth_that_only_moved_with_the_head_costs_next_to_nothing(check) -> None:
    target, points = frame(0.7)
    moved = np.asarray(np.roll(target, 3, axis=1))
    found = check(moved, target, points=points, source=points, key=0)
    assert found.was_seen
    assert found.lmd_px < error(check, frame(0.35)[0]).lmd_px / 2


@pytest.mark.parametrize("what", ["noise", "grey", "blurred away"])
def test_what_is_no_face_is_never_better_than_the_source_unchanged(check, what: str) -> None:
    noise = rng_of("noise", 0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    made = {
        "noise": noise,
        "grey": np.full_like(noise, 128),
        "blurred away": np.asarray(cv2.GaussianBlur(frame(0.7)[0], (0, 0), SIDE / 12)),
    }[what]
    found = error(check, made)
    assert not found.was_seen
    assert found.lmd_px >= found.copy_lmd_px > 0.0
    assert found.lmd_px > error(check, cv2.GaussianBlur(frame(0.7)[0], (0, 0), SIDE / 40)).lmd_px


@pytest.mark.parametrize("who", range(4))
def test_a_face_is_seen_through_blur_and_noise(check, who: int) -> None:
    target, points = frame(0.5, who=who)
    grain = rng_of("grain", who).normal(0, 20, target.shape)
    for made in (
        cv2.GaussianBlur(target, (0, 0), SIDE / 40),
        np.clip(target + grain, 0, 255).astype(np.uint8),
    ):
        found = check(np.asarray(made), target, points=points, source=points, key=100 + who)
        assert found.was_seen


class Counting:
    """A provider that gives the same points always, and counts."""

    name, licence = "counting", "none"

    def __init__(self, points: Landmarks) -> None:
        self.points, self.asked = points, 0

    def detect(self, image: Image) -> list[object]:
        raise AssertionError("the place of the face is known")

    def landmarks(self, image: Image, box: object) -> Landmarks:
        self.asked += 1
        return self.points


def test_a_true_frame_is_looked_at_once() -> None:
    target, points = frame(0.5)
    provider = Counting((points + 0.5) * 4 - 0.5)
    check = MouthCheck(lambda: provider)
    for key in (7, 7, 7, 8):
        check(target, target, points=points, source=points, key=key)
    assert provider.asked == 2 * (4 + 2)  # two fits of each generated frame and of two true ones


@pytest.mark.parametrize("rows", [1, 5, 12, 97])
@pytest.mark.parametrize("frames", [1, 4, 12, 200])
def test_as_many_rows_are_chosen_as_asked_and_evenly(rows: int, frames: int) -> None:
    chosen = [row for row in range(rows) if is_chosen(row, rows=rows, frames=min(frames, rows))]
    assert len(chosen) == min(frames, rows)
    gaps = np.diff([*chosen, rows])
    assert gaps.max() - gaps.min() <= 1


def test_the_recipe_reports_it_as_the_mean_of_the_frames_that_were_looked_at(tmp_path) -> None:
    """Whatever the batches are cut into, and only if asked."""
    import torch

    from visage.data.shards import ShardRows
    from visage.specs.generator import GeneratorTrainSpec
    from visage.training.host import SingleHost
    from visage.training.recipes.generator import GeneratorRecipe
    from visage.training.validation import validate

    uri = write_clip_corpus(tmp_path, train=1, val=5, test=1, size=32, frames=30)
    manifest, store = load_manifest(uri)
    rows = ShardRows(manifest, store, "val")
    tiny = {"model": {"size": 32, "widths": (8, 12), "norm": "instance"}, "judge": {"width": 4},
            "losses": {"perceptual_width": 2}, "report_cpbd": False}  # fmt: skip
    seen: list[dict[str, float]] = []
    keys: list[int] = []
    for frames, batch in ((0, 2), (3, 2), (3, 5)):
        spec = GeneratorTrainSpec.parse({**tiny, "lmd_frames": frames, "micro_batch": batch})
        recipe = GeneratorRecipe(spec, manifest, torch.device("cpu"))

        def told(*_: object, key: int, **__: object) -> MouthError:
            keys.append(key)
            return MouthError(lmd_px=float(key), copy_lmd_px=10.0, was_seen=key > 1)

        recipe._mouths = told  # type: ignore[assignment]
        seen.append(validate(recipe, recipe.model, rows, SingleHost(), step=1, half=False)[1])
    assert "lmd_px" not in seen[0]
    assert sorted(keys) == sorted(2 * [row for row in range(5) if is_chosen(row, rows=5, frames=3)])
    for means in seen[1:]:
        assert means["lmd_px"] == pytest.approx(sum(keys) / 6)
        assert means["copy_lmd_px"] == pytest.approx(10.0)
        assert means["lmd_unseen"] == pytest.approx(sum(key <= 1 for key in keys) / 6)
