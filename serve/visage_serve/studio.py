"""What happens to one order inside threads: decode, look for the face, render. No event loop here.

Portrait and sound are anybody's: both are decoded in the sandbox, under the limits of the spec.
"""

from __future__ import annotations

import hashlib
import io
import threading
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from visage.errors import MediaError
from visage.faces.provider import Box, Face, FaceProvider, Image, Landmarks
from visage.inference.style_card import StyleCard
from visage.inference.talking_head import TalkingHead
from visage.media.limits import ImageLimits
from visage.media.sandbox import MediaSandbox
from visage.rendering.portrait import Portrait, portrait_for
from visage.rendering.provenance import provenance_tags
from visage.rendering.renderer import RenderedClip, render_clip
from visage.rendering.sound import Sound, open_sound
from visage.specs.render import PortraitSpec, RenderSpec
from visage.specs.serve import HeadLimits
from visage_serve.orders import AnimationFields, Order
from visage_serve.refusal import refusal_of_media

__all__ = ["Abandoned", "Scene", "Studio", "probe_order"]

PROBE_S = 0.35
PROBE_HZ = 16_000
ANY_FACE = PortraitSpec(smallest_px=8, most_yaw_deg=90.0)
"""The probe shows the model its own style, which needs no judging."""
SILENT = "the sound is silent; the face only blinks and sways"


class Abandoned(Exception):
    """Nobody waits for this video any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """An order made ready: everything decoded, the style found."""

    portrait: Portrait
    sound: Sound
    style: StyleCard
    spec: RenderSpec
    tags: dict[str, str]

    @property
    def note(self) -> str | None:
        """What a person should know."""
        return SILENT if self.sound.is_silent else None


@dataclass(slots=True)
class Studio:
    """A model with what it needs to make videos; one thread at a time for each method."""

    head: TalkingHead
    title: str
    """The model's name, version and digest, as the video says it."""
    provider: FaceProvider
    sandbox: MediaSandbox
    limits: HeadLimits
    settings: RenderSpec = field(default_factory=RenderSpec)
    """Of all videos, where an order says nothing."""

    def prepare(
        self, order: Order, style: StyleCard, folder: Path, provider: FaceProvider | None = None
    ) -> Scene:
        """Decode portrait and sound; two files of sound stay in the folder.

        Args:
            provider: another one than the studio's own; the probe knows its face.

        Raises:
            Refusal: 415, 413 or 422 with the code of the MediaError, naming the part.
        """
        spec = self._spec(order.fields)
        portrait = self._portrait(order.portrait, provider, spec)
        return Scene(
            portrait=portrait,
            sound=self._sound(order.audio, folder, spec),
            style=style,
            spec=spec,
            tags=provenance_tags(
                model=self.title,
                model_digest=self.head.digest,
                portrait_sha256=hashlib.sha256(order.portrait).hexdigest(),
                audio_sha256=hashlib.sha256(order.audio).hexdigest(),
                style=style.name,
                style_digest=style.digest,
                settings_digest=spec.digest(),
            ),
        )

    def render(
        self, scene: Scene, out: Path, *, stop: threading.Event, told: Callable[[int, int], None]
    ) -> RenderedClip:
        """Write the video; `told` hears frames done and frames in all after each.

        Raises:
            Abandoned: `stop` was set; no file is left.
        """

        def progress(done: int, total: int) -> None:
            if stop.is_set():
                raise Abandoned
            told(done, total)

        if stop.is_set():
            raise Abandoned
        return render_clip(
            self.head, scene.portrait, scene.sound, scene.style, out, scene.spec, tags=scene.tags,
            progress=progress,
        )  # fmt: skip

    def _spec(self, fields: AnimationFields) -> RenderSpec:
        changes = {
            "fps": fields.fps,
            "size": fields.size,
            "seed": fields.seed,
            "longest_s": self.limits.audio_s,
        }
        return self.settings.model_copy(update=changes)

    def _portrait(self, data: bytes, provider: FaceProvider | None, spec: RenderSpec) -> Portrait:
        bounds = ImageLimits(
            max_bytes=self.limits.body_bytes, max_pixels=self.limits.portrait_pixels
        )
        try:
            return portrait_for(
                self.head,
                self.sandbox.decode_image(data, limits=bounds),
                provider or self.provider,
                ANY_FACE if provider is not None else spec.portrait,
            )
        except MediaError as err:
            raise refusal_of_media(err, field="portrait") from None

    def _sound(self, data: bytes, folder: Path, spec: RenderSpec) -> Sound:
        path = folder / "sound"
        path.write_bytes(data)
        try:
            return open_sound(
                path, self.sandbox, folder, shortest_s=spec.shortest_s, longest_s=spec.longest_s
            )
        except MediaError as err:
            told = MediaError(err.code, str(err).replace(str(path), "audio"))
            raise refusal_of_media(told, field="audio") from None
        finally:
            path.unlink()


def probe_order(style: StyleCard) -> tuple[Order, FaceProvider]:
    """A short order that proves a replica: the style's own face hums; and who finds that face."""
    at = np.arange(round(PROBE_S * PROBE_HZ)) / PROBE_HZ
    samples = (np.sin(2 * np.pi * 180.0 * at) * 8000).astype("<i2")
    sink = io.BytesIO()
    with wave.open(sink, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(PROBE_HZ)
        out.writeframes(samples.tobytes())
    order = Order(
        portrait=style.pictures[0], audio=sink.getvalue(), fields=AnimationFields(fps=24.0)
    )
    return order, _KnownFace(style.points[0])


class _KnownFace:
    """Finds the one face whose points are known for a picture of a known size."""

    name, licence = "known", "none"

    def __init__(self, points: Landmarks) -> None:
        self._points = points

    def detect(self, image: Image) -> list[Face]:
        """The box of the points; the picture may have been enlarged."""
        left, top = np.floor(self._points.min(axis=0))
        right, bottom = np.ceil(self._points.max(axis=0))
        return [Face(box=(int(left), int(top), int(right), int(bottom)), score=1.0)]

    def landmarks(self, image: Image, box: Box) -> Landmarks:
        """The points."""
        return self._points
