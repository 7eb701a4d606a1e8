"""A portrait made ready: one face found, framed as the generator knows faces, lifted into space.

Any picture will do that shows one face from the front. What cannot be animated is refused with a
type: no face, several of equal size, a profile, a face too small (`visage.errors.MediaError`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.errors import MediaError
from visage.faces.crop import crop_around
from visage.faces.lift import lift_heads, measure_poses
from visage.faces.provider import Box, Face, FaceProvider, Image, clip_box
from visage.inference.talking_head import CLIP_MARGIN, TalkingHead
from visage.landmarks import INNER_LIP_PAIRS
from visage.models.projection import Camera
from visage.specs.render import PortraitSpec

__all__ = ["Portrait", "portrait_for", "read_portrait", "rested"]

Floats = NDArray[np.float32]
SEARCH_SIDE_PX = 480
"""Smaller pictures are enlarged before faces are looked for: detectors want 80 pixels."""
LARGE_PX = 1024
MARGIN = 0.35
"""Of clips that do not state theirs."""
SWAY = 0.05
"""Squares of clips hold a face in all its places, that of a portrait in one."""
RIVAL_SHARE = 0.5
"""Area of the largest face, above which another face makes the choice unclear."""

# How far each point goes along when the lower lip moves up or down.
_LOWER_LIP = {55: 0.6, 56: 1.0, 57: 1.0, 58: 1.0, 59: 0.6, 65: 1.0, 66: 1.0, 67: 1.0}
_CHIN = {4: 0.2, 5: 0.4, 6: 0.6, 7: 0.8, 8: 0.9, 9: 0.8, 10: 0.6, 11: 0.4, 12: 0.2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Portrait:
    """One face, ready to be animated."""

    picture: Image
    """What the generator sees, uint8 (S, S, 3)."""
    points: Floats
    """The 68 landmarks in pixels of `picture`, (68, 2)."""
    shape: Floats
    """The head in object coordinates, in eye distances, (68, 3)."""
    pose: Floats
    """Pitch, yaw, roll in degrees and translation, (6,)."""
    camera: Camera
    large: Image
    """The same square as sharp as it was given, up to LARGE_PX; uint8 (L, L, 3), L >= S."""


def portrait_for(
    head: TalkingHead, image: Image, provider: FaceProvider, spec: PortraitSpec | None = None
) -> Portrait:
    """A picture's face as a model wants it: of its size, framed as its training clips were.

    Raises:
        MediaError: as `read_portrait`.
    """
    chosen = spec or PortraitSpec()
    if chosen.margin is None:
        margin = float(head.metadata.get(CLIP_MARGIN, MARGIN)) + SWAY
        chosen = chosen.model_copy(update={"margin": margin})
    return read_portrait(image, provider, size=head.generator.spec.size, spec=chosen)


def read_portrait(
    image: Image, provider: FaceProvider, *, size: int, spec: PortraitSpec | None = None
) -> Portrait:
    """Find and frame the face of a picture.

    Args:
        image: RGB uint8 (H, W, 3), of any size.
        size: Side of the generator's pictures.

    Raises:
        MediaError: `no_face`, `several_faces`, `profile`, `face_too_small`.
    """
    chosen = spec or PortraitSpec()
    box = _chosen(provider.detect(_searchable(image)), image, chosen)
    points = provider.landmarks(image, box)
    height_px = float(np.ptp(points[:, 1]))
    if height_px < chosen.smallest_px:
        raise MediaError(
            "face_too_small",
            f"the face is {height_px:.0f} pixels high; at least {chosen.smallest_px} are needed: "
            "give a larger picture, or a closer one",
        )
    height, width = image.shape[:2]
    margin = MARGIN + SWAY if chosen.margin is None else chosen.margin
    crop = crop_around(points[None], width=width, height=height, margin=margin, size=size)
    inside, camera = crop.points(points[None]), Camera.of_size(size)
    pose = measure_poses(inside, camera)
    yaw = float(pose[0, 1])
    if abs(yaw) > chosen.most_yaw_deg:
        raise MediaError(
            "profile",
            f"the head is turned by {abs(yaw):.0f} degrees; at most {chosen.most_yaw_deg:.0f} are "
            "accepted: give a picture that looks into the camera",
        )
    head = lift_heads(inside, pose, camera)
    sharp = replace(crop, size=max(size, min(LARGE_PX, crop.side)))
    return Portrait(
        picture=crop.cut(image),
        large=sharp.cut(image),
        points=inside[0],
        shape=head.landmarks[0],
        pose=head.pose[0],
        camera=camera,
    )


def rested(shape: Floats, mean: Floats) -> Floats:
    """The head with its mouth as far open as the mean face of the training clips has it.

    Motion is what is added to a mean shape, in which a mouth is a little open. A portrait that
    laughs would keep its mouth open, one with closed lips would press them together.

    Args:
        shape: Of the portrait, (68, 3) in eye distances.
        mean: Of the training clips, (68, 3).
    """
    change = _opening(mean) - _opening(shape)
    moved = shape.copy()
    for point, share in (_LOWER_LIP | _CHIN).items():
        moved[point, 1] += change * share
    return moved


def _opening(shape: Floats) -> float:
    return float(np.mean([shape[low, 1] - shape[high, 1] for high, low in INNER_LIP_PAIRS]))


def _searchable(image: Image) -> Image:
    """The picture, enlarged if it is small; `_chosen` knows the factor by the same rule."""
    factor = _factor(image)
    if factor == 1.0:
        return image
    return np.asarray(
        cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), np.uint8
    )


def _factor(image: Image) -> float:
    return float(max(1.0, SEARCH_SIDE_PX / max(1, *image.shape[:2])))


def _chosen(found: list[Face], image: Image, spec: PortraitSpec) -> Box:
    height, width = image.shape[:2]
    factor = _factor(image)
    boxes = [_scaled(face.box, 1 / factor) for face in found]
    inside = [box for box in boxes if clip_box(box, width=width, height=height) is not None]
    if not inside:
        raise MediaError(
            "no_face", f"no face was found in the picture of {width}x{height}; it must look ahead"
        )
    by_size = sorted(inside, key=_area, reverse=True)
    if spec.face_policy == "clear" and len(by_size) > 1:
        rivals = [box for box in by_size[1:] if _area(box) > RIVAL_SHARE * _area(by_size[0])]
        if rivals:
            raise MediaError(
                "several_faces",
                f"{1 + len(rivals)} faces of about one size (at "
                f"{', '.join(str(box) for box in (by_size[0], *rivals))}); cut the picture to one, "
                "or take the largest with --set portrait.face_policy=largest",
            )
    return by_size[0]


def _scaled(box: Box, factor: float) -> Box:
    left, top, right, bottom = (round(value * factor) for value in box)
    return left, top, right, bottom


def _area(box: Box) -> int:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])
