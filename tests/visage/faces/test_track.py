"""Following one face through a clip: who is followed, what is believed, what is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from made_clips import mean_face
from numpy.typing import NDArray

from visage.errors import MediaError
from visage.faces.provider import Box, Face, FaceFollower, Followed, Image, Landmarks
from visage.faces.track import LOOK_EVERY, FaceTracker, track_face

WIDTH, HEIGHT = 240, 120
FRAMES = 30


@dataclass(frozen=True)
class Somebody:
    """A face in one frame."""

    x: float
    size: float = 40.0
    y: float = 60.0
    found: bool = True
    """Whether the detector sees it."""
    spread: float = 0.004

    def points(self) -> Landmarks:
        face = mean_face()[:, :2].astype(np.float64)
        face = (face - face.mean(axis=0)) / np.sqrt(np.prod(np.ptp(face, axis=0)))
        return np.asarray(face * self.size + [self.x, self.y], np.float32)

    def box(self, beyond: int) -> Box:
        half = self.size / 2
        low = round(self.x - half + beyond), round(self.y - half + beyond)
        return *low, round(self.x + half + beyond), round(self.y + half + beyond)


Scene = Sequence[Sequence[Somebody]]


class Scripted:
    """A provider that sees the faces it is told to, by the number in the picture's first pixel."""

    name = licence = "scripted"

    def __init__(self, scene: Scene) -> None:
        self.scene, self.searched = scene, []  # type: ignore[var-annotated]

    def detect(self, image: Image) -> list[Face]:
        index = int(image[0, 0, 0])
        if index not in self.searched:
            self.searched.append(index)
        beyond = (image.shape[1] - WIDTH) // 2
        return [Face(box=one.box(beyond), score=1.0) for one in self.scene[index] if one.found]

    def landmarks(self, image: Image, box: Box) -> Landmarks:
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        return Somebody(x, box[3] - box[1], y).points()


class Following(Scripted):
    """One that also follows: to the nearest face, and to nothing where there is none near."""

    def follow(self, image: Image, before: Landmarks) -> Followed:
        x = float(before[:, 0].mean())
        faces = sorted(self.scene[int(image[0, 0, 0])], key=lambda one: abs(one.x - x))
        if not faces or abs(faces[0].x - x) > faces[0].size:
            return Followed(points=before, spread=0.1)
        return Followed(points=faces[0].points(), spread=faces[0].spread)


def _frames(count: int = FRAMES) -> list[Image]:
    frames = []
    for index in range(count):
        frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        frame[:] = index
        frames.append(frame)
    return frames


def _middles(points: NDArray[np.float32]) -> NDArray[np.float32]:
    return points[..., 0].mean(axis=1)


def _still(count: int = FRAMES, **face: float) -> list[list[Somebody]]:
    return [[Somebody(100.0, **face)] for _ in range(count)]  # type: ignore[arg-type]


def test_only_a_provider_that_follows_is_taken_for_one() -> None:
    assert isinstance(Following([]), FaceFollower)
    assert not isinstance(Scripted([]), FaceFollower)


@pytest.mark.parametrize("kind", [Scripted, Following])
def test_the_largest_face_is_followed_although_another_grows(kind: type[Scripted]) -> None:
    scene = [[Somebody(180, 30 + i), Somebody(60 + i, 50)] for i in range(FRAMES)]
    track = track_face(_frames(), kind(scene), find_every=1)
    np.testing.assert_allclose(_middles(track.points), 60 + np.arange(FRAMES), atol=2.0)
    assert track.rivals[0] == pytest.approx(30 / 50, abs=0.05)
    assert track.rivals[-1] == pytest.approx(59 / 50, abs=0.05)


def test_searches_are_rare_while_all_goes_well() -> None:
    provider = Following(_still())
    track = track_face(_frames(), provider, find_every=12)
    assert provider.searched == [0, 12, 24]
    assert np.flatnonzero(np.isfinite(track.rivals)).tolist() == [0, 12, 24]
    assert (track.rivals[[0, 12, 24]] == 0).all()


def test_a_detector_that_loses_a_face_loses_nothing_while_fits_agree() -> None:
    scene = [[Somebody(100.0, found=index == 0)] for index in range(FRAMES)]
    track = track_face(_frames(), Following(scene))
    assert np.isfinite(track.points).all()


