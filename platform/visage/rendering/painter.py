"""Landmarks in pixels to pictures: facial map, source and style patterns through the generator.

Source and patterns are the same in every frame of a video, so they are made once. A frame depends
on its own points alone: frames may be painted in any order, in batches of any size (models.md A.8).
"""

from __future__ import annotations

from collections.abc import Iterator

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
from visage.models.generator.alignment import FacePlaces
from visage.rendering.portrait import Portrait

__all__ = ["FramePainter"]


class FramePainter:
    """Paints one person in one style."""

    def __init__(
        self, head: TalkingHead, portrait: Portrait, style: StyleCard, *, batch: int = 8
    ) -> None:
        """Make source and patterns ready; `batch` frames go through the network at a time."""
        self._generator, self._batch, self._device = head.generator.model, batch, head.device
        self._size = head.generator.spec.size
        self._map = head.generator.spec.map
        self._source = self._tensor(portrait.picture)
        zoom = self._size / portrait.picture.shape[0]
        points = torch.from_numpy(portrait.points[None]).float().to(self._device)
        self._points = (points + 0.5) * zoom - 0.5
        references = torch.stack([self._tensor(one) for one in style.images()[1:]])
        self._patterns = head.patterns_of(self._source, references)
        self._layout = (
            torch.channels_last if self._device.type == "cuda" else torch.contiguous_format
        )

    def paint(self, points: Tensor) -> Iterator[Image]:
        """RGB uint8 frames (S, S, 3) of faces.

        Args:
            points: Pixels, (T, 68, 2), or (T, 68 + 18, 2) with the shoulders after the face.
        """
        for some in torch.split(points, self._batch) if len(points) else ():
            yield from self._painted(some)

    @torch.inference_mode()
    def _painted(self, points: Tensor) -> Iterator[Image]:
        count = len(points)
        torso = points[:, POINTS:] if self._map.torso and points.shape[1] > POINTS else None
        face = points[:, :POINTS].to(self._device)
        stacked = self._generator.stacked(
            facial_map=self._drawn(face, torso),
            source=self._source.expand(count, -1, -1, -1),
            patterns=self._patterns.expand(count, -1, -1, -1, -1),
            places=FacePlaces(source=self._points.expand(count, -1, -1), frame=face),
        )
        with torch.autocast(self._device.type, enabled=self._device.type == "cuda"):
            made = self._generator(stacked.contiguous(memory_format=self._layout))
        levels = ((made.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        # (N, 3, S, S) -> (N, S, S, 3)
        yield from levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def _drawn(self, points: Tensor, torso: Tensor | None) -> Tensor:
        """Facial maps (N, 1, S, S) in [0, 1], by whichever form is faster; they are equal."""
        if self._device.type != "cpu" or self._map.antialias:
            return draw_facial_map(
                points, size=self._size, torso=torso, antialias=self._map.antialias,
                thickness_px=self._map.thickness_px,
            )  # fmt: skip
        shoulders = [None] * len(points) if torso is None else list(torso.numpy())
        maps = [
            facial_map(face, size=self._size, torso=shoulder)
            for face, shoulder in zip(points.numpy(), shoulders, strict=True)
        ]
        return torch.from_numpy(np.stack(maps))[:, None].float() / 255

    def _tensor(self, image: Image) -> Tensor:
        """A picture in [-1, 1] of the generator's size, (3, S, S)."""
        if image.shape[:2] != (self._size, self._size):
            how = cv2.INTER_AREA if image.shape[0] > self._size else cv2.INTER_CUBIC
            image = np.asarray(cv2.resize(image, (self._size, self._size), interpolation=how))
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self._device)
        return pixels.permute(2, 0, 1).float() / 127.5 - 1
