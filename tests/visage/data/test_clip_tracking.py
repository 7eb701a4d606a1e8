"""Clips as they are found: cut, crowded, uneven, turned, hidden: followed, or rejected by code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from drawn_people import SIZE, beside, talking, talking_points, write_film
from made_clips import mean_face
from numpy.typing import NDArray

import visage.data.clip_tracking as tracking_module
from visage.data.clip_tracking import TrackedClip, iter_pictures, track_clip
from visage.errors import MediaError
from visage.faces.dlib68 import Dlib68
from visage.faces.pose import rotation_of
from visage.faces.provider import Box, Face, Image, Landmarks
from visage.media.sandbox import MediaSandbox
from visage.specs.prepare import ClipPrepareSpec

SPEC = ClipPrepareSpec(size=96)
Film = list[NDArray[np.uint8]]
Track = Callable[..., TrackedClip]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[MediaSandbox]:
    with MediaSandbox() as made:
        yield made


@pytest.fixture(scope="module")
def dlib68() -> Dlib68:
    return Dlib68()


@pytest.fixture
def track(sandbox: MediaSandbox, dlib68: Dlib68) -> Track:
    def run(path: Path, **changes: object) -> TrackedClip:
        spec = ClipPrepareSpec.parse({**SPEC.model_dump(), **changes})
        return track_clip(path, provider=dlib68, sandbox=sandbox, spec=spec)

    return run


def _code(run: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(MediaError) as found:
        run()
    return found.value.code, str(found.value)


def _off(clip: TrackedClip, truth: NDArray[np.float32]) -> float:
    """Mean distance from the true points of the source, in sizes of the face."""
    known = clip.crop.points(truth)
    size = float(np.sqrt(np.prod(np.ptp(known[0], axis=0))))
    return float(np.linalg.norm(clip.points - known, axis=-1).mean()) / size


def _covered(frames: Film, start: int, stop: int, box: Box) -> Film:
    """Something comes in front of the face, and goes again, over a few frames each."""
    made = []
    for index, frame in enumerate(frames):
        there = min(1.0, max(0.0, min(index - start, stop - index) / 4))
        copy = frame.astype(np.float32)
        part = copy[box[1] : box[3], box[0] : box[2]]
        part += there * (np.array([120, 110, 100]) - part)
        made.append(copy.round().astype(np.uint8))
    return made


def test_a_drawn_person_is_followed_and_the_pictures_show_the_points(
    track: Track, sandbox: MediaSandbox, tmp_path: Path
) -> None:
    path = write_film(tmp_path / "clip.mkv", talking(2, 20))
    clip = track(path)
    assert len(clip) == len(clip.times_s) == 20
    assert clip.seen.all()
    assert _off(clip, talking_points(2, 20)) < 0.04
    np.testing.assert_allclose(clip.times_s, np.arange(20) / 25, atol=1e-6)
    assert clip.duration_s == pytest.approx(0.8)
    pictures = list(iter_pictures(path, clip, sandbox))
    assert [one.shape for one in pictures] == [(96, 96, 3)] * 20


def test_pictures_are_the_same_whether_frames_are_kept_or_decoded_again(
    track: Track, sandbox: MediaSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = beside(talking(2, 16), [np.full((SIZE, SIZE, 3), 90, np.uint8)] * 16)
    path = write_film(tmp_path / "clip.mkv", wide)
    kept = track(path)
    assert kept.kept is not None
    assert kept.kept.parts[0].shape[1] < 2 * SIZE, "only what the pictures can need"
    little = partial(tracking_module.FrameKeeper, most_bytes=5 * SIZE * SIZE * 3)
    monkeypatch.setattr(tracking_module, "FrameKeeper", little)
    again = track(path)
    assert again.kept is None
    for one, two in zip(
        iter_pictures(path, kept, sandbox), iter_pictures(path, again, sandbox), strict=True
    ):
        assert np.array_equal(one, two)


def test_a_clip_of_two_scenes_is_rejected_with_the_place_of_the_cut(
    track: Track, tmp_path: Path
) -> None:
    path = write_film(tmp_path / "cut.mkv", talking(2, 14) + talking(3, 20))
    code, said = _code(lambda: track(path))
    assert code == "scene_cut"
    assert "0.56 s" in said


def test_the_longest_take_of_a_cut_clip_can_be_had(
    track: Track, sandbox: MediaSandbox, tmp_path: Path
) -> None:
    path = write_film(tmp_path / "cut.mkv", talking(2, 14) + talking(3, 20))
    clip = track(path, scene_cuts="longest")
    assert (clip.first, len(clip)) == (14, 20)
    assert clip.start_s == pytest.approx(0.56)
    assert clip.times_s[0] == 0.0
    assert _off(clip, talking_points(3, 20)) < 0.05
    first = next(iter(iter_pictures(path, clip, sandbox)))
    wanted = clip.crop.cut(talking(3, 1)[0])
    assert np.abs(first.astype(int) - wanted).mean() < 6


@pytest.mark.parametrize(
    ("share", "policy", "code"),
    [
        (1.0, "clear", "several_faces"),
        (1.0, "largest", None),
        (0.45, "clear", None),
        (0.45, "reject", "several_faces"),
    ],
)
def test_who_else_is_there_counts_by_size_and_policy(
    share: float, policy: str, code: str | None, track: Track, tmp_path: Path
) -> None:
    path = write_film(tmp_path / "two.mkv", beside(talking(2, 8), talking(3, 8), share=share))
    if code is None:
        clip = track(path, several_faces=policy)
        assert len(clip) == 8
        return
    found, said = _code(lambda: track(path, several_faces=policy))
    assert found == code
    assert "several_faces=largest" in said


def test_frames_of_no_rate_keep_the_times_at_which_they_are_shown(
    track: Track, tmp_path: Path
) -> None:
    times_ms = np.cumsum([0, *([30, 70, 35, 120] * 5)])[:20].tolist()
    path = write_film(tmp_path / "uneven.mkv", talking(2, 20), times_ms=times_ms)
    clip = track(path)
    np.testing.assert_allclose(clip.times_s, np.array(times_ms) / 1000, atol=1e-6)
    assert _off(clip, talking_points(2, 20)) < 0.04


@pytest.mark.parametrize(("gap_ms", "is_one"), [(450, True), (700, False)])
def test_a_short_time_without_pictures_is_bridged_and_a_long_one_ends_the_take(
    gap_ms: int, is_one: bool, track: Track, tmp_path: Path
) -> None:
    times_ms = [40 * i + (gap_ms if i >= 8 else 0) for i in range(20)]
    path = write_film(tmp_path / "gap.mkv", talking(2, 20), times_ms=times_ms)
    if is_one:
        assert len(track(path)) == 20
        return
    code, said = _code(lambda: track(path))
    assert code == "scene_cut"
    assert "no picture is shown for 0.74 s" in said
    rest = track(path, scene_cuts="longest")
    assert (rest.first, len(rest)) == (8, 12)


@pytest.mark.parametrize("turn", [90, 180, -90])
def test_a_clip_that_a_player_turns_is_followed_upright(
    turn: int, track: Track, tmp_path: Path
) -> None:
    path = write_film(tmp_path / "turned.mov", talking(2, 6), rotation_deg=turn)
    clip = track(path)
    assert clip.info.rotation_deg == turn % 360
    assert _off(clip, talking_points(2, 6)) < 0.05


@pytest.mark.parametrize(
    ("hidden", "changes", "code"),
    [(9, {"most_lost_share": 0.5}, None), (9, {}, "no_face"),
     (24, {"most_lost_share": 0.9}, "no_face")],
)  # fmt: skip
def test_a_face_that_is_hidden_is_missing_or_too_long_gone(
    hidden: int, changes: dict[str, float], code: str | None, track: Track, tmp_path: Path
) -> None:
    frames = talking(2, 20 + hidden)
    path = write_film(tmp_path / "hidden.mkv", _covered(frames, 8, 10 + hidden, (38, 40, 122, 150)))
    if code is not None:
        assert _code(lambda: track(path, **changes))[0] == code
        return
    clip = track(path, **changes)
    assert 3 < (~clip.seen).sum() < hidden + 3
    assert np.isfinite(clip.points).all()
    chosen = [clip.motions.neutral, *clip.motions.frames]
    assert clip.seen[chosen].all(), "a reference shows the face"


def test_frames_before_the_face_comes_and_after_it_went_are_left_out(
    track: Track, tmp_path: Path
) -> None:
    frames = _covered(talking(2, 34), -20, 6, (0, 0, SIZE, SIZE))
    path = write_film(tmp_path / "late.mkv", frames)
    clip = track(path, most_lost_share=0.5)
    assert 3 <= clip.first <= 9
    assert clip.first + len(clip) == 34
    assert clip.start_s == pytest.approx(clip.first / 25)


def test_a_clip_of_nobody_is_rejected_before_its_end(sandbox: MediaSandbox, tmp_path: Path) -> None:
    class Nobody:
        name = licence = "nobody"
        looks = 0

        def detect(self, image: Image) -> list[Face]:
            self.looks += 1
            return []

        def landmarks(self, image: Image, box: Box) -> Landmarks:
            raise AssertionError("there is nobody")

    path = write_film(tmp_path / "empty.mkv", [np.full((64, 64, 3), 90, np.uint8)] * 100)
    provider = Nobody()
    code, _ = _code(lambda: track_clip(path, provider=provider, sandbox=sandbox, spec=SPEC))
    assert code == "no_face"
    assert provider.looks <= 3 * (100 * SPEC.most_lost_share / 3 + 2)


def test_a_face_that_fills_the_picture_is_followed(track: Track, tmp_path: Path) -> None:
    points = talking_points(2, 16)
    x, y = np.floor(points.min(axis=(0, 1))).astype(int) // 2 * 2
    tight = [frame[y - 6 : y + 76, x - 2 : x + 80] for frame in talking(2, 16)]
    clip = track(write_film(tmp_path / "tight.mkv", tight))
    assert clip.seen.all()
    assert _off(clip, points - [x - 2, y - 6]) < 0.06


@pytest.mark.parametrize(("yaw_deg", "code"), [(20.0, None), (60.0, "profile")])
def test_a_head_that_is_turned_away_is_a_profile(
    yaw_deg: float, code: str | None, sandbox: MediaSandbox, dlib68: Dlib68, tmp_path: Path
) -> None:
    turn = rotation_of(yaw_deg=yaw_deg, pitch_deg=0.0, roll_deg=0.0)
    face = mean_face().astype(np.float64) @ turn.T
    truth = np.repeat((face[None, :, :2] * 40 + 80).astype(np.float32), 5, axis=0)
    path = write_film(tmp_path / "turned.mkv", talking(2, 5))

    def run() -> TrackedClip:
        return track_clip(path, provider=dlib68, sandbox=sandbox, spec=SPEC, truth=truth)

    if code is None:
        assert len(run()) == 5
    else:
        assert _code(run)[0] == code


def test_a_lone_frame_of_no_rate_lasts_no_time(track: Track, tmp_path: Path) -> None:
    clip = track(write_film(tmp_path / "still.mkv", talking(2, 1)))
    assert clip.duration_s == pytest.approx(0.04)
    assert replace(clip, info=replace(clip.info, fps=0.0)).duration_s == 0.0


def test_too_long_a_clip_is_not_followed_at_all(track: Track, tmp_path: Path) -> None:
    path = write_film(tmp_path / "long.mkv", talking(2, 40))
    code, said = _code(lambda: track(path, longest_s=1.5))
    assert code == "too_long"
    assert "longest_s" in said


def test_known_points_of_more_frames_than_there_are_mean_a_truncated_clip(
    sandbox: MediaSandbox, dlib68: Dlib68, tmp_path: Path
) -> None:
    path = write_film(tmp_path / "short.mkv", talking(2, 5))
    truth = talking_points(2, 8)
    code, _ = _code(
        lambda: track_clip(path, provider=dlib68, sandbox=sandbox, spec=SPEC, truth=truth)
    )
    assert code == "truncated"
