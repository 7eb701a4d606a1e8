"""What is known about every frame of a drawn clip, so that no tracker has to find it.

A corpus that was drawn holds, for the clip at `dev/mp4/…/00001.mp4`, the file
`truth/dev/mp4/…/00001.safetensors`: arrays by frame, and one JSON text with the rest under the
key `truth` of its metadata. One key, because the order of several is not stated, and the same clip
shall give the same bytes.
"""

from __future__ import annotations

import json
import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from visage.data.corpus_files import open_files
from visage.data.records import Record
from visage.errors import CorruptError, NotFoundError

__all__ = ["ClipTruth", "Phone", "pack_truth", "read_truth", "truth_path", "unpack_truth"]

SCHEMA = "visage.clip-truth/1"
_KEY = "truth"
_SHAPES: dict[str, tuple[int, ...]] = {
    "points": (68, 2),
    "shape": (68, 3),
    "pose": (3,),
    "mouth": (3,),
}

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phone:
    """One sound of a clip."""

    symbol: str
    """a e i o u ə m b p s f ʃ, or _ for silence."""
    start_s: float
    stop_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipTruth:
    """One clip, frame by frame; n is the number of its frames."""

    fps: float
    width: int
    """Of the picture, pixels."""
    height: int
    style: str
    """How the person speaks; empty if unknown."""
    points: Floats
    """The 68 points in pixels of the picture, (n, 68, 2); pixel centres are whole numbers."""
    shape: Floats
    """The same points on the unturned head, (n, 68, 3): x right, y down, z away from the viewer.

    The unit is half the distance of the ears, the origin lies between the eyes. The picture is
    their orthographic projection: points = a · (R · shape)[:2] + b with a and b of the frame.
    """
    pose: Floats
    """Pitch, yaw and roll in degrees, (n, 3), signs and order as in `visage.faces.pose`."""
    mouth: Floats
    """Opening in [0, 1], spread in [-1, 1] (rounded to wide) and press in [0, 1], (n, 3)."""
    phones: tuple[Phone, ...]
    """In order, without gaps."""


def truth_path(clip_path: str) -> str:
    """Where the truth of a clip lies, relative to the corpus root like the clip's own path."""
    return f"truth/{posixpath.splitext(clip_path)[0]}.safetensors"


def read_truth(root: str | Path, record: Record) -> ClipTruth | None:
    """The truth of a clip, or None where the corpus holds none (as all real ones).

    Raises:
        CorruptError: the file is there and is not what it should be.
    """
    path = truth_path(record.path)
    try:
        body = open_files(root).read(path)
    except NotFoundError:
        return None
    return unpack_truth(body, origin=f"{root}/{path}")


def pack_truth(truth: ClipTruth) -> bytes:
    """The bytes of a truth file; equal truths give equal bytes."""
    arrays = {
        name: np.ascontiguousarray(getattr(truth, name), dtype=np.float32) for name in _SHAPES
    }
    stated = {
        "schema": SCHEMA,
        "fps": truth.fps,
        "width": truth.width,
        "height": truth.height,
        "style": truth.style,
        "phones": [[one.symbol, one.start_s, one.stop_s] for one in truth.phones],
    }
    text = json.dumps(stated, separators=(",", ":"))
    return bytes(safetensors.numpy.save(arrays, metadata={_KEY: text}))


def unpack_truth(body: bytes, *, origin: str) -> ClipTruth:
    """Read the bytes of a truth file; `origin` names it in errors (CorruptError)."""
    try:
        arrays = safetensors.numpy.load(body)
        stated = _metadata(body)
        if stated["schema"] != SCHEMA:
            raise CorruptError(f"{origin}: schema {stated['schema']!r} is not {SCHEMA}; draw anew")
        frames = len(arrays["points"])
        for name, shape in _SHAPES.items():
            if arrays[name].shape != (frames, *shape) or arrays[name].dtype != np.float32:
                raise CorruptError(f"{origin}: {name} is {arrays[name].dtype} {arrays[name].shape}")
        return ClipTruth(
            fps=float(stated["fps"]),
            width=int(stated["width"]),
            height=int(stated["height"]),
            style=str(stated["style"]),
            points=arrays["points"],
            shape=arrays["shape"],
            pose=arrays["pose"],
            mouth=arrays["mouth"],
            phones=tuple(
                Phone(symbol=str(symbol), start_s=float(start), stop_s=float(stop))
                for symbol, start, stop in stated["phones"]
            ),
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as err:
        raise CorruptError(f"{origin}: not the truth of a clip: {err}; draw it anew") from None


def _metadata(body: bytes) -> dict[str, Any]:
    """The JSON text of the file's own metadata; the format puts a header's length in front."""
    length = int.from_bytes(body[:8], "little")
    return dict(json.loads(json.loads(body[8 : 8 + length])["__metadata__"][_KEY]))
