"""One face followed through a clip: found now and then, and where it was just before in between.

Finding costs more than placing the points, and a face moves little between two frames. So the
points of a frame are placed where they were in the last one, and believed as long as they look like
those of a face: fits that start apart come together (`Followed.spread`), and nothing jumps. A
detector that loses a face which fills the picture loses nothing. Where the points are not
believed, the face is searched for; where it is not found either, the frame has none.

Which face is followed is the largest of the first frame that shows one, and again where a scene
begins; in between it is the one that overlaps most with where it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visage.errors import MediaError
from visage.faces.provider import (
    Box,
    Face,
    FaceFollower,
    FaceProvider,
    Followed,
    Image,
    Landmarks,
    clip_box,
    face_size,
)
from visage.faces.search import LEAST_OVERLAP, area_of, find_faces, overlap

__all__ = ["FIND_EVERY", "FaceTrack", "FaceTracker", "track_face"]

FIND_EVERY = 12
"""Frames between two searches while all goes well."""
LOOK_EVERY = 3
"""Frames between two searches while there is no face."""
MOST_SPREAD = 0.025
"""Of points that are believed. In 6,500 frames of speakers from five corpora the median is 0.003,
and one in 250 lies above; of 390 places beside their faces, two stayed below for six fits."""
MOST_SPREAD_FOUND = 0.04
"""The same where a detector has just found a face."""
MOST_JUMP = 0.5
"""Way of a face between two frames, in its sizes."""
MOST_GROWTH = 1.4
"""Ratio of its sizes in two frames, either way."""
OFF = 0.4
"""Overlap of the points' box with the detector's below which the points are placed anew."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FaceTrack:
    """What following one face through n frames gave."""

    points: NDArray[np.float32]
    """Pixels, shape (n, 68, 2); NaN in frames without the face."""
    rivals: NDArray[np.float32]
    """Height of the largest other face in heights of this one, 0 if there is none, shape (n,); NaN
    in frames that were not searched, or without the face."""


