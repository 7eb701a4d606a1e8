"""What makes two renders the same: the key of a row, and the task that carries it to a worker.

The key is a digest of the bytes that go in (portrait, sound), of the model, the style, the spec,
what finds the face and the device. File names are not in it: the same content is rendered once,
wherever it lies.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from visage.data.corpus_files import CorpusFiles
from visage.errors import MediaError
from visage.media.sandbox.files import opened_media
from visage.specs.render import RenderSpec

__all__ = ["RenderSetting", "RenderTask", "StyleRef", "file_digests", "row_key", "sha256_or_none"]

VERSION = "2"
"""Of the renderer; raise it with any change that gives other frames for the same inputs."""
HASHED_AT_ONCE = 64
"""Files of a store that lie on this machine while they are hashed."""
HASHERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleRef:
    """A published style: where it lies, and which content is meant."""

    name: str
    uri: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderSetting:
    """What all rows of a job share."""

    model: str
    """For people: name, version and digest."""
    model_uri: str
    model_digest: str
    faces: str
    """Full name of the provider that finds faces and landmarks."""
    device: str
    """What paints: half precision on a GPU gives other frames than a CPU."""
    spec: RenderSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderTask:
    """One video to make; small and plain, so that it can travel."""

    key: str
    portrait: str
    """Relative to the table's root, as is `audio`."""
    audio: str
    portrait_sha256: str
    audio_sha256: str
    style: StyleRef


def row_key(
    setting: RenderSetting,
    *,
    portrait_sha256: str,
    audio_sha256: str,
    style_digest: str,
) -> str:
    """The identity of one video, 64 hexadecimal digits."""
    facts = {
        "version": VERSION,
        "portrait": portrait_sha256,
        "audio": audio_sha256,
        "model": setting.model_digest,
        "style": style_digest,
        "spec": setting.spec.digest(),
        "faces": setting.faces,
        "device": setting.device,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def file_digests(files: CorpusFiles, paths: Iterable[str]) -> dict[str, str | None]:
    """SHA-256 of each file, read once and in pieces; None where there is no regular file.

    Nothing is decoded. Files of a store come to this machine a few at a time.
    """
    found: dict[str, str | None] = {}
    with ThreadPoolExecutor(HASHERS, thread_name_prefix="hash") as pool:
        for some in _pieces(paths):
            with files.at_hand(some) as root:
                digests = pool.map(sha256_or_none, (root / one for one in some))
                found.update(zip(some, digests, strict=True))
    return found


def sha256_or_none(path: Path) -> str | None:
    """SHA-256 of a regular file, or None."""
    try:
        with opened_media(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (MediaError, OSError):
        return None


def _pieces(paths: Iterable[str]) -> Iterator[Sequence[str]]:
    distinct = list(dict.fromkeys(paths))
    for at in range(0, len(distinct), HASHED_AT_ONCE):
        yield distinct[at : at + HASHED_AT_ONCE]
