"""The store on a local or shared folder.

Put-if-absent is a hard link from a complete, synced temporary file: the link fails if the name is
taken, and a reader never sees half a file. Temporary files start with `.tmp-` and are skipped by
listings.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from stat import S_ISREG

from visage.errors import AlreadyExistsError, NotFoundError, StoreError
from visage.faultpoints import fault_point
from visage.store.base import Stat, check_key, check_prefix

__all__ = ["LocalStore"]

TEMPORARY = ".tmp-"


class LocalStore:
    """Objects are files below a folder; the folder appears with the first write."""

    def __init__(self, root: Path) -> None:
        self._root = root.expanduser().absolute()

    @property
    def uri(self) -> str:
        """The absolute path of the folder."""
        return str(self._root)

    def path(self, key: str) -> Path:
        """Where the object lies, for memory mapping."""
        return self._root / check_key(key)

    def get(self, key: str) -> bytes:
        """The whole object; NotFoundError if there is none."""
        try:
            return self.path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFoundError(f"{self.path(key)}: no such object") from None
        except OSError as err:
            raise StoreError(f"{self.path(key)}: cannot be read: {err.strerror}") from err

    def put(self, key: str, body: bytes) -> None:
        """Create the object; AlreadyExistsError if the key is taken."""
        fault_point("store.put.before_write")
        temporary = self._write(key, body)
        self._publish(temporary, key)

    def replace(self, key: str, body: bytes) -> None:
        """Create or replace the object atomically."""
        temporary = self._write(key, body)
        os.replace(temporary, self.path(key))
        _sync_folder(self.path(key).parent)

    def upload(self, key: str, source: Path) -> None:
        """Create the object from a file, put-if-absent."""
        fault_point("store.put.before_write")
        temporary = self._temporary(key)
        self._guard(lambda: shutil.copyfile(source, temporary), temporary, key)
        _sync_file(temporary)
        self._publish(temporary, key)

    def download(self, key: str, target: Path) -> None:
        """Copy the object to a file atomically."""
        source = self.path(key)
        if not source.is_file():
            raise NotFoundError(f"{source}: no such object")
        temporary = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, temporary)
            os.replace(temporary, target)
        except OSError as err:
            temporary.unlink(missing_ok=True)
            raise StoreError(f"{source}: cannot be copied to {target}: {err.strerror}") from err

    def stat(self, key: str) -> Stat | None:
        """Size of the object, or None if there is none."""
        try:
            found = os.stat(f"{self._root}/{check_key(key)}")  # a Path takes six times as long
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not S_ISREG(found.st_mode):
            return None
        return Stat(key=key, size_bytes=found.st_size, version=str(found.st_mtime_ns))

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """All objects whose key starts with the prefix, in key order."""
        folder = self._root / check_prefix(prefix).rpartition("/")[0]
        found = (
            Path(place, name)
            for place, _, names in os.walk(folder)  # passes over folders that vanish meanwhile
            for name in names
            if not name.startswith(TEMPORARY)
        )
        keys = sorted(path.relative_to(self._root).as_posix() for path in found)
        for key in keys:
            item = self.stat(key) if key.startswith(prefix) else None
            if item is not None:  # else it was deleted in the meantime
                yield item

    def delete(self, key: str) -> None:
        """Remove the object; no error if there is none."""
        if self.stat(key) is not None:
            self.path(key).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # a folder that still holds something stays
                self.path(key).parent.rmdir()

    def at(self, prefix: str) -> LocalStore:
        """The same store rooted deeper."""
        return LocalStore(self._root / check_key(prefix))

    def _temporary(self, key: str) -> Path:
        path = self.path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise StoreError(f"{path.parent}: is a file, a folder is needed there") from None
        except OSError as err:
            raise StoreError(f"{path.parent}: cannot be created: {err.strerror}") from err
        return path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"

    def _write(self, key: str, body: bytes) -> Path:
        temporary = self._temporary(key)
        self._guard(lambda: temporary.write_bytes(body), temporary, key)
        _sync_file(temporary)
        return temporary

    def _guard(self, write: Callable[[], object], temporary: Path, key: str) -> None:
        try:
            try:
                write()
            except FileNotFoundError:  # a delete beside us just removed the folder as empty
                temporary.parent.mkdir(parents=True, exist_ok=True)
                write()
        except OSError as err:
            temporary.unlink(missing_ok=True)
            free_mib = shutil.disk_usage(self._existing_root()).free >> 20
            raise StoreError(
                f"{self.path(key)}: cannot be written: {err.strerror} ({free_mib} MiB free)"
            ) from err

    def _existing_root(self) -> Path:
        at = self._root
        while not at.exists():
            at = at.parent
        return at

    def _publish(self, temporary: Path, key: str) -> None:
        fault_point("store.put.before_publish")
        target = self.path(key)
        try:
            os.link(temporary, target)
        except FileExistsError:
            raise AlreadyExistsError(f"{target}: exists already") from None
        except OSError as err:
            raise StoreError(
                f"{target}: cannot be published by a hard link: {err.strerror}; use a folder on a "
                "file system that has them, or s3://"
            ) from err
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(target.parent)
        fault_point("store.put.after_publish")


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
