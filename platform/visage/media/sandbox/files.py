"""Opening files that somebody else laid out: regular files only, and never more than a bound."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visage.errors import MediaError

__all__ = ["media_sha256", "opened_media", "read_media"]


@contextmanager
def opened_media(path: Path) -> Iterator[int]:
    """A descriptor of a regular file, closed on leaving.

    A pipe would wait for ever for its writer, and a device never end. Raises MediaError
    `not_found`.
    """
    try:
        # Without O_NONBLOCK even opening a pipe waits.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as err:
        raise MediaError("not_found", f"{path}: {err.strerror}") from None
    except ValueError:
        raise MediaError("not_found", f"{str(path)!r} is no name of a file") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise MediaError("not_found", f"{path}: no regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def read_media(path: Path, *, max_bytes: int) -> bytes:
    """The bytes of a regular file.

    Raises MediaError: `not_found`, `too_large` beyond `max_bytes`, `truncated` where the disk
    cannot read it.
    """
    with opened_media(path) as descriptor, os.fdopen(descriptor, "rb", closefd=False) as file:
        try:
            body = file.read(max_bytes + 1)
        except OSError as err:
            raise MediaError("truncated", f"{path}: cannot be read: {err.strerror}") from err
    if len(body) > max_bytes:
        raise MediaError("too_large", f"{path}: more than {max_bytes} bytes are not accepted")
    return body


def media_sha256(path: Path) -> str:
    """Digest of a regular file in hexadecimal; it is never held whole.

    Raises MediaError: `not_found`, `truncated` where the disk cannot read it.
    """
    with opened_media(path) as descriptor, os.fdopen(descriptor, "rb", closefd=False) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as err:
            raise MediaError("truncated", f"{path}: cannot be read: {err.strerror}") from err
