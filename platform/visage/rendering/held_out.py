"""A held-out clip said again: its sound and its own resting picture, against what it really shows.

    truth      the clip's landmarks and pictures
    generated  what the model makes of the clip's sound and neutral picture
    frozen     the neutral picture for all frames
    mean       the clip's mean shape at its mean pose for all frames

The model adds its motion to the clip's own mean shape and sways about the clip's mean pose, so that
model and baselines start from the same knowledge of the person, and differ by motion alone. Nothing
is aligned afterwards: heads sway freely, and how they sway counts in D-L and D-V.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visage.data.clip_rows import FPS, ClipArrays, unpack_clip
from visage.errors import DataError
from visage.faces.provider import FaceFollower
from visage.faces.seen_mouth import openings_of, seen_openings
from visage.inference.style_card import StyleCard
from visage.inference.talking_head import TalkingHead
from visage.landmarks import POINTS
from visage.media.image import Image
from visage.media.stored import decode_stored
from visage.metrics.head_tables import (
    SIZE,
    Scores,
    head_scores_of_clip,
    seen_scores,
    sharpness,
)
from visage.models.projection import Camera, project
from visage.rendering.painter import FramePainter
from visage.rendering.portrait import Portrait
from visage.rendering.renderer import iter_points
from visage.rendering.sound import HEARD_HZ, TRACK_HZ, Sound
from visage.specs.render import RenderSpec

__all__ = ["SUBJECTS", "HeldOutClip", "SaidAgain", "say_again"]

SUBJECTS = ("truth", "generated", "painted", "frozen", "mean")
"""painted = the true landmarks, painted: what the model's pictures can show, however it moves."""
Floats = NDArray[np.float32]
INT16 = 32767.0
SHARP_FRAMES = 8
"""Pictures a clip whose sharpness is measured: it hardly changes, and costs most of the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutClip:
    """A row of prepared clips."""

    key: str
    style: str
    size: int
    """Side of the stored pictures, pixels."""
    arrays: ClipArrays
    pictures: tuple[bytes, ...]
    """True frames as JPEGs."""
    picture_at: NDArray[np.int64]
    """Frame at 60 Hz that each picture shows."""
    neutral: bytes
    """The resting picture of the whole clip, cropped like the frames."""
    neutral_points: Floats
    """Its landmarks in pixels of the stored pictures, (68, 2)."""

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> HeldOutClip:
        """Read a stored row.

        Raises:
            DataError: a row without pictures.
        """
        if not row["images"]:
            raise DataError(f"{row['key']}: the row has no pictures; nothing can be compared")
        points = np.frombuffer(row["reference_points"], "<f4").reshape(-1, POINTS, 2)
        return cls(
            key=str(row["key"]),
            style=str(row["style"]),
            size=int(row["size"]),
            arrays=unpack_clip(row),
            pictures=tuple(row["images"]),
            picture_at=np.array(row["image_at"], np.int64),
            neutral=row["references"][0],
            neutral_points=points[0].copy(),
        )

    def sound(self) -> Sound:
        """What is said."""
        heard = self.arrays.audio.astype(np.float32) / np.float32(INT16)
        peak = float(np.abs(heard).max(initial=0.0))
        return Sound(heard=heard, track=np.repeat(heard, TRACK_HZ // HEARD_HZ), peak=peak)

    def portrait(self, size: int) -> Portrait:
        """The neutral picture with the clip's mean shape and mean pose, `size` pixels wide."""
        how = cv2.INTER_AREA if self.size > size else cv2.INTER_CUBIC
        large = picture = decode_stored(self.neutral)
        if picture.shape[0] != size:
            picture = np.asarray(cv2.resize(picture, (size, size), interpolation=how), np.uint8)
        return Portrait(
            picture=picture,
            large=large if self.size > size else picture,
            points=_scaled(self.neutral_points, self.size, size),
            shape=self.arrays.mean.copy(),
            pose=self.arrays.pose.mean(axis=0),
            camera=Camera.of_size(size),
        )

    def shown(self, most: int) -> NDArray[np.int64]:
        """Which of the pictures are compared: at most so many, evenly over the clip."""
        count = min(most, len(self.pictures))
        return np.unique(np.round(np.linspace(0, len(self.pictures) - 1, count)).astype(np.int64))


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidAgain:
    """A clip and its generated and still counterparts."""

    points: dict[str, Floats]
    """Subject → landmarks in pixels of 512 at 60 Hz, (T, 68, 2); `painted` has the truth's."""
    pictures: dict[str, list[Image]]
    """Subject → frames; of `frozen` and `mean` the one that they show all the time."""
    shown_points: dict[str, Floats]
    """`truth`, `generated`, `painted` → where the face of each frame should be, in its pixels."""

    def scores(self, follower: FaceFollower | None = None) -> dict[str, Scores]:
        """Subject → columns of the tables; of the truth only what its pictures show.

        Args:
            follower: who looks for the mouth in the finished frames; without, nobody does.

        Raises:
            DataError: the clip is too short, or its face has no extent.
        """
        true = self.points["truth"]
        sharp = {name: _evenly(pictures, SHARP_FRAMES) for name, pictures in self.pictures.items()}
        found = {"truth": {"cpbd": sharpness(sharp["truth"])}}
        found["painted"] = {"cpbd": sharpness(sharp["painted"])}
        for name in ("generated", "frozen", "mean"):
            found[name] = head_scores_of_clip(true, self.points[name], sharp[name])
        if follower is not None:
            told = openings_of(self.shown_points["truth"], self.pictures["truth"][0].shape[0])
            for name in self.shown_points:
                seen = seen_openings(follower, self.pictures[name], self.shown_points[name])
                found[name] |= seen_scores(told, seen)
        return found


