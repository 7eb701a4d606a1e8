"""From a picture and a face box to the two pictures that the emotion model reads.

`prepare` stores what `EmotionInputs.of` makes; training and serving go on from there with
`training_views` and `evaluation_views`. Invariant: nobody else crops, resizes or masks, so a
picture gives the same pixels in the shard, in evaluation and behind the endpoint.

All pictures are RGB uint8 (height, width, 3); boxes are x1, y1, x2, y2 in pixels, x2 and y2
exclusive. Resizing is bilinear at half-pixel centres without antialiasing, as in the release.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.errors import MediaError
from visage.faces.provider import Box, Image, clip_box
from visage.seeds import rng_of
from visage.specs.emotion import EmotionInputSpec, EmotionModelSpec, MaskMode

__all__ = [
    "NO_BOX",
    "Augmentation",
    "EmotionInputs",
    "augment",
    "box_in_context",
    "centre_crop",
    "centre_region",
    "check_picture",
    "context_picture",
    "evaluation_views",
    "face_crop",
    "hide_face",
    "random_crop",
    "region_in_source",
    "training_views",
]

Augmentation = Literal["none", "official", "modern"]
"""What training does to a sample beside the random crop of the context.

official: the face alone is mirrored and rotated, as in the release. modern: face and context are
mirrored together, share one change of brightness and contrast, and the face is rotated.
"""

NO_BOX: Box = (0, 0, 0, 0)
"""Stands for "no face": nothing to hide, and the face picture is black."""

ROTATION_DEG = 20.0
BRIGHTNESS = 0.15
"""Largest shift, as a share of the full range."""
CONTRAST = 0.25
"""Largest change of the factor around mid-grey."""
ERASED_AREA = (0.02, 0.2)
ERASED_ASPECT = (0.4, 2.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionInputs:
    """What a shard row holds of one face: two pictures, and where the face is in the second."""

    face: Image
    """(face_size, face_size, 3); black if there is no face."""
    context: Image
    """(context_height, context_width, 3), the whole picture, the face still visible."""
    box: Box
    """The face in the context, rounded outwards; NO_BOX if there is none."""

    @classmethod
    def of(cls, image: Image, box: Box | None, spec: EmotionInputSpec) -> EmotionInputs:
        """Cut and shrink one picture; the box may reach beyond it.

        Raises:
            MediaError: `empty` or `unsupported_format` if it is no RGB picture of bytes.
        """
        check_picture(image)
        height, width = image.shape[:2]
        return cls(
            face=face_crop(image, box, spec.face_size),
            context=context_picture(image, height=spec.context_height, width=spec.context_width),
            box=box_in_context(
                box,
                source_width=width,
                source_height=height,
                height=spec.context_height,
                width=spec.context_width,
            ),
        )


def evaluation_views(inputs: EmotionInputs, spec: EmotionModelSpec) -> tuple[Image, Image]:
    """Face and context as the model reads them in evaluation and serving: centre crop, no chance.

    Noise that hides a face depends on the box alone, so a batch's composition changes nothing.
    """
    context = inputs.context
    if spec.masks_face:
        context = hide_face(context, inputs.box, spec.mask, rng_of("hide", *inputs.box))
    return inputs.face, centre_crop(context, spec.input.context_crop)


def training_views(
    inputs: EmotionInputs,
    spec: EmotionModelSpec,
    *,
    augmentation: Augmentation,
    rng: np.random.Generator,
    erasing: float = 0.0,
) -> tuple[Image, Image]:
    """Face and context as the model reads them in training: augmented, hidden, randomly cropped."""
    face, context, box = augment(
        inputs.face, inputs.context, inputs.box, mode=augmentation, rng=rng, erasing=erasing
    )
    if spec.masks_face:
        context = hide_face(context, box, spec.mask, rng)
    return face, random_crop(context, spec.input.context_crop, rng)


def face_crop(image: Image, box: Box | None, size: int) -> Image:
    """The box's part inside the picture, stretched to (size, size, 3); black without a face."""
    inside = None if box is None else clip_box(box, width=image.shape[1], height=image.shape[0])
    if inside is None:
        return np.zeros((size, size, 3), np.uint8)
    x1, y1, x2, y2 = inside
    return _resized(image[y1:y2, x1:x2], height=size, width=size)


def context_picture(image: Image, *, height: int, width: int) -> Image:
    """The whole picture stretched to (height, width, 3)."""
    return _resized(image, height=height, width=width)


def box_in_context(
    box: Box | None, *, source_width: int, source_height: int, height: int, width: int
) -> Box:
    """A box of the source picture in pixels of the context, rounded outwards so that it covers all.

    NO_BOX if there is no box, or no part of it lies inside the picture.
    """
    inside = None if box is None else clip_box(box, width=source_width, height=source_height)
    if inside is None:
        return NO_BOX
    left, right = _span(inside[0], inside[2], source=source_width, target=width)
    top, bottom = _span(inside[1], inside[3], source=source_height, target=height)
    return left, top, right, bottom


def region_in_source(
    region: Box, *, source_width: int, source_height: int, height: int, width: int
) -> Box:
    """A region of the context back in pixels of the source picture, rounded to the nearest."""
    x1, y1, x2, y2 = region
    return (
        round(x1 * source_width / width),
        round(y1 * source_height / height),
        round(x2 * source_width / width),
        round(y2 * source_height / height),
    )


