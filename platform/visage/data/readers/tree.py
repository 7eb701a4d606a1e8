"""The files under a corpus root, listed once, sorted, and never outside the root.

Invariant: every path in a `Tree` is relative, uses forward slashes, and stays inside the root after
links are resolved (an object store has none). Layouts look only at a `Tree`, so that they cannot
read what was not listed.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from visage.data.corpus_files import CorpusFiles, LocalFiles, StoreFiles, open_files
from visage.errors import DataError, NotFoundError

__all__ = [
    "AUDIO_SUFFIXES",
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Tree",
    "media_kind",
    "scan",
    "stem_of",
    "suffix_of",
]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".flv", ".m4v"})
AUDIO_SUFFIXES = frozenset({".wav", ".mp3", ".m4a", ".flac", ".aac"})
_UNREAD = frozenset({".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif", ".svg"})
_LITTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What lies under a root."""

    source: CorpusFiles
    """Local folders are absolute, links resolved."""
    files: tuple[str, ...]
    """Relative paths with forward slashes, sorted; hidden files and litter left out."""
    notes: tuple[str, ...]
    """Sentences about what was left out."""

    @property
    def root(self) -> str:
        """Path or URI, for messages."""
        return self.source.uri

    def media(self) -> Iterator[tuple[str, Literal["image", "video"]]]:
        """Each picture and clip with its kind."""
        for path in self.files:
            kind = media_kind(path)
            if kind is not None:
                yield path, kind

    def text(self, path: str) -> str:
        """A listed text file; raises DataError if it is not UTF-8."""
        try:
            return self.source.read(path).decode("utf-8-sig")
        except (NotFoundError, UnicodeDecodeError) as err:
            raise DataError(f"{self.root}/{path}: not readable as text: {err}") from None


def media_kind(path: str) -> Literal["image", "video"] | None:
    """What the suffix says: a picture, a clip, or neither."""
    suffix = suffix_of(path)
    if suffix in IMAGE_SUFFIXES:
        return "image"
    return "video" if suffix in VIDEO_SUFFIXES else None


def suffix_of(path: str) -> str:
    """The last suffix in lower case, with its dot."""
    return posixpath.splitext(path)[1].lower()


def stem_of(path: str) -> str:
    """The file name without its last suffix; dots inside it stay."""
    return posixpath.splitext(posixpath.basename(path))[0]


def scan(root: str | Path) -> Tree:
    """List a corpus; raises DataError if nothing is there or if a link in it leaves it."""
    source = open_files(root)
    skipped = {"linked folders": 0, "broken links": 0}
    if isinstance(source, StoreFiles):
        files = [path for path in source.listing if _is_plain(path)]
        if not files:
            raise DataError(f"{source.uri}: nothing there; give the prefix that holds the corpus")
    else:
        if not source.root.is_dir():
            raise DataError(f"{source.root}: no such folder; give the folder that holds the corpus")
        source = LocalFiles(source.root.resolve())
        files = _walk(source.root, skipped)
    skipped["pictures of formats that are not read (.gif, .bmp, …)"] = sum(
        suffix_of(name) in _UNREAD for name in files
    )
    notes = tuple(f"{count} {what} left out" for what, count in skipped.items() if count)
    return Tree(source=source, files=tuple(sorted(files)), notes=notes)


def _walk(base: Path, skipped: dict[str, int]) -> list[str]:
    files: list[str] = []
    for folder, folders, names in os.walk(base, onerror=_refuse_unreadable):
        folders[:] = [name for name in folders if _is_wanted(name)]
        wanted = [name for name in names if _is_wanted(name)]
        for name in (*folders, *wanted):
            _check_link(base, os.path.join(folder, name), skipped)
        here = Path(folder).relative_to(base).as_posix()
        prefix = "" if here == "." else f"{here}/"
        files += (f"{prefix}{name}" for name in wanted if os.path.isfile(f"{folder}/{name}"))
    _refuse_broken_names(base, files)
    return files


def _refuse_unreadable(err: OSError) -> None:
    raise DataError(f"{err.filename}: this folder cannot be listed ({err.strerror}); grant access")


def _refuse_broken_names(base: Path, files: Sequence[str]) -> None:
    broken = [name for name in files if not _is_text(name)]
    if broken:
        raise DataError(
            f"{base}: {len(broken)} file names are not UTF-8, for example {broken[0]!r}; "
            "rename them, so that keys are the same on every machine"
        )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_plain(key: str) -> bool:
    """Whether an object's key could be a file's path, and one that is looked at."""
    parts = key.split("/")
    return "\\" not in key and all(part and _is_wanted(part) for part in parts)


def _is_wanted(name: str) -> bool:
    return not name.startswith(".") and name.casefold() not in _LITTER


def _check_link(base: Path, name: str, skipped: dict[str, int]) -> None:
    if not os.path.islink(name):
        return
    path = Path(name)
    target = path.resolve()
    if not target.is_relative_to(base):
        raise DataError(
            f"{path}: this link leaves the corpus (to {target}); copy the files under {base}, "
            "or give the folder that holds them all"
        )
    if not target.exists():
        skipped["broken links"] += 1
    elif target.is_dir():
        skipped["linked folders"] += 1