def say_again(
    head: TalkingHead, clip: HeldOutClip, style: StyleCard, *, frames: int, seed: int
) -> SaidAgain:
    """Let the model say a held-out clip.

    Args:
        frames: Pictures compared at most; landmarks are all compared.
        seed: Of head motion and blinks.

    Raises:
        SpecError: the style belongs to another model.
    """
    size = head.generator.spec.size
    portrait = clip.portrait(size)
    own = replace(head, mean=portrait.shape)  # the mouth rests as this person's does
    spec = RenderSpec(fps=FPS, seed=seed)
    made = torch.cat(list(iter_points(own, portrait, clip.sound(), style, spec)))
    count = len(clip.arrays)
    if len(made) != count:
        raise DataError(f"{clip.key}: {len(made)} frames were made of {count}")
    still = project(
        torch.from_numpy(portrait.shape), torch.from_numpy(portrait.pose), portrait.camera
    )
    shown = clip.shown(frames)
    shown_size = max(size, clip.size)  # as sharp as a renderer would show it
    painter = FramePainter(head, portrait, style, size=shown_size)
    at = torch.from_numpy(clip.picture_at[shown])
    true = clip.arrays.points[clip.picture_at[shown]]
    mean = made[:1].clone()
    mean[0, :POINTS] = still.to(made.device)
    return SaidAgain(
        points={
            "truth": _scaled(clip.arrays.points, clip.size, SIZE),
            "generated": _scaled(made[:, :POINTS].cpu().numpy(), size, SIZE),
            "frozen": _held(_scaled(clip.neutral_points, clip.size, SIZE), count),
            "mean": _held(_scaled(still.numpy(), size, SIZE), count),
        },
        pictures={
            "truth": [decode_stored(clip.pictures[one]) for one in shown],
            "generated": list(painter.paint(made[at])),
            "painted": list(
                painter.paint(_with_shoulders(_scaled(true, clip.size, size), made[at]))
            ),
            "frozen": [decode_stored(clip.neutral)],
            "mean": list(painter.paint(mean)),
        },
        shown_points={
            "truth": true,
            "generated": _scaled(made[at, :POINTS].cpu().numpy(), size, shown_size),
            "painted": _scaled(true, clip.size, shown_size),
        },
    )


def _with_shoulders(faces: Floats, made: Tensor) -> Tensor:
    """The faces, and after them the shoulders that the model made, if it makes any."""
    return torch.cat([torch.from_numpy(faces).to(made.device), made[:, POINTS:]], 1)


def _evenly(pictures: list[Image], most: int) -> list[Image]:
    count = min(most, len(pictures))
    return [pictures[round(at)] for at in np.linspace(0, len(pictures) - 1, count)]


def _scaled(points: Floats, from_size: int, to_size: int) -> Floats:
    """Pixels of one picture in pixels of another; pixel centres are whole numbers."""
    return ((points + 0.5) * (to_size / from_size) - 0.5).astype(np.float32)


def _held(points: Floats, count: int) -> Floats:
    return np.repeat(points[None], count, axis=0)
