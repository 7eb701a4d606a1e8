"""One decoding child as its parent sees it: start, ask, kill.

What the child says is not trusted: lengths, shapes and codes are checked before they are used. Its
memory and CPU limits are set from here, anew for every request, so that it cannot raise them.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

import visage
from visage.errors import MediaCode, MediaError, SandboxError, SpecError
from visage.media.sandbox.frame_runs import FrameRun
from visage.media.sandbox.guard import Guard
from visage.media.sandbox.window import WINDOW_BYTES, new_window, open_window
from visage.media.sandbox.wire import BrokenWireError, Channel

__all__ = ["CHILD", "Ask", "Child", "ChildDiedError", "Facts"]

CHILD: tuple[str, ...] = ("-P", "-m", "visage.media.sandbox.child")
"""Arguments of the interpreter; -P keeps the working directory off the import path."""

Facts = Mapping[str, Any]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
CPU_SLACK_S = 1.0
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME")
_TUNING = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # glibc hands the memory of each picture back and then faults it in again, page by page: twice
    # the time of decoding a small one.
    "MALLOC_MMAP_THRESHOLD_": str(16 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
}
_PAGE_BYTES = resource.getpagesize()


class ChildDiedError(Exception):
    """The child ended, or spoke nonsense, before it answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request, and what its answer may cost."""

    operation: str
    name: str
    """What messages call the file."""
    limits: Mapping[str, Any]
    arguments: Mapping[str, Any]
    payload: bytes = b""
    descriptor: int | None = None
    timeout_s: float
    memory_bytes: int
    """Address space beyond what the idle child holds."""
    answer_bytes: int
    """Largest array that can be right."""


class Child:
    """A running child; for one thread at a time."""

    def __init__(
        self, process: subprocess.Popen[bytes], channel: Channel, window: mmap.mmap | None
    ) -> None:
        """Use `start`."""
        self._process = process
        self._channel = channel
        self._window = window
        self._cpu_s = 0.0
        self._armed: dict[int, int] = {}
        self.guards: tuple[Guard, ...] = ()
        self._idle_bytes, self._resident_bytes = 0, 0

    @classmethod
    def start(cls, command: Sequence[str] = CHILD) -> Child:
        """Start one; the thread that calls this must live as long as the child shall.

        Raises:
            SandboxError: it cannot be started here.
        """
        ours, theirs = socket.socketpair()
        with theirs, new_window() as window, tempfile.TemporaryFile() as complaints:
            passed = [theirs.fileno()] if window is None else [theirs.fileno(), window]
            process = subprocess.Popen(
                [sys.executable, *command, str(os.getpid()), *map(str, passed)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                pass_fds=passed,
                env=_environment(),
            )
            theirs.close()
            child = cls(process, Channel(ours), open_window(window))
            try:
                child._greet()
            except (BrokenWireError, TimeoutError) as err:
                child.kill()
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip().splitlines()
                reason = said[-1] if said else str(err) or f"no answer in {START_TIMEOUT_S:g} s"
                raise SandboxError(
                    f"the process that decodes media does not start: {reason}; "
                    "`visage doctor` says what is missing"
                ) from None
        return child

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._process.pid

    @property
    def cpu_s(self) -> float:
        """CPU time it says it has spent, up to its last answer."""
        return self._cpu_s

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def grown_bytes(self) -> int:
        """Memory it holds beyond what it held at the start."""
        return _memory_of(self.pid)[1] - self._resident_bytes

    def ask(self, ask: Ask) -> NDArray[Any] | FrameRun | Facts:
        """The answer to one request.

        Raises:
            MediaError: what the decoder says of the file, or `timeout`; then the child is dead.
            ChildDiedError: no answer came; the child is dead.
        """
        self._arm(ask)
        head = {
            "operation": ask.operation,
            "name": ask.name,
            "limits": ask.limits,
            "arguments": ask.arguments,
        }
        self._channel.deadline = time.monotonic() + ask.timeout_s
        try:
            self._channel.send(head, memoryview(ask.payload), descriptor=ask.descriptor)
            answer = self._answer(ask)
        except TimeoutError:
            self.kill()
            raise _too_slow(ask) from None
        except BrokenWireError as err:
            self.kill()
            if self._process.returncode == -signal.SIGXCPU:
                raise _too_slow(ask) from None
            raise ChildDiedError(self._end() or str(err)) from None
        if isinstance(answer, MediaError | SpecError):
            raise answer
        return answer

    def kill(self) -> None:
        """End it now, and wait until it is gone."""
        self._channel.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # in the kernel; it will still die
            self._process.wait(timeout=STOP_TIMEOUT_S)

    def _greet(self) -> None:
        self._channel.deadline = time.monotonic() + START_TIMEOUT_S
        head, payload_bytes, _ = self._channel.receive_head()
        if payload_bytes or not isinstance(head.get("guards"), list):
            raise BrokenWireError("no greeting")
        known = get_args(Guard)
        self.guards = tuple(guard for guard in head["guards"] if guard in known)
        self._idle_bytes, self._resident_bytes = _memory_of(self.pid)

    def _arm(self, ask: Ask) -> None:
        if sys.platform != "linux":
            return
        cpu_s = math.ceil(self._cpu_s + ask.timeout_s + CPU_SLACK_S)
        wanted = {
            resource.RLIMIT_AS: self._idle_bytes + ask.memory_bytes,
            resource.RLIMIT_CPU: cpu_s,
        }
        with contextlib.suppress(ProcessLookupError):  # then the request will say that it died
            for name, most in wanted.items():
                if self._armed.get(name) == most:
                    continue
                hard = resource.prlimit(self.pid, name)[1]
                soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
                resource.prlimit(self.pid, name, (soft, hard))
                self._armed[name] = most

    def _answer(self, ask: Ask) -> NDArray[Any] | FrameRun | Facts | MediaError | SpecError:
        head, payload_bytes, _ = self._channel.receive_head()
        cpu_s = head.get("cpu_s")
        if not isinstance(cpu_s, float) or not 0 <= cpu_s < math.inf:
            raise BrokenWireError("an answer without its CPU time")
        self._cpu_s = cpu_s
        if "code" in head:
            return _refusal(head, payload_bytes)
        if "facts" in head:
            if payload_bytes or not isinstance(head["facts"], dict):
                raise BrokenWireError("facts that are none")
            return head["facts"]
        shown = self._window is not None and head.get("in_window") is True
        array = _empty(
            head,
            None if shown else payload_bytes,
            most_bytes=min(ask.answer_bytes, WINDOW_BYTES) if shown else ask.answer_bytes,
        )
        flat = _bytes_of(array)
        if self._window is not None and shown:
            flat[:] = memoryview(self._window)[: flat.nbytes]
        else:
            self._channel.receive_into(flat)
        if "times_s" in head:
            return FrameRun(frames=array, times_s=_times_of(head["times_s"], array))
        return array

    def _end(self) -> str:
        code = self._process.returncode
        if code is None or code == -signal.SIGKILL:  # ours, after it had broken the wire
            return ""
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _refusal(head: Mapping[str, Any], payload_bytes: int) -> MediaError | SpecError:
    code, message = head["code"], head.get("message")
    if payload_bytes or not isinstance(message, str):
        raise BrokenWireError("an error that is none")
    if code == "spec":
        return SpecError(message)
    for known in get_args(MediaCode):
        if code == known:
            return MediaError(known, message)
    raise BrokenWireError("an error of an unknown code")


def _empty(head: Mapping[str, Any], payload_bytes: int | None, *, most_bytes: int) -> NDArray[Any]:
    """Room for the announced array: a picture (H, W, 3) or pictures (N, H, W, 3) uint8, or samples
    (N,) float32.

    Without `payload_bytes` the array lies in the window.
    """
    shape, kind = head.get("shape"), head.get("dtype")
    if not isinstance(shape, list) or not all(type(n) is int and n > 0 for n in shape):
        raise BrokenWireError("an array without a shape")
    is_picture = kind == "uint8" and len(shape) in (3, 4) and shape[-1] == 3
    if not is_picture and not (kind == "float32" and len(shape) == 1):
        raise BrokenWireError("an array of another kind")
    dtype = np.dtype(np.uint8 if is_picture else np.float32)
    size_bytes = math.prod(shape) * dtype.itemsize
    if size_bytes > most_bytes or payload_bytes not in (None, size_bytes):
        raise BrokenWireError("an array of another size")
    return np.empty(shape, dtype)


def _times_of(stated: object, frames: NDArray[Any]) -> list[float | None]:
    """One time, or none, for every frame of a run (N, H, W, 3)."""
    if not isinstance(stated, list) or frames.ndim != 4 or len(stated) != len(frames):
        raise BrokenWireError("times that do not belong to frames")
    if not all(one is None or (type(one) is float and math.isfinite(one)) for one in stated):
        raise BrokenWireError("times that are none")
    return stated


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return memoryview(array.data).cast("B")


def _too_slow(ask: Ask) -> MediaError:
    return MediaError("timeout", f"{ask.name}: not decoded within {ask.timeout_s:g} s")


def _environment() -> dict[str, str]:
    """What an interpreter needs to find the same packages; credentials stay behind."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    library = str(Path(visage.__file__).parent.parent)
    paths = [library, *kept.get("PYTHONPATH", "").split(os.pathsep)]
    return {**kept, **_TUNING, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}


def _memory_of(pid: int) -> tuple[int, int]:
    """Address space and resident memory in bytes; zeros where the system does not tell."""
    try:
        total, resident = Path(f"/proc/{pid}/statm").read_bytes().split()[:2]
    except (OSError, ValueError):
        return 0, 0
    return int(total) * _PAGE_BYTES, int(resident) * _PAGE_BYTES
