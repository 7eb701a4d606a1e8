"""Landmarks in pixels to pictures: facial map, source and style patterns through the generator.

Source and patterns are the same in every frame of a video, so they are made once. A frame depends
on its own points alone: frames may be painted in any order, in batches of any size (models.md A.8).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from visage.faces.facial_map import facial_map
from visage.inference.style_card import StyleCard
from visage.inference.talking_head import TalkingHead
from visage.landmarks import POINTS
from visage.media.image import Image
from visage.models.facial_map import draw_facial_map
from visage.models.generator.composition import Layers, composed, enlarged
from visage.models.generator.face_warp import FacePlaces, FaceWarp, warped_by
from visage.rendering.portrait import Portrait

__all__ = ["FramePainter", "Inputs", "Painted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What the network sees of some frames."""

    stacked: Tensor
    """(N, input_channels, S, S)."""
    warp: FaceWarp | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Painted:
    """What the network made of them: pictures, or layers that are still to be put together."""

    made: Tensor | Layers
    warp: FaceWarp | None

    def singly(self) -> Iterator[Painted]:
        """The frames one by one."""
        for at in range(len(self.made)):
            one = slice(at, at + 1)
            warp = None if self.warp is None else self.warp[one]
            yield Painted(made=self.made[one], warp=warp)


class FramePainter:
    """Paints one person in one style."""

    def __init__(
        self,
        head: TalkingHead,
        portrait: Portrait,
        style: StyleCard,
        *,
        batch: int = 8,
        size: int | None = None,
    ) -> None:
        """Make source and patterns ready.

        Args:
            batch: Frames that go through the network at a time.
            size: Side of the frames; the generator's own unless given. Larger ones of a masked
                generator show the portrait itself where nothing is painted, others are enlarged.
        """
        self._generator, self._batch, self._device = head.generator.model, batch, head.device
        self._spec = head.generator.spec
        self._own = self._spec.size
        self._size = size or self._own
        self._source = self._tensor(portrait.picture, self._own)
        self._points = self._placed(portrait)
        self._sharp: Tensor | None = None
        if self._spec.composition == "masked" and self._size > self._own:
            self._sharp = self._tensor(portrait.large, self._size)
        references = torch.stack([self._tensor(one, self._own) for one in style.images()[1:]])
        self._patterns = head.patterns_of(self._source, references)
        self._layout = (
            torch.channels_last if self._device.type == "cuda" else torch.contiguous_format
        )

    def paint(self, points: Tensor) -> Iterator[Image]:
        """RGB uint8 frames of faces, (size, size, 3).

        Args:
            points: Pixels of the generator, (T, 68, 2), or (T, 68 + 18, 2) with the shoulders after
                the face.
        """
        return self.frames(self.layers(self.inputs([points])))

    # The three steps, each to be drawn from by a thread of its own.

    def inputs(self, points: Iterable[Tensor]) -> Iterator[Inputs]:
        """What the network sees, batch by batch; faces in pieces as `paint` takes them."""
        for piece in points:
            for some in torch.split(piece, self._batch) if len(piece) else ():
                yield self._inputs(some)

    def layers(self, inputs: Iterable[Inputs]) -> Iterator[Painted]:
        """What the network makes of it."""
        for some in inputs:
            yield self._layers(some)

    def frames(self, painted: Iterable[Painted]) -> Iterator[Image]:
        """The frames one by one."""
        for some in painted:
            # what a frame needs fits into a CPU's cache; what a batch needs does not
            for few in some.singly() if self._device.type == "cpu" else [some]:
                yield from self._frames(few)

    @torch.inference_mode()
    def _inputs(self, points: Tensor) -> Inputs:
        count = len(points)
        torso = points[:, POINTS:] if self._spec.map.torso and points.shape[1] > POINTS else None
        face = points[:, :POINTS].to(self._device)
        places = FacePlaces(source=self._points.expand(count, -1, -1), frame=face)
        warp = self._generator.warp_to(places)
        stacked = self._generator.stacked(
            facial_map=self._drawn(face, torso),
            source=self._source.expand(count, -1, -1, -1),
            patterns=self._patterns.expand(count, -1, -1, -1, -1),
            warp=warp,
        )
        return Inputs(stacked=stacked.contiguous(memory_format=self._layout), warp=warp)

    @torch.inference_mode()
    def _layers(self, inputs: Inputs) -> Painted:
        with torch.autocast(self._device.type, enabled=self._device.type == "cuda"):
            if self._sharp is None:
                return Painted(made=self._generator(inputs.stacked), warp=inputs.warp)
            return Painted(made=self._generator.layers(inputs.stacked), warp=inputs.warp)

    @torch.inference_mode()
    def _frames(self, painted: Painted) -> Iterator[Image]:
        made = painted.made
        if isinstance(made, Layers):
            made = self._composed(made, painted.warp)
        levels = made.float().mul(127.5).add_(128).clamp_(0, 255).to(torch.uint8)  # to the nearest
        # (N, 3, S, S) -> (N, S, S, 3)
        for frame in levels.permute(0, 2, 3, 1).contiguous().cpu().numpy():
            yield _sized(frame, self._size)

    def _composed(self, layers: Layers, warp: FaceWarp | None) -> Tensor:
        """Frames of the wanted size, in which the portrait shows through as sharp as it is."""
        assert self._sharp is not None
        shown = [self._sharp.expand(len(layers.painted), -1, -1, -1)] * len(self._spec.shown)
        if warp is not None:
            shown[self._spec.shown.index("warped")] = warped_by(shown[0], warp)
        return composed(enlarged(layers, self._size), shown)

    def _placed(self, portrait: Portrait) -> Tensor:
        """The portrait's landmarks in pixels of the generator, (1, 68, 2)."""
        points = torch.from_numpy(portrait.points[None]).float().to(self._device)
        return _rescaled(points, self._own / portrait.picture.shape[0])

    def _drawn(self, points: Tensor, torso: Tensor | None) -> Tensor:
        """Facial maps (N, 1, S, S) in [0, 1], by whichever form is faster; they are equal."""
        if self._device.type != "cpu" or self._spec.map.antialias:
            return draw_facial_map(
                points, size=self._own, torso=torso, antialias=self._spec.map.antialias,
                thickness_px=self._spec.map.thickness_px, mouth_fill=self._spec.map.mouth_fill,
            )  # fmt: skip
        shoulders = [None] * len(points) if torso is None else list(torso.numpy())
        maps = [
            facial_map(face, size=self._own, torso=shoulder)
            for face, shoulder in zip(points.numpy(), shoulders, strict=True)
        ]
        return torch.from_numpy(np.stack(maps))[:, None].float() / 255

    def _tensor(self, image: Image, size: int) -> Tensor:
        """A picture in [-1, 1], (3, size, size)."""
        pixels = torch.from_numpy(np.ascontiguousarray(_sized(image, size))).to(self._device)
        return pixels.permute(2, 0, 1).float() / 127.5 - 1


def _rescaled(points: Tensor, factor: float) -> Tensor:
    """Pixels of one picture in pixels of another; pixel centres are whole numbers."""
    there: Tensor = (points + 0.5) * factor - 0.5
    return there


def _sized(image: Image, size: int) -> Image:
    if image.shape[:2] == (size, size):
        return image
    how = cv2.INTER_AREA if image.shape[0] > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (size, size), interpolation=how), np.uint8)