def test_without_fits_to_compare_the_detector_is_believed() -> None:
    scene = [[Somebody(100.0, found=index < 12)] for index in range(FRAMES)]
    track = track_face(_frames(), Scripted(scene))
    lost = np.isnan(track.points[:, 0, 0])
    assert not lost[:12].any()
    assert lost[12:].all()


def test_points_that_are_not_believed_make_a_search_and_what_it_finds_is() -> None:
    scene = _still()
    scene[7] = [Somebody(100.0, spread=0.035)]
    provider = Following(scene)
    track = track_face(_frames(), provider, find_every=6)
    assert 7 not in provider.searched, "a face that was found just now may be fitted less well"
    provider = Following(scene)
    scene[7] = [Somebody(100.0, spread=0.05)]
    track = track_face(_frames(), provider, find_every=6)
    assert 7 in provider.searched
    lost = np.flatnonzero(np.isnan(track.points[:, 0, 0]))
    assert lost.tolist() == list(range(7, 7 + LOOK_EVERY))


def test_a_face_that_is_away_is_lost_until_it_is_back() -> None:
    scene: list[list[Somebody]] = _still()
    for index in range(10, 20):
        scene[index] = []
    tracker = FaceTracker(Following(scene))
    for frame in _frames():
        tracker.take(frame)
    lost = np.isnan(tracker.track().points[:, 0, 0])
    assert lost[10:20].all()
    assert not lost[20 + LOOK_EVERY :].any()
    assert not lost[:10].any()
    assert tracker.lost == lost.sum()


@pytest.mark.parametrize("jump", [{"x": 125.0}, {"x": 100.0, "size": 60.0}])
def test_points_that_jump_are_not_believed_without_a_detector(jump: dict[str, float]) -> None:
    scene = _still()
    scene[5] = [Somebody(**jump, found=False)]  # type: ignore[arg-type]
    track = track_face(_frames(), Following(scene))
    assert np.isnan(track.points[5]).all()
    assert np.isfinite(track.points[5 + LOOK_EVERY :]).all()


def test_where_a_scene_begins_the_largest_face_is_followed_anew() -> None:
    before = [[Somebody(60, 50), Somebody(180, 40)]] * 10
    after = [[Somebody(60, 40), Somebody(180, 50)]] * 10
    for cut, wanted in ((False, 60), (True, 180)):
        tracker = FaceTracker(Following([*before, *after]))
        for index, frame in enumerate(_frames(20)):
            tracker.take(frame, begins_scene=cut and index == 10)
        np.testing.assert_allclose(_middles(tracker.track().points)[10:], wanted, atol=2.0)


def test_a_face_that_comes_back_elsewhere_is_followed_there() -> None:
    scene = [[Somebody(60)]] * 5 + [[]] * 15 + [[Somebody(180)]] * 10
    track = track_face(_frames(), Following(scene))
    assert np.isfinite(track.points[20 + LOOK_EVERY :]).all()
    np.testing.assert_allclose(_middles(track.points)[25:], 180, atol=2.0)


def test_a_face_that_leaves_the_picture_is_lost() -> None:
    scene = [[Somebody(200 + 3.0 * index, found=index < 10)] for index in range(FRAMES)]
    track = track_face(_frames(), Following(scene))
    assert np.isfinite(track.points[:13]).all()
    assert np.isnan(track.points[14:]).all()


def test_what_the_detector_sees_beside_a_face_need_not_be_one() -> None:
    scene = [[Somebody(60, 60, spread=0.1), Somebody(180, 40)] for _ in range(FRAMES)]
    track = track_face(_frames(), Following(scene))
    np.testing.assert_allclose(_middles(track.points), 180, atol=2.0)


@pytest.mark.parametrize("find_every", [1, 5, 12])
def test_a_clip_without_a_face_is_refused(find_every: int) -> None:
    with pytest.raises(MediaError) as found:
        track_face(_frames(6), Following([[]] * 6), find_every=find_every)
    assert found.value.code == "no_face"


def test_a_clip_without_frames_is_refused() -> None:
    with pytest.raises(MediaError) as found:
        track_face([], Following([]))
    assert found.value.code == "empty"
