"""The process that decodes: it is given bytes or an open file, and answers with pixels or a code.

Started by `visage.media.sandbox.process` as `python -m visage.media.sandbox.child PARENT SOCKET
WINDOW`. It loads everything it will need, gives up every right it will not need, and only then says
hello.
"""

from __future__ import annotations

import importlib
import io
import mmap
import os
import signal
import socket
import sys
import time
import wave
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from visage.errors import MediaError, SpecError
from visage.media.audio import decode_audio
from visage.media.container import OpenFile
from visage.media.image import decode_image
from visage.media.limits import AudioLimits, ImageLimits, VideoLimits
from visage.media.sandbox.frame_runs import FrameRun, HeldClip
from visage.media.sandbox.guard import lock_down
from visage.media.sandbox.window import open_window
from visage.media.sandbox.wire import BrokenWireError, Channel
from visage.media.video import iter_frames, probe_video, read_frame

__all__ = ["OPERATIONS", "Operation", "Request", "run_child"]

Answer = NDArray[Any] | FrameRun | Mapping[str, Any]

MAX_MESSAGE_CHARACTERS = 500
_TEXT_CODECS = ("ascii", "latin_1", "utf_8", "utf_16", "utf_16_le", "utf_16_be", "utf_32", "cp1252")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One thing to decode."""

    limits: Mapping[str, Any]
    arguments: Mapping[str, Any]
    payload: bytes
    file: OpenFile | None


Operation = Callable[[Request], Answer]
"""Pixels or samples as an array, frames as a run of them; facts as a mapping."""
_HELD = HeldClip()


def _image(request: Request) -> Answer:
    return decode_image(request.payload, limits=ImageLimits(**request.limits))


def _probe(request: Request) -> Answer:
    return asdict(probe_video(_file(request), limits=VideoLimits(**request.limits)))


def _frame(request: Request) -> Answer:
    limits = VideoLimits(**request.limits)
    return read_frame(_file(request), request.arguments["index"], limits=limits)


def _frames(request: Request) -> Answer:
    limits, span = VideoLimits(**request.limits), request.arguments
    height, width = span["size"]
    return _HELD.read(
        span["reading"],
        _file(request),
        limits,
        start=span["start"],
        stop=span["stop"],
        size=(height, width),
    )


def _count(request: Request) -> Answer:
    limits = VideoLimits(**request.limits)
    return {"frames": sum(1 for _ in iter_frames(_file(request), limits=limits))}


def _sound(request: Request) -> Answer:
    limits = AudioLimits(**request.limits)
    found = decode_audio(_file(request), limits=limits, **request.arguments)
    return found if found.size else {"samples": 0}


OPERATIONS: Mapping[str, Operation] = {
    "image": _image,
    "probe": _probe,
    "frame": _frame,
    "frames": _frames,
    "count": _count,
    "sound": _sound,
}


def run_child(operations: Mapping[str, Operation] = OPERATIONS) -> None:
    """Lock this process down, then answer requests until the parent closes the socket."""
    parent_pid, *descriptors = map(int, sys.argv[1:])
    channel = Channel(socket.socket(fileno=descriptors[0]))
    window = open_window(descriptors[1]) if len(descriptors) > 1 else None
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    _load_everything()
    guards = lock_down(parent_pid)
    _rehearse()
    channel.send({"guards": guards}, memoryview(b""))
    try:
        while True:
            _serve_one(channel, window, operations)
    except BrokenWireError:
        return


def _serve_one(
    channel: Channel, window: mmap.mmap | None, operations: Mapping[str, Operation]
) -> None:
    head, payload_bytes, descriptor = channel.receive_head()
    body = bytearray(payload_bytes)
    channel.receive_into(memoryview(body))
    file = None if descriptor is None else os.fdopen(descriptor, "rb")
    payload = memoryview(b"")
    if head["operation"] != "frames":
        _HELD.let_go()
    try:
        request = Request(
            limits=head["limits"],
            arguments=head["arguments"],
            payload=bytes(body),
            file=None if file is None else OpenFile(head["name"], file),
        )
        reply, payload = _answered(operations[head["operation"]], request)
    finally:
        if file is not None and not _HELD.keeps(file):
            file.close()
    if window is not None and 0 < payload.nbytes <= len(window):
        window[: payload.nbytes] = payload
        reply, payload = {**reply, "in_window": True}, memoryview(b"")
    channel.send({**reply, "cpu_s": time.process_time()}, payload)


def _answered(operation: Operation, request: Request) -> tuple[dict[str, Any], memoryview]:
    nothing = memoryview(b"")
    try:
        answer = operation(request)
    except MediaError as err:
        return {"code": err.code, "message": str(err)[:MAX_MESSAGE_CHARACTERS]}, nothing
    except SpecError as err:
        return {"code": "spec", "message": str(err)[:MAX_MESSAGE_CHARACTERS]}, nothing
    except MemoryError:
        return {"code": "too_large", "message": "does not fit into the decoder's memory"}, nothing
    except Exception as err:  # the outcome is a code: one strange file must not end the process
        message = f"the decoder failed: {type(err).__name__}: {err}"
        return {"code": "crashed", "message": message[:MAX_MESSAGE_CHARACTERS]}, nothing
    if isinstance(answer, FrameRun):
        if not len(answer.frames):
            return {"facts": {"frames": 0}}, nothing
        reply, payload = _as_array(answer.frames)
        return {**reply, "times_s": answer.times_s}, payload
    if isinstance(answer, np.ndarray):
        return _as_array(answer)
    return {"facts": dict(answer)}, nothing


def _as_array(answer: NDArray[Any]) -> tuple[dict[str, Any], memoryview]:
    whole = np.ascontiguousarray(answer)
    return {"shape": whole.shape, "dtype": whole.dtype.name}, memoryview(whole.data).cast("B")


def _file(request: Request) -> OpenFile:
    if request.file is None:
        raise SpecError("this operation needs a file")
    return request.file


def _load_everything() -> None:
    """Import what libraries import late: afterwards no file can be opened any more."""
    for name in _TEXT_CODECS:
        importlib.import_module(f"encodings.{name}")
    Pillow.init()
    _rehearse()


def _rehearse() -> None:
    """Decode a picture of each kind and a sound, to meet what is missing before a user does."""
    for kind in ("JPEG", "PNG", "WEBP"):
        picture = io.BytesIO()
        Pillow.new("RGB", (8, 8)).save(picture, kind)
        decode_image(picture.getvalue())
    sound = io.BytesIO()
    with wave.open(sound, "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))
        out.writeframes(bytes(1600))
    sound.seek(0)
    with av.open(sound, "r", format="wav") as container:
        for frame in container.decode(audio=0):
            frame.to_ndarray()


if __name__ == "__main__":
    run_child()
