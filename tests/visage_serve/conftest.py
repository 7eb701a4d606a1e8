"""A whole emotion service without Ray, weights or network: fakes that answer from the pixels."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from visage.faces.provider import Box, Face, Image, Landmarks
from visage.inference.emotion import EmotionBatch
from visage.media.sandbox import MediaSandbox
from visage.specs.emotion import EMOTIONS, EmotionInputSpec
from visage.specs.serve import ServeSpec
from visage_serve.api import build_api
from visage_serve.emotion import EmotionService, Forward
from visage_serve.network import Network
from visage_serve.pictures import Preparer
from visage_serve.wire import ModelReply

MODEL = ModelReply(name="emotion", version="3", digest="d" * 64, classes=list(EMOTIONS))
GRID = 7


class FakePredictor:
    """The class is the mean red of the face, in steps of 32: so an answer betrays its picture."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.fill: float | None = None

    def predict_batch(
        self, faces: NDArray[np.uint8], contexts: NDArray[np.uint8], context_boxes: NDArray[Any]
    ) -> EmotionBatch:
        """One-hot probabilities; waits while the gate is shut."""
        self.entered.set()
        assert self.gate.wait(timeout=20.0)
        reds = faces[..., 0].reshape(len(faces), -1).mean(axis=1)
        classes = (reds // 32).astype(int).clip(0, len(EMOTIONS) - 1)
        probabilities = np.eye(len(EMOTIONS), dtype=np.float32)[classes]
        if self.fill is not None:
            probabilities[:] = self.fill
        return EmotionBatch(
            probabilities=probabilities,
            branch_weights=np.full((len(faces), 2), 0.5, np.float32),
            attention=np.full((len(faces), GRID, GRID), 1 / GRID**2, np.float32),
        )


class FakeDetector:
    """One face in the middle; two in a wide picture; none in a black one."""

    name = "fake"
    licence = "none"

    def __init__(self) -> None:
        self.detected = 0

    def detect(self, image: Image) -> list[Face]:
        """Boxes from the picture's size."""
        self.detected += 1
        height, width = image.shape[:2]
        if not image.any():
            return []
        face = Face(box=(width // 4, height // 4, 3 * width // 4, 3 * height // 4), score=0.9)
        beside = Face(box=(-5, 0, width // 4, height), score=1.5)
        return [face, beside] if width > 2 * height else [face]

    def landmarks(self, image: Image, box: Box) -> Landmarks:
        """Never asked for."""
        raise AssertionError("serving needs no landmarks")


class Bench:
    """A service behind its routes, and the means to talk to it."""

    def __init__(
        self,
        spec: ServeSpec,
        forward: Callable[[Network], Forward] | None,
        sandbox: MediaSandbox,
    ) -> None:
        self.predictor = FakePredictor()
        self.network = Network(self.predictor)
        self.detectors: list[FakeDetector] = []
        preparer = Preparer(
            open_detector=self._open_detector,
            inputs=EmotionInputSpec(),
            limits=spec.limits,
            sandbox=sandbox,
            threads=spec.prepare_threads,
        )
        self.service = EmotionService(
            spec=spec,
            model=MODEL,
            preparer=preparer,
            network=self.network,
            forward=forward(self.network) if forward else None,
        )
        self.api = build_api(spec, emotion=self.service)

    def _open_detector(self) -> FakeDetector:
        self.detectors.append(FakeDetector())
        return self.detectors[-1]

    def detected(self) -> int:
        """Pictures whose faces were looked for so far."""
        return sum(each.detected for each in self.detectors)

    def run(self, talk: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
        """Run a conversation; errors inside the service are answers, as they are behind a port."""

        async def conversation() -> Any:
            transport = httpx.ASGITransport(self.api, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await asyncio.wait_for(talk(client), timeout=20.0)

        return asyncio.run(conversation())

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request."""

        async def talk(client: httpx.AsyncClient) -> httpx.Response:
            return await client.request(method, path, **options)

        answer: httpx.Response = self.run(talk)
        return answer

    @staticmethod
    def label_of(red: int) -> str:
        """What the fake network says of a picture with so much red."""
        return EMOTIONS[red // 32]

    def post(self, *pictures: bytes, boxes: str | None = None, query: str = "") -> httpx.Response:
        """One multipart request to the endpoint."""
        files = [("image", ("p", data, "image/png")) for data in pictures]
        data = {} if boxes is None else {"boxes": boxes}
        return self.ask("POST", f"/v1/emotion{query}", files=files, data=data)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[MediaSandbox]:
    """Decoders for all services of the session."""
    with MediaSandbox(4) as made:
        yield made


@pytest.fixture
def bench(sandbox: MediaSandbox) -> Iterator[Callable[..., Bench]]:
    """Make services; `forward` may replace the pass of each face."""
    made: list[Bench] = []

    def make(forward: Callable[[Network], Forward] | None = None, **settings: object) -> Bench:
        made.append(Bench(ServeSpec.parse(settings), forward, sandbox))
        return made[-1]

    yield make
    for each in made:
        each.predictor.gate.set()
        each.service.close()


@pytest.fixture
def png() -> Callable[..., bytes]:
    """A one-coloured PNG; `red` decides what the fake network answers."""

    def make(red: int = 100, width: int = 64, height: int = 48) -> bytes:
        sink = io.BytesIO()
        Pillow.new("RGB", (width, height), (red, red // 2, 9)).save(sink, "PNG")
        return sink.getvalue()

    return make