class FaceTracker:
    """Takes the frames of one clip in their order."""

    def __init__(
        self,
        provider: FaceProvider,
        *,
        find_every: int = FIND_EVERY,
        timed: Callable[[str], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Nothing was seen yet.

        Args:
            find_every: Frames between two searches while all goes well.
            timed: Opened with the word `detect` around every search.
        """
        self._provider = provider
        self._timed = timed
        self._find_every = find_every
        self._points: list[Landmarks | None] = []
        self._rivals: list[float] = []
        self._before: Landmarks | None = None
        self._searched_at = -max(find_every, LOOK_EVERY)
        self._found_at = -math.inf
        self._lost_for = 0
        self.lost = 0
        """Frames without the face so far."""

    def take(self, frame: Image, *, begins_scene: bool = False) -> None:
        """The next frame; where another scene may begin, which face is followed is asked anew."""
        index = len(self._points)
        if begins_scene or self._lost_for > self._find_every:
            self._before = None  # whoever is there now is followed
        before = self._before
        points, rival = None, math.nan
        if before is not None and not self._lost_for:
            points = self._followed(frame, before, index)
        if self._must_search(index, points, begins_scene=begins_scene):
            points, rival = self._searched(frame, points, before, index)
        if points is not None:
            self._before = points
        self._lost_for = self._lost_for + 1 if points is None else 0
        self.lost += points is None
        self._points.append(points)
        self._rivals.append(rival)

    @property
    def last(self) -> Landmarks | None:
        """The points of the last frame, if it has any."""
        return self._points[-1] if self._points else None

    def track(self) -> FaceTrack:
        """What was found in the frames so far."""
        none = np.full((68, 2), np.nan, np.float32)
        points = [none if one is None else one for one in self._points]
        return FaceTrack(
            points=np.stack(points) if points else np.zeros((0, 68, 2), np.float32),
            rivals=np.array(self._rivals, np.float32),
        )

    def _must_search(self, index: int, points: Landmarks | None, *, begins_scene: bool) -> bool:
        if begins_scene or (points is None and not self._lost_for):
            return True
        every = self._find_every if points is not None else LOOK_EVERY
        return index - self._searched_at >= every

    def _followed(self, frame: Image, before: Landmarks, index: int) -> Landmarks | None:
        """Points that are believed, from those of the frame before."""
        found = self._fit(frame, before)
        if found is None or not _goes_on(before, found.points):
            return None
        is_sure = index - self._found_at <= self._find_every
        return found.points if found.spread <= _most_spread(is_sure) else None

    def _searched(
        self, frame: Image, points: Landmarks | None, before: Landmarks | None, index: int
    ) -> tuple[Landmarks | None, float]:
        """Points by what a search finds, and how large the largest other face is."""
        self._searched_at = index
        last = points if points is not None else before
        with self._timed("detect"):
            faces = find_faces(frame, self._provider, near=None if last is None else _box_of(last))
        if last is None:
            points, mine = self._chosen(frame, faces)
        else:
            mine = _same_face(faces, _box_of(last))
            if mine is not None and not self._agrees(points, mine):
                points = self._placed(frame, mine)
        if points is None:
            return None, math.nan
        if mine is not None:
            self._found_at = index
        elif not isinstance(self._provider, FaceFollower):
            return None, math.nan  # nothing but the detector says that there is a face
        return points, _largest_other(faces, mine, _box_of(points))

    def _agrees(self, points: Landmarks | None, face: Face) -> bool:
        """Whether points that were followed are as good as those of a face that was found."""
        is_follower = isinstance(self._provider, FaceFollower)
        return is_follower and points is not None and overlap(face.box, _box_of(points)) >= OFF

    def _chosen(self, frame: Image, faces: list[Face]) -> tuple[Landmarks | None, Face | None]:
        """The largest face whose points are believed."""
        for face in sorted(faces, key=lambda one: -area_of(one.box)):
            points = self._placed(frame, face)
            if points is not None:
                return points, face
        return None, None

    def _placed(self, frame: Image, face: Face) -> Landmarks | None:
        """Points of a face that was found, if they are believed."""
        inside = clip_box(face.box, width=frame.shape[1], height=frame.shape[0])
        if inside is None:
            return None
        if not isinstance(self._provider, FaceFollower):
            return self._provider.landmarks(frame, inside)
        found = self._fit(frame, self._provider.landmarks(frame, face.box))
        if found is None or found.spread > MOST_SPREAD_FOUND:
            return None
        return found.points

    def _fit(self, frame: Image, before: Landmarks) -> Followed | None:
        if isinstance(self._provider, FaceFollower):
            found = self._provider.follow(frame, before)
        else:
            height, width = frame.shape[:2]
            inside = clip_box(_box_of(before), width=width, height=height)
            if inside is None:
                return None
            found = Followed(points=self._provider.landmarks(frame, inside), spread=0.0)
        x, y = found.points.mean(axis=0).tolist()
        is_inside = 0 <= x < frame.shape[1] and 0 <= y < frame.shape[0]
        return found if is_inside else None


def track_face(
    frames: Iterable[Image], provider: FaceProvider, *, find_every: int = FIND_EVERY
) -> FaceTrack:
    """Follow one face through frames of one scene.

    Raises:
        MediaError: `empty` without frames, `no_face` if none of them shows one.
    """
    tracker = FaceTracker(provider, find_every=find_every)
    for frame in frames:
        tracker.take(frame)
    track = tracker.track()
    if not len(track.points):
        raise MediaError("empty", "the clip has no frames")
    if tracker.lost == len(track.points):
        raise MediaError("no_face", f"no face in any of {tracker.lost} frames")
    return track


def _most_spread(is_sure: bool) -> float:
    return MOST_SPREAD_FOUND if is_sure else MOST_SPREAD


def _goes_on(before: Landmarks, after: Landmarks) -> bool:
    """Whether a face can have moved like this between two frames."""
    one, two = face_size(before), face_size(after)
    way = float(np.linalg.norm(after.mean(axis=0) - before.mean(axis=0)))
    return way <= MOST_JUMP * one and max(one / two, two / one) <= MOST_GROWTH


def _same_face(faces: list[Face], before: Box) -> Face | None:
    best = max(faces, key=lambda face: overlap(face.box, before), default=None)
    return best if best is not None and overlap(best.box, before) >= LEAST_OVERLAP else None


def _largest_other(faces: list[Face], mine: Face | None, box: Box) -> float:
    """Height of the largest other face in heights of this one; 0 if there is none."""
    own = mine.box if mine is not None else box
    heights = [
        face.box[3] - face.box[1]
        for face in faces
        if face is not mine
        and not _is_within(face.box, box)
        and overlap(face.box, own) < LEAST_OVERLAP
    ]
    return max(heights, default=0) / max(1, own[3] - own[1])


def _is_within(box: Box, other: Box) -> bool:
    """Whether the middle of one lies in the other: detectors see parts of a face as faces."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return other[0] <= x < other[2] and other[1] <= y < other[3]


def _box_of(points: Landmarks) -> Box:
    low, high = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0))
    return int(low[0]), int(low[1]), int(high[0]) + 1, int(high[1]) + 1
