"""Promises of saying a clip again: the same ground for all, in time, and compared as told."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_clips import made_clip
from tiny_talking_head import tiny_head

from visage.errors import DataError
from visage.faces.provider import Followed
from visage.inference.parts import Part
from visage.inference.talking_head import TalkingHead
from visage.landmarks import INNER_LIP_PAIRS
from visage.models.motion import MotionGenerator
from visage.models.projection import Camera, project
from visage.rendering.held_out import SUBJECTS, HeldOutClip, SaidAgain, say_again
from visage.specs.motion import MotionSpec

FRAMES, SIZE = 96, 64


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> TalkingHead:
    return tiny_head(tmp_path_factory.mktemp("head"))


@pytest.fixture(scope="module")
def clip() -> HeldOutClip:
    return HeldOutClip.of_row({"key": "one", **made_clip("one", frames=FRAMES, size=SIZE)})


@pytest.fixture(scope="module")
def said(head: TalkingHead, clip: HeldOutClip) -> SaidAgain:
    return say_again(head, clip, head.style(None), frames=5, seed=0)


def test_every_subject_has_every_frame_and_finite_points(said: SaidAgain) -> None:
    assert set(said.points) == set(SUBJECTS) - {"painted"}
    for points in said.points.values():
        assert points.shape == (FRAMES, 68, 2)
        assert np.isfinite(points).all()


def test_the_truth_is_the_clips_shape_and_pose_seen_at_512(
    said: SaidAgain, clip: HeldOutClip
) -> None:
    seen = project(
        torch.from_numpy(clip.arrays.landmarks.copy()), torch.from_numpy(clip.arrays.pose.copy()),
        Camera.of_size(512),
    )  # fmt: skip
    np.testing.assert_allclose(said.points["truth"], seen.numpy(), atol=0.02)


def test_model_and_baselines_stand_on_the_clips_own_mean(
    head: TalkingHead, clip: HeldOutClip
) -> None:
    """With a motion that is switched off, the generated clip is the mean face."""
    still = replace(head, motion=_silenced(head.motion))
    said = say_again(still, clip, head.style(None), frames=2, seed=0)
    lids = [*range(37, 39), *range(40, 42), *range(43, 45), *range(46, 48)]  # they blink
    apart = np.abs(np.delete(said.points["generated"] - said.points["mean"], lids, axis=1))
    assert apart.max() < 0.01


class _Still(torch.nn.Module):
    """Landmarks that never leave the mean."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *heard: object) -> tuple[torch.Tensor, object]:
        rows, state = self.inner(*heard)
        return torch.zeros_like(rows), state


def _silenced(part: Part[MotionGenerator, MotionSpec]) -> Part[MotionGenerator, MotionSpec]:
    """The same part without displacements and without sway."""
    model = deepcopy(part.model)
    model.landmarks = _Still(model.landmarks)  # type: ignore[assignment]
    model.pose.units = (0.0,) * 6
    return replace(part, model=model)


def test_pictures_are_the_true_ones_and_those_painted_for_the_same_moments(
    said: SaidAgain, clip: HeldOutClip
) -> None:
    counts = {name: len(pictures) for name, pictures in said.pictures.items()}
    assert counts == {"truth": 5, "generated": 5, "painted": 5, "frozen": 1, "mean": 1}
    assert said.pictures["truth"][0].shape == (SIZE, SIZE, 3)
    assert said.pictures["generated"][0].shape == (SIZE, SIZE, 3), "the model's own are 32"
    shown = clip.shown(5)
    assert (shown[0], shown[-1]) == (0, len(clip.pictures) - 1)
    assert len(clip.shown(10_000)) == len(clip.pictures)


def test_scores_have_all_columns_and_the_truth_only_its_sharpness(said: SaidAgain) -> None:
    found = said.scores()
    assert set(found["truth"]) == set(found["painted"]) == {"cpbd"}
    assert found["frozen"]["opening_r"] == found["mean"]["opening_r"] == 0
    assert found["frozen"]["d_v"] == pytest.approx(found["mean"]["d_v"])
    assert found["generated"]["d_a"] >= 0


def _gaps(points: np.ndarray) -> np.ndarray:
    upper, lower = (list(one) for one in zip(*INNER_LIP_PAIRS, strict=True))
    return np.asarray(np.linalg.norm(points[:, lower] - points[:, upper], axis=2).mean(axis=1))


class _Eyes:
    """Finds the mouth that it is told of, and says so of each picture."""

    def __init__(self) -> None:
        self.looked: list[tuple[int, ...]] = []

    def follow(self, image: np.ndarray, before: np.ndarray) -> Followed:
        self.looked.append(image.shape)
        return Followed(points=before, spread=0.0)


def test_mouths_are_looked_for_where_they_should_be_in_all_shown_frames(
    head: TalkingHead, clip: HeldOutClip
) -> None:
    said = say_again(head, clip, head.style(None), frames=20, seed=0)
    eyes = _Eyes()
    scores = said.scores(eyes)
    assert scores["truth"]["seen_r"] == pytest.approx(1.0)  # these eyes read without error
    assert scores["truth"]["seen_gain"] == pytest.approx(1.0)
    found = scores["generated"]
    assert len(eyes.looked) == 60
    assert scores["painted"]["seen_r"] == pytest.approx(1.0)  # the truth's points drive it
    assert scores["painted"]["seen_gain"] == pytest.approx(1.0)
    at = clip.picture_at[clip.shown(20)]
    true, made = (_gaps(said.points[name][at]) for name in ("truth", "generated"))
    told = float(np.corrcoef(true, made)[0, 1])
    assert found["seen_r"] == pytest.approx(told, abs=0.02)


def test_the_seed_moves_the_head_and_nothing_else(head: TalkingHead, clip: HeldOutClip) -> None:
    one, again, other = (
        say_again(head, clip, head.style(None), frames=1, seed=seed).points for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one["generated"], again["generated"])
    assert np.abs(one["generated"] - other["generated"]).max() > 0
    for name in ("truth", "frozen", "mean"):
        np.testing.assert_array_equal(one[name], other[name])


def test_a_row_without_pictures_is_refused() -> None:
    row = {"key": "one", **made_clip("one", frames=60, size=32), "images": [], "image_at": []}
    with pytest.raises(DataError, match="no pictures"):
        HeldOutClip.of_row(row)


def test_a_clip_shorter_than_a_window_is_told_and_not_scored(head: TalkingHead) -> None:
    short = HeldOutClip.of_row({"key": "s", **made_clip("s", frames=12, size=32)})
    said = say_again(head, short, head.style(None), frames=2, seed=0)
    with pytest.raises(DataError, match="shorter than a window"):
        said.scores()
