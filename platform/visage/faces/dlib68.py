"""dlib's detectors and its 68-point predictor, with weights that come as a package.

HOG sees upright faces of 80 pixels and more; each upsampling halves that and costs four times the
time. MMOD, a small network, also sees turned and covered faces, and costs seconds on a CPU.
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import cv2
import dlib
import face_recognition_models
import numpy as np
from numpy.typing import NDArray

from visage.errors import MediaError, SpecError
from visage.faces.provider import Box, Face, Followed, Landmarks, face_size
from visage.faces.search import found_in
from visage.landmarks import LEFT_EYE, RIGHT_EYE
from visage.media.image import Image

__all__ = ["Detector", "Dlib68"]

Matrix = NDArray[np.float64]

# Medians over HOG's boxes of portraits, in units of the geometric mean of the points' extents: the
# predictor was trained on such boxes and is off by half as much again in tighter or wider ones.
_HOG_SIDE, _HOG_RISE = 1.04, 0.05

# The window around a followed face: its side in boxes, and the side of the box in it. The predictor
# answers in whole pixels, so small faces are enlarged; two fits that start this share of the box
# apart, averaged, are steadier than either, and their distance shows whether there is a face.
_WINDOW, _BOX_PX, _APART = 1.6, 320, (0.03, 0.015)

Detector = Literal["hog", "mmod"]
"""Which of dlib's face detectors finds the boxes."""


class Dlib68:
    """Boxes by HOG or MMOD, landmarks by the regression trees of dlib; one per thread."""

    def __init__(
        self,
        *,
        detector: Detector = "hog",
        upsample: int = 1,
        threshold: float = 0.0,
        max_side_px: int = 1024,
        refine: bool = True,
    ) -> None:
        """Load the weights (100 MB, about half a second).

        Args:
            detector: `hog` (fast) or `mmod` (finds more, seconds a picture on a CPU).
            upsample: How often the picture is doubled first; 0 for large faces, 2 for tiny ones.
            threshold: Faces below this score are dropped; negative finds more, also wrong ones.
            max_side_px: Larger pictures are shrunk to this side before the search.
            refine: Find the points twice, the second time in the box that HOG would have given for
                the first result; boxes from elsewhere need it.
        """
        if upsample < 0 or max_side_px < 80:
            raise SpecError(f"upsample {upsample}, max_side_px {max_side_px}: give >= 0 and >= 80")
        self._kind: Detector = detector
        self._upsample = upsample
        self._threshold = threshold
        self._max_side_px = max_side_px
        self._refine = refine
        self._predictor = _load_predictor()
        self._hog = dlib.get_frontal_face_detector()
        if detector == "mmod":
            self._mmod = dlib.cnn_face_detection_model_v1(
                face_recognition_models.cnn_face_detector_model_location()
            )

    @property
    def name(self) -> str:
        """Identity with every setting that changes boxes."""
        settings = f"u{self._upsample}-t{self._threshold:g}-s{self._max_side_px}"
        return f"dlib68-{self._kind}-{settings}" + ("-r2" if self._refine else "")

    @property
    def licence(self) -> str:
        """Licence of code and weights."""
        return (
            "dlib: BSL-1.0; landmark weights: trained on iBUG 300-W, research use only; "
            "MMOD weights: CC0"
        )

    def detect(self, image: Image) -> list[Face]:
        """All faces, surest first; boxes may reach beyond the picture."""
        return found_in(image, self._search, most_side_px=self._max_side_px)

    def landmarks(self, image: Image, box: Box) -> Landmarks:
        """The 68 points of the face in `box`, which may reach beyond the picture.

        Raises MediaError `bad_box` if the box has no area or does not touch the picture.
        """
        x1, y1, x2, y2 = box
        height, width = image.shape[:2]
        if x2 <= x1 or y2 <= y1 or x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
            raise MediaError("bad_box", f"face box {box} has no area inside {width}x{height}")
        searched = np.ascontiguousarray(image)
        points = self._points(searched, box)
        return self._points(searched, _hog_box(points)) if self._refine else points

    def follow(self, image: Image, before: Landmarks) -> Followed:
        """The points of the face that had the points `before` in the last frame.

        The face is looked at upright and in one size: the predictor knows few others.
        """
        side_px = round(_WINDOW * _BOX_PX)
        there, back = _window_around(before, side_px)
        grey = _warped_grey(image, there, side_px)
        if grey is None:
            return Followed(points=before, spread=math.inf)
        low = (side_px - _BOX_PX) // 2
        fits = []
        for sign in (-1, 1):
            left, top = (low + round(sign * share * _BOX_PX) for share in _APART)
            found = self._points(grey, (left, top, left + _BOX_PX, top + _BOX_PX))
            fits.append(found @ back[:, :2].T + back[:, 2])
        apart = np.linalg.norm(fits[0] - fits[1], axis=1)
        points = np.asarray((fits[0] + fits[1]) / 2, np.float32)
        return Followed(points=points, spread=float(np.median(apart) / face_size(points)))

    def _points(self, image: Image, box: Box) -> Landmarks:
        region = dlib.rectangle(box[0], box[1], box[2] - 1, box[3] - 1)
        shape = self._predictor(image, region)
        return np.array([(point.x, point.y) for point in shape.parts()], np.float32)

    def _search(self, image: Image) -> list[Face]:
        """All faces, in pixels of the searched picture."""
        if self._kind == "hog":
            # Grey costs a quarter less time than colour at the same scores.
            grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
            boxes, scores, _ = self._hog.run(grey, self._upsample, self._threshold)
            found = list(zip(boxes, scores, strict=True))
        else:
            found = [(hit.rect, hit.confidence) for hit in self._mmod(image, self._upsample)]
        return [
            Face(box=(r.left(), r.top(), r.right() + 1, r.bottom() + 1), score=float(score))
            for r, score in found
            if score >= self._threshold
        ]


