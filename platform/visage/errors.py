"""Every error a user can meet, one class for one meaning.

    VisageError                 exit 1
    ├── SpecError               exit 2   a spec, flag or argument is wrong
    ├── StoreError              exit 1
    │   ├── NotFoundError                nothing under that URI
    │   ├── AlreadyExistsError           put-if-absent lost the race
    │   └── StoreUnavailableError exit 75  the retry budget is spent; try again later
    │       └── RescuedError         all ranks ended: the store stayed away, see the message
    ├── CorruptError            exit 1   bytes do not match their published checksum
    ├── MediaError              exit 1   one picture, clip or sound cannot be used (`code` says why)
    ├── SandboxError            exit 1   the process that decodes untrusted media does not start
    ├── DataError               exit 1   a corpus, manifest or shard breaks its contract
    ├── TrainingError           exit 1   a run cannot start or go on
    │   ├── NonFiniteLossError           loss or gradient is NaN or infinite
    │   └── CollapseError                a network that judges has stopped to tell things apart
    ├── ClusterError            exit 75  Ray is not there, or workers die; try again later
    ├── TrackingError           exit 1   MLflow refused, or the registry holds something else
    └── PreemptedError          exit 75  stopped on request, state saved; run the same command again

A message says what is wrong, where, and what to do. User errors never show a traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import ClassVar, Literal

__all__ = [
    "AlreadyExistsError",
    "ClusterError",
    "CollapseError",
    "CorruptError",
    "DataError",
    "MediaCode",
    "MediaError",
    "NonFiniteLossError",
    "NotFoundError",
    "PreemptedError",
    "RescuedError",
    "SandboxError",
    "SpecError",
    "StoreError",
    "StoreUnavailableError",
    "TrackingError",
    "TrainingError",
    "VisageError",
    "about",
]

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_RETRY_LATER = 75  # EX_TEMPFAIL of sysexits.h


class VisageError(Exception):
    """Root of all errors that Visage raises on purpose."""

    exit_code: ClassVar[int] = EXIT_FAILURE


class SpecError(VisageError):
    """A spec, a flag or an argument is wrong; nothing was started."""

    exit_code = EXIT_USAGE


class StoreError(VisageError):
    """A store refused an operation."""


class NotFoundError(StoreError):
    """Nothing is stored under that URI."""


class AlreadyExistsError(StoreError):
    """A put-if-absent found the key taken."""


class StoreUnavailableError(StoreError):
    """The store did not answer within the retry budget."""

    exit_code = EXIT_RETRY_LATER


class RescuedError(StoreUnavailableError):
    """The store took no checkpoint for too long; all ranks ended, the state is on a local disk."""


class CorruptError(VisageError):
    """Bytes do not match the checksum published for them."""


MediaCode = Literal[
    "unsupported_format",  # not an allow-listed container or codec
    "too_large",  # more bytes, pixels, frames or seconds than the limit
    "too_short",  # fewer seconds than a sample needs
    "too_long",  # more seconds than can be worked on at once
    "face_too_small",  # fewer pixels than are worth enlarging
    "truncated",  # the file ends or breaks before its content does
    "empty",  # no bytes, no frames, no samples
    "not_found",  # the file or frame does not exist
    "no_face",  # no face where one is required
    "closed_mouth",  # nobody speaks in a clip that shall show a style
    "profile",  # the head is turned so far that half of the face is hidden
    "scene_cut",  # another scene begins within what must be one take
    "several_faces",  # more than one face where the policy wants exactly one
    "bad_box",  # the stated face box lies outside the image or has no area
    "bad_label",  # the label is not in the taxonomy
    "no_audio",  # no sound where it is required
    "timeout",  # decoding took longer than allowed
    "crashed",  # the decoder process died on it
]


class MediaError(VisageError):
    """One picture, clip or sound cannot be used.

    `code` is stable and machine-readable; the message is for people. In batch work it becomes one
    rejection row, never a failed job.
    """

    def __init__(self, code: MediaCode, message: str) -> None:
        super().__init__(message)
        self.code: MediaCode = code

    def __reduce__(self) -> tuple[type[MediaError], tuple[str, str]]:
        """Keep the code when the error crosses a process boundary."""
        return (type(self), (self.code, str(self)))


@contextmanager
def about(source: object) -> Iterator[None]:
    """A MediaError that leaves the body begins with the source's name, if it does not yet."""
    try:
        yield
    except MediaError as err:
        if str(err).startswith((str(source), PurePath(str(source)).name)):
            raise
        raise MediaError(err.code, f"{source}: {err}") from None


class SandboxError(VisageError):
    """The process that decodes untrusted media cannot be started on this machine."""


class DataError(VisageError):
    """A corpus, a manifest or a shard breaks its contract."""


class TrainingError(VisageError):
    """A run cannot start or cannot go on."""


class NonFiniteLossError(TrainingError):
    """Loss or gradient became NaN or infinite; no rank took the optimizer step."""


class CollapseError(TrainingError):
    """A network that judges others gives nearly the same answer to everything."""


class ClusterError(VisageError):
    """Ray did not start here, the cluster does not answer, or work ends its processes."""

    exit_code = EXIT_RETRY_LATER


class TrackingError(VisageError):
    """The tracking server or the registry refused, or holds something else than expected."""


class PreemptedError(VisageError):
    """The run was asked to stop; its state is saved and the same command continues it."""

    exit_code = EXIT_RETRY_LATER
