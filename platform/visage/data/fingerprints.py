"""What a picture is, as bytes, as pixels and to the eye: one fingerprint for each record.

Decoding runs in a few threads (the decoders let go of the interpreter) with a bounded number of
pictures under way, so memory holds no more of them. A picture that cannot be read becomes a
fingerprint with a problem, never an exception.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np

from visage.data.perceptual_hash import Thumbnail, perceptual_hash, thumbnail
from visage.data.records import Record
from visage.errors import MediaError
from visage.faces.provider import Image
from visage.media.limits import ImageLimits
from visage.media.sandbox import MediaSandbox, read_media

__all__ = ["Fingerprint", "fingerprint", "fingerprints"]

QUEUED_PER_WORKER = 8
TIMEOUT_S = 300.0
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fingerprint:
    """One record's content; the fields after `problem` are empty where the record is unreadable."""

    record: Record
    problem: str | None
    """Code of the MediaError that says why it cannot be used, or None."""
    bytes_sha256: str = ""
    """Of the file; for a frame of a clip, of the file and the frame's index."""
    pixels_sha256: str = ""
    """Of size and RGB values; for a whole clip, of its middle frame."""
    hash: int = 0
    mirrored_hash: int = 0
    """Hash of the same picture seen in a mirror."""
    thumb: Thumbnail | None = None
    width: int = 0
    height: int = 0


def fingerprint(root: Path, record: Record, sandbox: MediaSandbox) -> Fingerprint:
    """Read, decode and hash one record."""
    path = root / record.path
    try:
        digest, image = (
            _read_picture(path, sandbox)
            if record.kind == "image"
            else _read_clip(path, record.frame, sandbox)
        )
    except MediaError as err:
        return Fingerprint(record=record, problem=err.code)
    except FileNotFoundError:
        return Fingerprint(record=record, problem="not_found")
    except OSError:
        return Fingerprint(record=record, problem="truncated")
    height, width = image.shape[:2]
    thumb = thumbnail(image)
    pixels = hashlib.sha256(f"{width}x{height}:".encode())
    pixels.update(np.ascontiguousarray(image).data)
    return Fingerprint(
        record=record,
        problem=None,
        bytes_sha256=digest,
        pixels_sha256=pixels.hexdigest(),
        hash=perceptual_hash(thumb),
        mirrored_hash=perceptual_hash(np.ascontiguousarray(thumb[:, ::-1])),
        thumb=thumb,
        width=width,
        height=height,
    )


def fingerprints(
    root: Path,
    records: Sequence[Record],
    *,
    workers: int,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Fingerprint]:
    """Fingerprints in the order of the records; `progress` is told how many are done."""
    sandbox = MediaSandbox(workers)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="fingerprint")
    try:
        waiting = iter(records)
        pending: deque[tuple[Record, Future[Fingerprint]]] = deque(
            (record, pool.submit(fingerprint, root, record, sandbox))
            for record in islice(waiting, workers * QUEUED_PER_WORKER)
        )
        done = 0
        while pending:
            record, future = pending.popleft()
            try:
                result = future.result(timeout=TIMEOUT_S)
            except TimeoutError:
                result = Fingerprint(record=record, problem="timeout")
            for following in islice(waiting, 1):
                pending.append((following, pool.submit(fingerprint, root, following, sandbox)))
            done += 1
            if progress is not None:
                progress(done)
            yield result
    finally:
        # A decoder that hangs must not hold up the report.
        pool.shutdown(wait=False, cancel_futures=True)
        sandbox.close()


def _read_picture(path: Path, sandbox: MediaSandbox) -> tuple[str, Image]:
    data = read_media(path, max_bytes=ImageLimits().max_bytes)
    return hashlib.sha256(data).hexdigest(), sandbox.decode_image(data)


def _read_clip(path: Path, frame: int | None, sandbox: MediaSandbox) -> tuple[str, Image]:
    state = path.stat()
    digest = _file_sha256(path, state.st_size, state.st_mtime_ns)
    if frame is None:
        middle = max(0, sandbox.probe_video(path).frames // 2)
        return digest, sandbox.read_frame(path, middle)
    image = sandbox.read_frame(path, frame)
    return hashlib.sha256(f"{digest}#{frame}".encode()).hexdigest(), image


@lru_cache(maxsize=64)
def _file_sha256(path: Path, size_bytes: int, mtime_ns: int) -> str:
    """Checksum of a clip, kept for its other frames while size and time stay the same."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
