"""Typed clients of the two endpoints.

    with EmotionClient("http://127.0.0.1:8000") as client:
        [reply] = client.emotion([Path("party.jpg").read_bytes()])
        print(reply.faces[0].label)

    with TalkingHeadClient("http://127.0.0.1:8000") as client:
        clip = client.animate(Path("me.jpg").read_bytes(), Path("speech.wav").read_bytes())
        Path("me.mp4").write_bytes(clip.video)

Both ask again, within one budget of time, for what failed before an answer came (`asking`).
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Self, TypeVar

import httpx
from pydantic import ValidationError

from visage.faces.provider import Box
from visage_serve.asking import Answer, Asker, EndpointError, EndpointUnavailableError
from visage_serve.wire import (
    EmotionReply,
    ErrorDetail,
    ImageReply,
    ServiceReply,
    StylesReply,
    WireModel,
)

__all__ = [
    "EmotionClient",
    "EndpointError",
    "EndpointUnavailableError",
    "TalkingClip",
    "TalkingHeadClient",
]

M = TypeVar("M", bound=WireModel)


class _Client:
    """What both have: connections, a budget, and the question which models answer."""

    TIMEOUT_S: ClassVar[float]
    BUDGET_S: ClassVar[float]

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float | None = None,
        budget_s: float | None = None,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._asker = Asker(
            url,
            timeout_s=self.TIMEOUT_S if timeout_s is None else timeout_s,
            budget_s=self.BUDGET_S if budget_s is None else budget_s,
            transport=transport,
            clock=clock,
            sleep=sleep,
            uniform=uniform,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._asker.close()

    def service(self) -> ServiceReply:
        """Which models answer there, and what a request may bring."""
        request = self._asker.build("GET", "/v1/models")
        return _parsed(ServiceReply, self._asker.answer(request))


class EmotionClient(_Client):
    """Asks for the emotions in pictures; close it, or use it in a `with`.

    Args:
        url: for example `http://127.0.0.1:8000`.
        timeout_s: of one try; a minute by default.
        budget_s: of all tries together, waits included; two minutes by default.
    """

    TIMEOUT_S = 60.0
    BUDGET_S = 120.0

    def emotion(
        self,
        pictures: Sequence[bytes],
        boxes: Sequence[Sequence[Box] | None] | None = None,
        *,
        overlay: bool = False,
    ) -> list[ImageReply]:
        """One entry for each picture, in order.

        Args:
            pictures: the bytes of JPEG, PNG or WebP files.
            boxes: for each picture its face boxes, or None to have the faces found.
            overlay: whether each entry brings the picture with the result drawn in.

        Raises:
            EndpointError: the request was refused. Of several pictures one that cannot be used
                raises nothing: its entry has `error`.
            EndpointUnavailableError: no answer within the budget.
        """
        return self.ask(pictures, boxes, overlay=overlay).images

    def ask(
        self,
        pictures: Sequence[bytes],
        boxes: Sequence[Sequence[Box] | None] | None = None,
        *,
        overlay: bool = False,
    ) -> EmotionReply:
        """Like `emotion`, with the model and the timing beside the entries."""
        files = [("image", ("picture", data, "application/octet-stream")) for data in pictures]
        form = {} if boxes is None else {"boxes": json.dumps(boxes)}
        request = self._asker.build(
            "POST",
            "/v1/emotion",
            files=files,
            data=form,
            params={"overlay": "true"} if overlay else {},
        )
        return _parsed(EmotionReply, self._asker.answer(request))


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkingClip:
    """A finished video and what the endpoint says of it."""

    video: bytes
    """An MP4 file: H.264 and AAC."""
    frames: int
    style: str
    model: str
    """Name, version and the start of the digest."""
    note: str | None
    """What a person should know, for example that the sound is silent."""


class TalkingHeadClient(_Client):
    """Asks for videos; close it, or use it in a `with`.

    Args:
        url: for example `http://127.0.0.1:8000`.
        timeout_s: of one try; a little more than the endpoint's own limit by default.
        budget_s: of all tries together, waits included; twenty minutes by default.
    """

    TIMEOUT_S = 660.0
    BUDGET_S = 1200.0

    def animate(
        self,
        portrait: bytes,
        audio: bytes,
        *,
        style: str | None = None,
        fps: float | None = None,
        size: int | None = None,
        seed: int | None = None,
    ) -> TalkingClip:
        """A video of the portrait that says the sound.

        Args:
            portrait: the bytes of a JPEG, PNG or WebP file that shows one face.
            audio: the bytes of a sound or a clip: WAV, MP3, M4A, FLAC, Ogg, MP4.
            style, fps, size, seed: None leaves the choice to the endpoint.

        Raises:
            EndpointError: the request was refused; `detail.code` says why, `detail.field` where.
            EndpointUnavailableError: no answer within the budget.
        """
        named = {"style": style, "fps": fps, "size": size, "seed": seed}
        unnamed = "application/octet-stream"
        request = self._asker.build(
            "POST",
            "/v1/talking-head",
            files={
                "portrait": ("portrait", portrait, unnamed),
                "audio": ("audio", audio, unnamed),
            },
            data={name: str(value) for name, value in named.items() if value is not None},
        )
        answer = self._asker.answer(request)
        told = answer.headers
        try:
            return TalkingClip(
                video=answer.body,
                frames=int(told["x-visage-frames"]),
                style=told["x-visage-style"],
                model=told["x-visage-model"],
                note=told.get("x-visage-note"),
            )
        except (KeyError, ValueError):
            raise _foreign() from None

    def styles(self) -> StylesReply:
        """The styles that a video can have there."""
        answer = self._asker.answer(self._asker.build("GET", "/v1/styles"))
        return _parsed(StylesReply, answer)


def _parsed(kind: type[M], answer: Answer) -> M:
    try:
        return kind.model_validate_json(answer.body)
    except ValidationError:
        raise _foreign() from None


def _foreign() -> EndpointError:
    message = "the answer is none of Visage's; is something else behind this URL?"
    return EndpointError(200, ErrorDetail(code="unknown", message=message))