@functools.cache
def _load_predictor() -> dlib.shape_predictor:
    """The predictor of this process; it is 100 MB and never changes."""
    return dlib.shape_predictor(face_recognition_models.pose_predictor_model_location())


def _hog_box(points: Landmarks) -> Box:
    """The box that HOG would give for a face with these points, on average."""
    x, y, side = _hog_square(points)
    half = max(1.0, side / 2)
    return round(x - half), round(y - half), round(x + half), round(y + half)


def _hog_square(points: Landmarks) -> tuple[float, float, float]:
    """Centre and side of that box."""
    size = face_size(points)
    x, y = points.mean(axis=0).tolist()
    return x, y - _HOG_RISE * size, _HOG_SIDE * size


def _window_around(points: Landmarks, side_px: int) -> tuple[Matrix, Matrix]:
    """The ways from the picture to a square in which the face stands upright, and back, (2, 3)."""
    across = points[LEFT_EYE].mean(axis=0) - points[RIGHT_EYE].mean(axis=0)
    roll = math.atan2(float(across[1]), float(across[0]))
    turn = np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]])
    x, y, side = _hog_square(np.asarray(points @ turn.T, np.float32))
    zoom = _BOX_PX / side
    middle = (side_px - 1) / 2
    there = np.column_stack([zoom * turn, middle - zoom * np.array([x, y])])
    back = np.column_stack([turn.T / zoom, turn.T @ (np.array([x, y]) - middle / zoom)])
    return there, back


def _warped_grey(image: Image, there: Matrix, side_px: int) -> NDArray[np.uint8] | None:
    """The square in grey, edges of the picture repeated; None if it lies outside."""
    corners = np.array([[0, 0], [side_px, 0], [0, side_px], [side_px, side_px]])
    seen = (corners - there[:, 2]) @ np.linalg.inv(there[:, :2]).T
    height, width = image.shape[:2]
    # A corner may lie anywhere once points have run away.
    x1, y1 = np.floor(np.clip(seen.min(axis=0) - 2, 0, [width, height])).astype(int)
    x2, y2 = np.ceil(np.clip(seen.max(axis=0) + 2, 0, [width, height])).astype(int)
    if x2 <= x1 or y2 <= y1:
        return None
    grey = cv2.cvtColor(np.ascontiguousarray(image[y1:y2, x1:x2]), cv2.COLOR_RGB2GRAY)
    shifted = there.copy()
    shifted[:, 2] += there[:, :2] @ np.array([x1, y1])
    warped = cv2.warpAffine(
        grey, shifted, (side_px, side_px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(warped, np.uint8)