def hide_face(
    context: Image, box: Box, mode: MaskMode, rng: np.random.Generator | None = None
) -> Image:
    """A copy of the context in which nothing of the box can be seen.

    `mean` is the mean colour of the rest, since a mean over the face would still tell of it.
    `noise` is uniform and needs `rng`.
    """
    hidden = context.copy()
    inside = clip_box(box, width=context.shape[1], height=context.shape[0])
    if inside is None or mode == "none":
        return hidden
    x1, y1, x2, y2 = inside
    if mode == "noise":
        rng = rng_of("hide", *box) if rng is None else rng
        hidden[y1:y2, x1:x2] = rng.integers(0, 256, (y2 - y1, x2 - x1, 3), np.uint8)
    else:
        hidden[y1:y2, x1:x2] = 0
        if mode == "mean":
            rest = context.shape[0] * context.shape[1] - (y2 - y1) * (x2 - x1)
            total = np.array(cv2.sumElems(hidden)[:3])
            hidden[y1:y2, x1:x2] = np.rint(total / max(1, rest)).astype(np.uint8)
    return hidden


def centre_region(height: int, width: int, size: int) -> Box:
    """The centred square; for 128x171 and 112 it is rows 8 … 120 and columns 29 … 141."""
    top, left = (height - size) // 2, (width - size) // 2
    return left, top, left + size, top + size


def centre_crop(context: Image, size: int) -> Image:
    """The centred square (size, size, 3), contiguous."""
    x1, y1, x2, y2 = centre_region(context.shape[0], context.shape[1], size)
    return np.ascontiguousarray(context[y1:y2, x1:x2])


def random_crop(context: Image, size: int, rng: np.random.Generator) -> Image:
    """A square (size, size, 3) anywhere in the context, every place as likely."""
    top = int(rng.integers(0, context.shape[0] - size + 1))
    left = int(rng.integers(0, context.shape[1] - size + 1))
    return np.ascontiguousarray(context[top : top + size, left : left + size])


def augment(
    face: Image,
    context: Image,
    box: Box,
    *,
    mode: Augmentation,
    rng: np.random.Generator,
    erasing: float = 0.0,
) -> tuple[Image, Image, Box]:
    """Change a sample in ways that keep its label; the inputs themselves are not changed.

    Args:
        face: (S, S, 3).
        context: (H, W, 3), the face not yet hidden.
        box: The face in the context; follows a mirrored context.
        mode: See `Augmentation`.
        rng: Where all chance comes from.
        erasing: Chance of overwriting a part of the face with noise (`modern` only).
    """
    if mode == "none":
        return face, context, box
    is_mirrored = rng.random() < 0.5
    angle_deg = rng.uniform(-ROTATION_DEG, ROTATION_DEG)
    if is_mirrored:
        face = cv2.flip(face, 1)
    face = _rotated(face, angle_deg)
    if mode == "official":
        return face, context, box
    if is_mirrored:
        context, box = cv2.flip(context, 1), _mirrored(box, context.shape[1])
    curve = _tone_curve(rng)
    context = cv2.LUT(context, curve)
    if box != NO_BOX:  # a black face means "no face" and must stay black
        face = cv2.LUT(face, curve)
        if erasing > 0.0 and rng.random() < erasing:
            face = _erased(face, rng)
    return face, context, box


def _span(start: int, stop: int, *, source: int, target: int) -> tuple[int, int]:
    """The span [start, stop) of `source` pixels in a stretch to `target` pixels, outwards.

    Every target pixel that the bilinear stretch mixes from a pixel of the span belongs to it: when
    a small picture is enlarged, that is one more on each side than rounding alone would give.
    """
    first = min(start * target // source, ((2 * start - 1) * target - source) // (2 * source) + 1)
    last = max(-(-stop * target // source), -(-((2 * stop + 1) * target - source) // (2 * source)))
    return max(0, first), min(target, last)


def _mirrored(box: Box, width: int) -> Box:
    return NO_BOX if box == NO_BOX else (width - box[2], box[1], width - box[0], box[3])


def _rotated(picture: Image, angle_deg: float) -> Image:
    height, width = picture.shape[:2]
    centre = ((width - 1) / 2, (height - 1) / 2)
    matrix = cv2.getRotationMatrix2D(centre, angle_deg, 1.0)
    turned: Image = cv2.warpAffine(
        picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return turned


def _tone_curve(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A table (256,): contrast around mid-grey, then brightness."""
    factor = 1.0 + rng.uniform(-CONTRAST, CONTRAST)
    shift = 127.5 + 255.0 * rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    levels = (np.arange(256) - 127.5) * factor + shift
    curve: NDArray[np.uint8] = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return curve


def _erased(face: Image, rng: np.random.Generator) -> Image:
    size = face.shape[0]
    area = rng.uniform(*ERASED_AREA) * size * size
    aspect = math.exp(rng.uniform(*np.log(ERASED_ASPECT)))
    height = min(size, max(1, round(math.sqrt(area * aspect))))
    width = min(size, max(1, round(math.sqrt(area / aspect))))
    top, left = int(rng.integers(0, size - height + 1)), int(rng.integers(0, size - width + 1))
    erased = face.copy()
    erased[top : top + height, left : left + width] = rng.integers(
        0, 256, (height, width, 3), np.uint8
    )
    return erased


def _resized(picture: Image, *, height: int, width: int) -> Image:
    if picture.shape[:2] == (height, width):
        return picture.copy()
    resized: Image = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
    return resized


def check_picture(image: Image) -> None:
    """Refuse, as MediaError, what is no RGB picture of bytes with at least one pixel."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise MediaError(
            "unsupported_format",
            f"a picture is uint8 (height, width, 3), not {image.dtype} {image.shape}",
        )
    if image.size == 0:
        raise MediaError("empty", f"the picture has no pixels: {image.shape}")
