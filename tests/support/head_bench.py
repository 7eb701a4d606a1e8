"""A whole talking-head service without Ray: a tiny model, drawn faces, a gate in the renderer."""

from __future__ import annotations

import asyncio
import hashlib
import io
import struct
import threading
import wave
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image as Pillow
from tiny_talking_head import FACE, DrawnFaces

from visage.inference.talking_head import TalkingHead
from visage.media.sandbox import MediaSandbox
from visage.specs.render import RenderSpec
from visage.specs.serve import ServeSpec
from visage_serve.api import build_api
from visage_serve.heads import HeadService
from visage_serve.scratch import Scratch
from visage_serve.studio import Studio
from visage_serve.styles import StyleShelf
from visage_serve.wire import HeadReply

__all__ = ["GatedStudio", "HeadBench", "huge_png", "nan_wav", "order", "portrait_png",
           "sha256", "speech_wav"]  # fmt: skip

TITLE = "talking-head/7 (cafe)"
MODEL = HeadReply(name="talking-head", version="7", digest="c" * 64, limits={})
FAST = RenderSpec.parse({"preset": "ultrafast", "crf": 35})


class GatedStudio(Studio):
    """Frames come only while the gate is open; counts what is rendered and how much at once."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.started = self.ended = self.most = self.frames = 0
        self.trouble: Exception | None = None

    def render(self, scene: Any, out: Path, *, stop: threading.Event, told: Any) -> Any:
        """As the real one, frame by frame."""

        def gated(done: int, total: int) -> None:
            self.entered.set()
            while not self.gate.wait(0.01):
                if stop.is_set():
                    return  # abandoned while it was stuck: no frame came, and none is told
            self.frames += 1
            told(done, total)

        self.started += 1
        self.most = max(self.most, self.started - self.ended)
        try:
            if self.trouble is not None:
                raise self.trouble
            return super().render(scene, out, stop=stop, told=gated)
        finally:
            self.ended += 1


class HeadBench:
    """The service behind its routes, and the means to talk to it."""

    def __init__(
        self, head: TalkingHead, sandbox: MediaSandbox, folder: Path, settings: dict[str, object]
    ) -> None:
        spec = ServeSpec.parse({"heads": settings})
        self.folder = folder
        self.scratch = Scratch(folder)
        self.studio = GatedStudio(
            head=head, title=TITLE, provider=DrawnFaces(FACE), sandbox=sandbox,
            limits=spec.heads.limits, settings=FAST,
        )  # fmt: skip
        self.service = HeadService(
            spec=spec.heads,
            model=MODEL,
            studio=self.studio,
            shelf=StyleShelf(head, spec.heads.styles_uri),
            scratch=self.scratch,
        )
        self.api = build_api(spec, heads=self.service)

    def close(self) -> None:
        """Let everything go."""
        self.studio.gate.set()
        self.service.close()
        self.scratch.close()

    def patient(self) -> None:
        """From now on wait long: what is awaited then is work, on a machine that may be busy."""
        changes = {"request_timeout_s": 20.0, "health_timeout_s": 20.0}
        self.service.spec = self.service.spec.model_copy(update=changes)

    def left(self) -> list[Path]:
        """Folders of requests, and what else is there now."""
        return [path for path in self.folder.glob("*/*") if path.name != "lock"]

    async def is_clean(self) -> None:
        """Return when no request has left anything behind; the test's own deadline ends it else."""
        while (
            self.left() or self.service.backlog.seconds or self.studio.started > self.studio.ended
        ):
            await asyncio.sleep(0.01)

    def run(self, talk: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
        """Run a conversation; errors inside the service are answers, as they are behind a port."""

        async def conversation() -> Any:
            transport = httpx.ASGITransport(self.api, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await asyncio.wait_for(talk(client), timeout=30.0)

        return asyncio.run(conversation())

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request."""

        async def talk(client: httpx.AsyncClient) -> httpx.Response:
            return await client.request(method, path, **options)

        answer: httpx.Response = self.run(talk)
        return answer

    def post(
        self, *, portrait: bytes | None = None, audio: bytes | None = None, **fields: Any
    ) -> Any:
        """One order."""
        return self.run(lambda client: order(client, portrait=portrait, audio=audio, **fields))


async def order(
    client: httpx.AsyncClient,
    *,
    portrait: bytes | None = None,
    audio: bytes | None = None,
    **fields: Any,
) -> httpx.Response:
    """Send one order; a good portrait and a good sound where none is given."""
    files = {
        "portrait": ("p.png", portrait_png() if portrait is None else portrait, "image/png"),
        "audio": ("a.wav", speech_wav() if audio is None else audio, "audio/wav"),
    }
    data = {name: str(value) for name, value in fields.items()}
    return await client.post("/v1/talking-head", files=files, data=data)


def portrait_png(side: int = 256) -> bytes:
    """Noise in which the drawn provider sees its face."""
    sink = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
    Pillow.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def huge_png() -> bytes:
    """A picture whose header states more pixels than anybody accepts."""
    body = bytearray(portrait_png(8))
    body[16:24] = (50_000).to_bytes(4, "big") * 2
    body[29:33] = zlib.crc32(body[12:29]).to_bytes(4, "big")
    return bytes(body)


def speech_wav(
    seconds: float = 0.5,
    *,
    level: float = 0.3,
    rate_hz: int = 16_000,
    channels: int = 1,
) -> bytes:
    """Noise that is loud enough to be heard."""
    shape = (round(seconds * rate_hz), channels)
    noise = np.random.default_rng(1).uniform(-level, level, shape)
    sink = io.BytesIO()
    with wave.open(sink, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes((noise * 32767).astype("<i2").tobytes())
    return sink.getvalue()


def nan_wav(rate_hz: int = 16_000) -> bytes:
    """Half a second of floats, one of which is no number."""
    samples = np.zeros(rate_hz // 2, "<f4")
    samples[100] = np.nan
    body = samples.tobytes()
    form = struct.pack("<HHIIHH", 3, 1, rate_hz, 4 * rate_hz, 4, 32)
    head = b"RIFF" + struct.pack("<I", 36 + len(body)) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return head + b"data" + struct.pack("<I", len(body)) + body


def sha256(body: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(body).hexdigest()
