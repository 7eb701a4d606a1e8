"""One face followed through a clip: found now and then, and where it was just before in between.

Finding costs ten times what placing the points costs, and a face moves little between two frames.
Which face is followed is the largest of the first frame that shows one; afterwards the one that
overlaps most with where it was.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from visage.errors import MediaError
from visage.faces.provider import Box, Face, FaceProvider, Image, Landmarks, clip_box

__all__ = ["FIND_EVERY", "track_face"]

FIND_EVERY = 12
"""Frames between two searches."""
LEAST_OVERLAP = 0.2
"""Intersection over union with where the face was, below which it is another face."""
MOST_LOST_SHARE = 0.1
"""Share of searches that may find nothing before the clip is given up."""


def track_face(
    frames: Iterable[Image], provider: FaceProvider, *, find_every: int = FIND_EVERY
) -> NDArray[np.float32]:
    """The 68 points of one face in every frame, pixels, shape (n, 68, 2).

    Raises:
        MediaError: `no_face` if it is not there at the beginning or lost too often.
    """
    points: list[Landmarks] = []
    box: Box | None = None
    searches = lost = 0
    for index, frame in enumerate(frames):
        if box is None or index % find_every == 0:
            searches += 1
            found = _same_face(provider.detect(frame), box)
            lost += found is None
            if found is None and box is None:
                raise MediaError("no_face", f"no face in frame {index}, where the clip begins")
            box = found.box if found is not None else box
        assert box is not None  # set above, or the clip was refused
        inside = clip_box(box, width=frame.shape[1], height=frame.shape[0])
        if inside is None:
            raise MediaError("no_face", f"the face leaves the picture in frame {index}")
        points.append(provider.landmarks(frame, inside))
        box = _tight(points[-1])
    if not points:
        raise MediaError("empty", "the clip has no frames")
    if lost > MOST_LOST_SHARE * searches:
        raise MediaError("no_face", f"the face was lost in {lost} of {searches} searches")
    return np.stack(points).astype(np.float32)


def _same_face(faces: list[Face], before: Box | None) -> Face | None:
    if not faces:
        return None
    if before is None:
        return max(faces, key=lambda face: _area(face.box))
    best = max(faces, key=lambda face: _overlap(face.box, before))
    return best if _overlap(best.box, before) >= LEAST_OVERLAP else None


def _tight(points: Landmarks) -> Box:
    low, high = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0))
    return int(low[0]), int(low[1]), int(high[0]) + 1, int(high[1]) + 1


def _area(box: Box) -> int:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def _overlap(one: Box, two: Box) -> float:
    shared = (
        max(one[0], two[0]), max(one[1], two[1]), min(one[2], two[2]), min(one[3], two[3])
    )  # fmt: skip
    both = _area(shared)
    return both / max(1, _area(one) + _area(two) - both)
