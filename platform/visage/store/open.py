"""Open a store by its URI."""

from __future__ import annotations

from pathlib import Path

from visage.errors import SpecError
from visage.store.base import Store
from visage.store.local import LocalStore

__all__ = ["open_store"]


def open_store(uri: str) -> Store:
    """The store at a folder path, `file:///path` or `s3://bucket/prefix`.

    Raises:
        SpecError: for any other scheme.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return LocalStore(Path(uri))
    if scheme == "file":
        return LocalStore(Path(rest))
    if scheme == "s3":
        from visage.store.s3 import S3Store  # boto3 costs 0.2 s, and laptops do without it

        bucket, _, prefix = rest.partition("/")
        if not bucket:
            raise SpecError(f"{uri}: write s3://bucket/prefix")
        return S3Store(bucket, prefix)
    raise SpecError(f"{uri}: unknown scheme {scheme!r}; use a path, file:// or s3://")
